"""Machines that share a workspace at a URI."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.storage.workspace import CACHE, Workspace

Machine = Callable[[str], Workspace]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Be on the machine of that name: its storage."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://somewhere")
    (tmp_path / "bucket").mkdir()

    def on(name: str) -> Workspace:
        monkeypatch.setenv(CACHE, str(tmp_path / name))
        return Workspace.parse(f"file://{tmp_path}/bucket/workspace")

    return on
