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
    number = registry.register(workspace, tracker.start("a", {}), "gan", package, print)
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
        assert mlflow.get_tracking_uri() == before


def test_what_another_thread_writes_and_warns_of_meanwhile_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def speak(when: str) -> None:
        def write() -> None:
            print(f"written at {when}", file=sys.stderr)
            warnings.warn(f"warned at {when}", stacklevel=1)

        thread = threading.Thread(target=write)
        thread.start()
        thread.join()

    copy, download = logged_model.library_code, mlflow.artifacts.download_artifacts

    @contextmanager
    def library_code() -> Iterator[Path]:
        speak("registration")
        with copy() as code:
            yield code

    def download_artifacts(*positional: Any, **named: Any) -> str:
        speak("download")
        return download(*positional, **named)

    monkeypatch.setattr(logged_model, "library_code", library_code)
    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", download_artifacts)
    with pytest.warns(UserWarning, match="warned at") as warned:
        register_and_open(tmp_path)
    told = capsys.readouterr().err
    for when in ("registration", "download"):
        assert f"written at {when}" in told
        assert f"warned at {when}" in [str(warning.message) for warning in warned]


def test_mlflow_has_nothing_to_add(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        register_and_open(tmp_path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("tag", "fid"), [("1.5", 1.5), (None, None), ("nan", None), ("inf", None), ("good", None)]
)
def test_a_score_that_is_no_number_is_none(tag: str | None, fid: float | None) -> None:
    assert registry.recorded_number({} if tag is None else {"fid": tag}, "fid") == fid
