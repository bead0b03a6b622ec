"""Registered models and where they are kept."""

import os
from pathlib import Path

import mlflow
import pytest

from pipeline.registry import registry


def test_models_go_to_the_one_store_whatever_the_registrys_variable_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for given in ("sqlite:////nowhere/other.db", None):
        if given:
            monkeypatch.setenv("MLFLOW_REGISTRY_URI", given)
        else:
            monkeypatch.delenv("MLFLOW_REGISTRY_URI")
        with registry._stores(tmp_path):
            assert mlflow.get_registry_uri() == f"sqlite:///{tmp_path}/mlflow.db"
        assert os.environ.get("MLFLOW_REGISTRY_URI") == given


@pytest.mark.parametrize(
    ("tag", "fid"), [("1.5", 1.5), (None, None), ("nan", None), ("inf", None), ("good", None)]
)
def test_a_score_that_is_no_number_is_none(tag: str | None, fid: float | None) -> None:
    assert registry.recorded_fid({} if tag is None else {"fid": tag}) == fid
