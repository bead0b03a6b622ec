"""Commands on the old workspace, and what its store says."""

import json
import subprocess
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from tests.fixtures.old_workspace import PORTABLE, OldWorkspace
from tests.integration.conftest import bngan

NAME = "bngan-digits"
URI = f"models:/{NAME}@champion"
MORE = 320
"""Images that a training goes on for."""


def call(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """A command, with the arithmetic that the fixture was made by."""
    return bngan(*arguments, code=code, timeout=600, **PORTABLE)


def answer(*arguments: str) -> dict[str, Any]:
    """The JSON object that a command prints."""
    found: dict[str, Any] = json.loads(call(*arguments, "--json").stdout)
    return found


def client_of(old: OldWorkspace) -> MlflowClient:
    return MlflowClient(old.tracking_uri, registry_uri=old.tracking_uri)


def tags_of(old: OldWorkspace, version: str) -> dict[str, str]:
    """Tags of ``NAME/VERSION``."""
    tags: dict[str, str] = client_of(old).get_model_version(*version.split("/")).tags
    return tags


def trainings(old: OldWorkspace, condition: str) -> list[Run]:
    """Runs of the stage ``train``."""
    client = client_of(old)
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    return list(client.search_runs(ids, f"tags.stage = 'train' and {condition}"))


def seconds(old: OldWorkspace, run: Run) -> dict[int, float]:
    """How long a training had taken, by images seen: no other one takes exactly as long."""
    points = client_of(old).get_metric_history(run.info.run_id, "seconds")
    return {point.step: point.value for point in points}
