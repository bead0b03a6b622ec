"""One tiny run of the pipeline as a user starts it, for every test that looks at its outcome."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

ROOT = Path(__file__).parents[2]
TINY = ["train.images=8000", "train.score_every=4000", "train.batch_size=64"]


def bngan(
    *arguments: str, code: int = 0, timeout: float = 300, **environment: str
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline", *arguments]
    clean = {k: v for k, v in os.environ.items() if k not in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS")}
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**clean, **environment},
        timeout=timeout,
    )
    assert done.returncode == code, done.stderr[-4000:]
    return done


def run(
    workspace: Path, *overrides: str, timeout: float = 300, **environment: str
) -> dict[str, Any]:
    done = bngan(
        *("run", "configs/digits.yaml", "--json", f"workspace={workspace}", *TINY, *overrides),
        timeout=timeout,
        **environment,
    )
    result: dict[str, Any] = json.loads(done.stdout)  # one object and nothing else
    return result


def statuses(result: dict[str, Any]) -> str:
    return " ".join(stage["status"] for stage in result["stages"].values())


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workspace")


@pytest.fixture(scope="session")
def first(workspace: Path) -> dict[str, Any]:
    return run(workspace)


@pytest.fixture(scope="session")
def client(workspace: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{workspace}/mlflow.db")
