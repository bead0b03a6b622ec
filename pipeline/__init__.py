"""The workflow around bngan: configuration, stages, Ray, MLflow and the command line."""
