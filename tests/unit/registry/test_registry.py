"""Registered models, where they are kept, and what a process notices of their registration."""

import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
import pytest

from pipeline.registry import logged_model, registry
from pipeline.serving.model_interface import model_interface
from pipeline.tracking.tracker import Tracker
from tests.unit.serving.test_server import tiny


def register_and_open(workspace: Path) -> None:
    folder = workspace / "generator"
    if not folder.exists():
        folder.mkdir()
        tiny().save(folder)
    tracker = Tracker(workspace, "experiment")
    tags = {"bngan.fingerprint": "a"}
    package = logged_model.ModelPackage(
        {"generator": folder}, tags, "# a", {"fid": 1.0}, ("data", "0" * 64), model_interface()
    )
    number = registry.register(workspace, tracker.start("a", {}), "gan", package)
    with registry.open_generator(workspace, f"models:/gan/{number}"):
        pass


def test_models_go_to_the_one_store_whatever_the_registrys_variable_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    before = mlflow.get_tracking_uri()
    for given in ("sqlite:////nowhere/other.db", None):
        if given:
            monkeypatch.setenv("MLFLOW_REGISTRY_URI", given)
        else:
            monkeypatch.delenv("MLFLOW_REGISTRY_URI")
        register_and_open(tmp_path)
        (version,) = registry.versions(tmp_path, "gan")
        assert version["version"] == "1"
        assert os.environ.get("MLFLOW_REGISTRY_URI") == given


@pytest.mark.parametrize(
    ("tag", "fid"), [("1.5", 1.5), (None, None), ("nan", None), ("inf", None), ("good", None)]
)
def test_a_score_that_is_no_number_is_none(tag: str | None, fid: float | None) -> None:
    assert registry.recorded_fid({} if tag is None else {"fid": tag}) == fid
