"""Models in the MLflow registry: versions, aliases, integrity, and base models."""
