"""The command line: parses, calls, prints. What a command needs is imported when it runs."""

from pipeline.cli import experiments, jobs, models, operations, studies
from pipeline.cli.app import app, main

__all__ = ["app", "experiments", "jobs", "main", "models", "operations", "studies"]
