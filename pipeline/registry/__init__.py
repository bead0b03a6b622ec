"""Register models in MLflow: versions, aliases, integrity, and base models."""
