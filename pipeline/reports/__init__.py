"""Render reports, model cards and plots. Knows neither MLflow nor Ray."""
