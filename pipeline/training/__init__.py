"""Train on Ray workers: the loop, its preconditions, its Prometheus gauges. Knows no MLflow."""
