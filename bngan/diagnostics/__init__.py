"""Find trainings that cannot learn or that collapse, and measure batch norm on the way."""
