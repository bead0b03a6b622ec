"""A model keeps the kind of features that its champion is measured by."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient

from bngan.metrics.features import INFO
from pipeline.config.schema import AdaptConfig, Config, DataConfig, ExtractorConfig, RegisterConfig
from pipeline.core.errors import UserError
from pipeline.registry import registry
from pipeline.registry.aliases import EXTRACTOR, ROLLED_BACK, Verdict, assign_alias
from pipeline.registry.logged_model import ModelPackage
from pipeline.serving.model_interface import model_interface
from pipeline.tracking.tracker import Tracker, existing_client
from pipeline.workflow.measure import with_measure
from tests.unit.serving.test_server import tiny

MODEL = "gan"


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """Colour photographs of 32 pixels with classes: features of photographs suit them."""
    folder = tmp_path / "prepared"
    folder.mkdir()
    np.save(folder / "train_images.npy", np.zeros((4, 32, 32, 3), np.uint8))
    np.save(folder / "train_labels.npy", np.array([0, 1, 0, 1]))
    (folder / "dataset.json").write_text(json.dumps({"classes": ["a", "b"]}))
    return folder


def champion(workspace: Path, kind: str, tagged: bool) -> MlflowClient:
    """Register a version that is scored by features of a kind; earlier code gave it no tag."""
    parts = {name: workspace / name for name in ("generator", "reference")}
    for folder in parts.values():
        folder.mkdir()
    tiny().save(parts["generator"])
    (parts["reference"] / INFO).write_text(json.dumps({"kind": kind}))
    tags = {"bngan.fingerprint": "a"} | ({EXTRACTOR: kind} if tagged else {})
    tracker = Tracker(workspace, "experiment")
    package = ModelPackage(parts, tags, "# a", {"fid": 1.0}, ("data", "0" * 64), model_interface())
    number = registry.register(workspace, tracker.start("a", {}), MODEL, package, print)
    assign_alias(workspace, MODEL, number, lambda _: Verdict(True, ""), print)
    return existing_client(workspace)


def config(kind: Any = "auto", base: str | None = None) -> Config:
    return Config(
        name="x",
        data=DataConfig(path="/images"),
        extractor=ExtractorConfig(kind=kind),
        adapt=AdaptConfig(base=base),
        register=RegisterConfig(model=MODEL),
    )


@pytest.mark.parametrize("tagged", [True, False])
@pytest.mark.parametrize("kind", ["classifier", "random", "inception"])
def test_the_champion_decides_where_nobody_has_chosen(
    kind: str, tagged: bool, prepared: Path, tmp_path: Path
) -> None:
    client = champion(tmp_path, kind, tagged)
    found, line = with_measure(config(), prepared, client)
    assert found.extractor.kind == kind
    assert line == (
        f"extractor.kind is {kind}, as champion version 1 of gan is measured; another one must be "
        "written"
    )


def test_the_kind_that_suits_the_images_changes_nothing(prepared: Path, tmp_path: Path) -> None:
    """So that the second run finds the first one's work."""
    client = champion(tmp_path, "imagenet", True)
    assert with_measure(config(), prepared, client) == (config(), "")


@pytest.mark.parametrize("given", [config("imagenet"), config(base="models:/a/1")])
def test_a_kind_that_is_written_or_a_base_goes_before(
    given: Config, prepared: Path, tmp_path: Path
) -> None:
    client = champion(tmp_path, "classifier", True)
    assert with_measure(given, prepared, client) == (given, "")


def test_a_network_in_a_file_must_be_named_again(prepared: Path, tmp_path: Path) -> None:
    client = champion(tmp_path, "file", False)
    with pytest.raises(UserError, match=r"^extractor\.kind: champion version 1 of gan .*: write "):
        with_measure(config(), prepared, client)


def test_without_a_champion_the_one_before_decides_unless_it_was_rolled_back(
    prepared: Path, tmp_path: Path
) -> None:
    client = champion(tmp_path, "file", False)
    client.delete_registered_model_alias(MODEL, "champion")
    client.set_registered_model_alias(MODEL, "previous_champion", "1")
    with pytest.raises(UserError, match=r"^extractor\.kind: previous champion version 1 of gan "):
        with_measure(config(), prepared, client)
    client.set_model_version_tag(MODEL, "1", ROLLED_BACK, "today")
    assert with_measure(config(), prepared, client) == (config(), "")


def test_without_a_champion_the_images_decide(prepared: Path, tmp_path: Path) -> None:
    Tracker(tmp_path, "experiment")
    assert with_measure(config(), prepared, existing_client(tmp_path)) == (config(), "")
