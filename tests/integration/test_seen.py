"""Versions know which images they have seen, and the gate asks them."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bngan.data.dataset import SPLITS, Split
from pipeline.data.digests import DataDigests, ImageDigests
from tests.commands import DIGITS, bngan
from tests.fixtures.old_runs import CHAMPION, CONFIG
from tests.fixtures.old_workspace import OldWorkspace, unpack
from tests.integration.conftest import Trained, run
from tests.integration.old import URI, answer

FIRST = "models:/bngan-digits/1"
COUNT = 350
"""Images of the protocol of ``configs/digits.yaml``."""


def prepared(workspace: Path, split: Split) -> np.ndarray:
    (file,) = workspace.glob(f"stages/prepare/*/{split}_images.npy")
    images: np.ndarray = np.load(file)
    return images


def gate_of(result: dict[str, Any], workspace: Path) -> dict[str, Any]:
    number = result["model"]["version"]
    for file in workspace.glob("stages/register/*/registration.json"):
        found: dict[str, Any] = json.loads(file.read_text())
        if found["version"] == number:
            return found
    raise AssertionError(number)


def png(image: np.ndarray, file: Path) -> str:
    Image.fromarray(image[..., 0]).save(file)
    return str(file)


def test_it_is_listed_which_versions_saw_a_picture(original: Trained, tmp_path: Path) -> None:
    files = {
        split: png(prepared(original.workspace, split)[3], tmp_path / f"{split}.png")
        for split in SPLITS
    }
    files["nothing"] = png(np.full((8, 8, 1), 77, np.uint8), tmp_path / "nothing.png")
    place = "--workspace", str(original.workspace)
    found = json.loads(bngan("seen", *files.values(), *place, "--json").stdout)
    assert found["images"] == {
        **{files[split]: {FIRST: [split]} for split in SPLITS},
        files["nothing"]: {},
    }
    assert (found["not_known"], found["versions"]) == ({}, 1)
    shown = bngan("seen", files["train"], files["nothing"], *place).stdout.splitlines()
    assert shown[0] == f"{files['train']}: {FIRST} (train)"
    assert shown[1].startswith(f"{files['nothing']}: none of 1 versions ")
    (tmp_path / "no.heic").write_bytes(b"heic")
    told = bngan("seen", str(tmp_path / "no.heic"), *place)
    assert "no.heic is no image (unreadable: " in told.stderr
    assert "none of 1 versions" in told.stdout
    missing = bngan("seen", str(tmp_path / "no.png"), *place, code=2).stderr
    assert "no.png cannot be read: No such file or directory" in missing


@pytest.fixture
def old(tmp_path: Path) -> OldWorkspace:
    return unpack(tmp_path)


def test_an_old_version_is_known_by_its_prepared_data(old: OldWorkspace, tmp_path: Path) -> None:
    place = "--workspace", str(old.workspace)
    image = png(prepared(old.workspace, "train")[0], tmp_path / "a.png")
    found = answer("seen", image, *place)
    assert found["images"][image][f"models:/{CHAMPION}"] == ["train"]
    assert found["not_known"] == {}
    compared = answer("compare", URI, "models:/bngan-digits/2", *place)
    assert compared["left_out"] == {URI: 0, "models:/bngan-digits/2": 0}
    assert compared["real_images"] == 40
    assert {"fid", "authenticity"} < {compared["gate"]["metric"], *compared["gate"]["vetoes"]}

    (folder,) = old.workspace.glob("stages/prepare/*")
    folder.rename(tmp_path / "elsewhere")
    found = answer("seen", image, *place)
    assert f"models:/{CHAMPION}" in found["not_known"]
    compared = answer("compare", URI, "models:/bngan-digits/2", *place)
    assert compared["left_out"] == {URI: None, "models:/bngan-digits/2": None}
    assert compared["gate"] is None  # which needs the images


@pytest.mark.full
def test_nobody_judges_by_images_that_the_champion_may_have_seen(
    old: OldWorkspace, tmp_path: Path
) -> None:
    for folder in old.workspace.glob("stages/prepare/*"):
        folder.rename(tmp_path / folder.name)
    given = (f"workspace={old.workspace}", "train.images=640", "data.split_seed=1")
    result = json.loads(bngan("run", str(CONFIG), "--json", *given).stdout)
    decided = gate_of(result, old.workspace)
    assert decided["alias"] == "challenger"
    assert decided["gate"]["left_out"]["the champion"] is None
    assert decided["reason"].startswith("bngan cannot tell whether the champion has seen ")
    assert decided["reason"].endswith(f"anyway: bngan promote bngan-digits {decided['version']}")


@pytest.mark.full
def test_images_that_the_champion_was_trained_on_do_not_judge(trained: Trained) -> None:
    first = prepared(trained.workspace, "train"), prepared(trained.workspace, "select")
    result = run(trained.workspace, "data.split_seed=1", "register.draws=2")
    decided = gate_of(result, trained.workspace)
    (folder,) = (
        path.parent
        for path in trained.workspace.glob("stages/prepare/*/digests.npz")
        if not np.array_equal(np.load(path.parent / "train_images.npy"), first[0])
    )
    test = np.load(folder / "test_images.npy")[:COUNT]
    known = {image.tobytes() for images in first for image in images}
    seen = sum(image.tobytes() in known for image in test)
    assert 200 < seen < 340  # 80 % of all images
    assert decided["gate"]["left_out"] == {"the candidate": 0, "the champion": seen}
    assert decided["gate"]["real_images"] == COUNT - seen
    sentence = f"{seen} of {COUNT} test images are left out: the champion has seen {seen}"
    assert decided["reason"].endswith(sentence)
    page = Path(next(folder.parents[1].glob("register/*/gate.html")).parent)
    assert any(sentence in path.read_text() for path in page.parent.glob("*/gate.html"))
    place = "--workspace", str(trained.workspace)
    shown = bngan("compare", f"models:/bngan-digits/{decided['version']}", FIRST, *place).stdout
    assert f"{seen} of {COUNT} test images are left out: {FIRST} has seen {seen}." in shown
    assert "what the gate sees" in shown
    assert "Copies of training images" in shown


@pytest.mark.full
def test_what_a_base_was_trained_on_counts_for_its_adaptation(trained: Trained) -> None:
    place = [f"workspace={trained.workspace}", "register.model=adapted", "data.split_seed=1"]
    short = ["train.images=2000", "train.score_every=2000", "train.batch_size=64"]
    arguments = (FIRST, DIGITS, "--json", *place, *short)
    result = json.loads(bngan("adapt", *arguments).stdout)
    base = prepared_before(trained, "train")
    record = json.loads((Path(result["report"]).parent / "scores.json").read_text())
    assert 200 < record["adapted"]["seen"] < 340
    assert f"was trained on {record['adapted']['seen']} of the {COUNT}" in (
        Path(result["report"]).read_text()
    )
    buffer = io.BytesIO()
    Image.fromarray(base[0, ..., 0]).save(buffer, "PNG")
    file = trained.workspace / "x.png"
    file.write_bytes(buffer.getvalue())
    answered = bngan("seen", str(file), "--workspace", str(trained.workspace), "--json").stdout
    assert "base" in json.loads(answered)["images"][str(file)][result["model"]["uri"]]


def prepared_before(trained: Trained, split: Split) -> np.ndarray:
    """Images that the base's version names as its own in its digests."""
    for file in sorted(trained.workspace.glob("stages/prepare/*/digests.npz")):
        images: np.ndarray = np.load(file.parent / f"{split}_images.npy")
        own = DataDigests.load(file).splits[split]
        np.testing.assert_array_equal(own.pixels, ImageDigests.of_arrays(images).pixels)
    first = min(
        trained.workspace.glob("stages/prepare/*/digests.npz"), key=lambda f: f.stat().st_mtime
    )
    images = np.load(first.parent / f"{split}_images.npy")
    return images
