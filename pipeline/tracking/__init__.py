"""Record runs in MLflow, also while its server is away, and show gauges to Prometheus."""
