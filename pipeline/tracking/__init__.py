"""Record runs in MLflow, also while its server is away."""
