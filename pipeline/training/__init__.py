"""Train on Ray workers: the loop, the trainers, and their preconditions. Knows no MLflow."""
