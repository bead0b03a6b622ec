"""One tiny run of the pipeline, for every test that looks at its outcome or goes on from it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tests.commands import DIGITS, bngan_process
from tests.databases import DATABASE
from tests.shared import made_once
from tests.workspaces import copy_workspace

TINY = ["train.images=8000", "train.score_every=4000", "train.batch_size=64"]
_RESULT = "result.json"


@dataclass(frozen=True)
class Trained:
    """A workspace with one run of ``configs/digits.yaml``, all stages of which ran.

    Attributes:
        workspace: its folder.
        result: what the run printed as JSON.
    """

    workspace: Path
    result: dict[str, Any]

    @property
    def client(self) -> MlflowClient:
        """MLflow's client for it."""
        return MlflowClient(f"sqlite:///{self.workspace / DATABASE}")

    def copy(self, folder: Path) -> "Trained":
        """Return a copy in ``folder`` that tests may change."""
        workspace = copy_workspace(self.workspace, folder / "workspace")
        text = json.dumps(self.result).replace(str(self.workspace), str(workspace))
        return Trained(workspace, json.loads(text))


def run(
    workspace: Path, *overrides: str, timeout: float = 600, **environment: str
) -> dict[str, Any]:
    """Run the tiny pipeline in a process of its own, and return the JSON that it printed."""
    given = (f"workspace={workspace}", *TINY, *overrides)
    output = bngan_process("run", DIGITS, "--json", *given, timeout=timeout, **environment)
    result: dict[str, Any] = json.loads(output.stdout)  # one object and nothing else
    return result


def statuses(result: dict[str, Any]) -> str:
    return " ".join(stage["status"] for stage in result["stages"].values())


def _train(folder: Path) -> None:
    (folder / _RESULT).write_text(json.dumps(run(folder / "workspace")))


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The run that all processes of this pytest run share. Tests must not change it."""
    folder = made_once(tmp_path_factory, "trained", _train)
    return Trained(folder / "workspace", json.loads((folder / _RESULT).read_text()))


@pytest.fixture
def trained(original: Trained, tmp_path: Path) -> Trained:
    """Return a copy that the test may change."""
    return original.copy(tmp_path)


@pytest.fixture(scope="module")
def module_copy(original: Trained, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Return a copy that the tests of one file share."""
    return original.copy(tmp_path_factory.mktemp("trained"))
