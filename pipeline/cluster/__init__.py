"""Run workers, tasks and jobs on Ray."""
