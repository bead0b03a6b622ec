"""Studies: many small trainings that answer a question, with intervals that cover chance."""
