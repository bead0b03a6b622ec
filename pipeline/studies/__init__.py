"""Studies: many small trainings that answer a question, with what chance makes of the answer."""
