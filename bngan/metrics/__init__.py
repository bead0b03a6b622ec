"""Scores of generated images: pure functions from features to numbers, and named protocols."""
