"""Models that the code at an old commit registered, in the hands of today's code."""

import base64
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image

from tests.environment import ROOT
from tests.fixtures.old_runs import CHALLENGER, CHAMPION, CONFIG, FINISHED, MORE
from tests.fixtures.old_workspace import COUNT, HERE, PORTABLE, SEED, OldWorkspace, unpack
from tests.integration.old import URI, answer, call, tags_of
from tests.integration.servers import served


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> OldWorkspace:
    """For tests that only read."""
    return unpack(tmp_path_factory.mktemp("old"))


@pytest.fixture
def place(old: OldWorkspace) -> tuple[str, str]:
    return "--workspace", str(old.workspace)


def test_the_archive_is_what_the_tests_take_it_for(old: OldWorkspace) -> None:
    for alias, version in {"champion": CHAMPION, "challenger": CHALLENGER}.items():
        name, _, number = version.partition("/")
        held = old.client.get_model_version_by_alias(name, alias)
        assert str(held.version) == number
    assert old.pixels.keys() == FINISHED.keys()
    for version, images in old.pixels.items():
        assert images.shape == (COUNT, 8, 8, 1), version
        assert images.std() > 10, version  # a grey one would show no difference


def test_the_registry_and_the_runs_are_listed(place: tuple[str, str]) -> None:
    versions = answer("models", *place)["versions"]
    aliases = {f"{found['name']}/{found['version']}": found["aliases"] for found in versions}
    expected = {version: ["champion"] for version in FINISHED} | {CHALLENGER: ["challenger"]}
    assert aliases == expected
    states = [run["state"] for run in answer("status", *place)["runs"]]
    assert sorted(states) == ["finished"] * len(FINISHED) + ["interrupted"]


@pytest.mark.parametrize("version", FINISHED)
def test_a_version_samples_the_pixels_that_it_did(
    old: OldWorkspace, version: str, place: tuple[str, str], tmp_path: Path
) -> None:
    wanted = ["--count", str(COUNT), "--seed", str(SEED), "--separately", "-o", str(tmp_path)]
    call("sample", f"models:/{version}", *wanted, *place)
    images = [np.array(Image.open(path))[..., None] for path in sorted(tmp_path.glob("*.png"))]
    np.testing.assert_array_equal(images, old.pixels[version])


def test_a_version_without_names_of_classes_goes_by_numbers(
    place: tuple[str, str], tmp_path: Path
) -> None:
    output = tmp_path / "one.png"
    told = call("sample", URI, "--count", "1", "--label", "1", "-o", str(output), *place).stdout
    assert told.startswith(f"1 image of class 1 of {URI}, ")
    refused = call("sample", URI, "--label", "seven", "-o", str(output), *place, code=2).stderr
    assert "there is no class seven: classes are 0 to 2" in refused
    assert {version["classes"] for version in answer("models", *place)["versions"]} == {None}


@pytest.mark.full
def test_an_old_champion_is_served(old: OldWorkspace, place: tuple[str, str]) -> None:
    expected = old.pixels[CHAMPION]
    body: dict[str, Any] = {"inputs": {"index": list(range(COUNT))}, "params": {"seed": SEED}}
    with served(URI, *place, **PORTABLE) as url:
        found = requests.post(f"{url}/invocations", json=body, timeout=60).json()["predictions"]
        body["params"]["format"] = "png"
        pngs = requests.post(f"{url}/invocations", json=body, timeout=60).json()["predictions"]
    np.testing.assert_array_equal(found, expected)
    pictures = [Image.open(io.BytesIO(base64.b64decode(png))) for png in pngs]
    np.testing.assert_array_equal([np.array(picture)[..., None] for picture in pictures], expected)


def test_an_old_champion_is_scored_as_it_was(old: OldWorkspace, place: tuple[str, str]) -> None:
    tags, record = tags_of(old, CHAMPION), answer("evaluate", URI, *place)
    assert record["protocol"]["name"] == tags["bngan.protocol"]
    for name in ("fid", "kid", "coverage"):
        assert record["scores"][name] == pytest.approx(float(tags[name]), rel=1e-4)


def test_old_versions_are_compared(place: tuple[str, str]) -> None:
    found = answer("compare", URI, f"models:/{CHALLENGER}", *place)
    assert found["protocol"] == "fid40_test"
    assert {"fid", "kid"} <= set(found["scores"])


@pytest.mark.full
def test_an_old_champion_is_adapted(tmp_path: Path) -> None:
    own = unpack(tmp_path)
    settings = ["register.model=adapted", f"train.images={MORE}", f"train.score_every={MORE}"]
    result = answer("adapt", URI, str(CONFIG), f"workspace={own.workspace}", *settings)
    assert result["model"]["uri"] == "models:/adapted/1"
    tags = tags_of(own, "adapted/1")
    assert tags["bngan.base"] == f"models:/{CHAMPION}"
    assert tags["bngan.differs"] == "gamma, beta, statistics"


@pytest.mark.parametrize(
    "first",
    ["-", *(pytest.param(name, marks=pytest.mark.full) for name in ("bngan", "bngan.sampling"))],
)
def test_mlflow_alone_loads_each_version(old: OldWorkspace, first: str, tmp_path: Path) -> None:
    """Without today's package, and with it in the place of the code that each model has."""
    output, indices = str(tmp_path / "found.npz"), json.dumps(list(range(COUNT)))
    program = [str(HERE / "load_models.py"), old.tracking_uri, indices, output, first]
    done = subprocess.run(
        [sys.executable, *program, *(f"models:/{version}" for version in FINISHED)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, **PORTABLE},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    report = json.loads(done.stdout.splitlines()[-1])
    assert bool(report["before"]) == (first != "-")
    todays = str(ROOT / "bngan" / "__init__.py")
    assert (report["bngan"] == todays) == (first != "-"), report
    with np.load(output, allow_pickle=False) as images:
        for version in FINISHED:
            np.testing.assert_array_equal(images[f"models:/{version}"], old.pixels[version])
