"""prepare, called as the function it is."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from bngan.data.dataset import SPLITS, ImageSplit
from pipeline.config.schema import Config, DataConfig
from pipeline.core.errors import UserError
from pipeline.workflow.stage import StageContext
from pipeline.workflow.stages import prepare


@dataclass
class Silence:
    artifacts: dict[str, bytes] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def progress(self, done: int, total: int, note: str = "") -> None:
        pass

    def message(self, text: str) -> None:
        self.messages.append(text)

    def metrics(self, values: Any, step: int) -> None:
        pass

    def artifact(self, name: str, content: bytes) -> None:
        self.artifacts[name] = content


def prepared(
    path: Path | str, output: Path, events: Silence | None = None, **data: Any
) -> tuple[Path, dict[str, Any]]:
    output.mkdir()
    data = {"split_by": "order", **data}
    config = Config(name="x", data=DataConfig(path=str(path), **data))
    context = StageContext(config, {}, {}, output, output, "run", "print", events or Silence())
    return output, prepare.run(context)


def write_table(folder: Path, name: str, labels: list[Any] | None, kind: Any = None) -> None:
    """Parquet of 4x4 images whose pixels all hold the row's number."""
    folder.mkdir(exist_ok=True)
    count = 200 if labels is None else len(labels)
    images = [Image.fromarray(np.full((4, 4), i, np.uint8)) for i in range(count)]
    columns: dict[str, Any] = {"image": images}
    features: dict[str, Any] = {"image": datasets.Image()}
    if labels is not None:
        columns["label"], features["label"] = labels, kind or datasets.Value("int64")
    table = datasets.Dataset.from_dict(columns, datasets.Features(features))
    table.to_parquet(folder / f"{name}.parquet")


def test_splits_are_disjoint_complete_random_and_repeatable(tmp_path) -> None:
    write_table(tmp_path / "data", "train", [i % 3 for i in range(200)])
    folder, summary = prepared(tmp_path / "data", tmp_path / "a", select=0.2, test=0.1)
    assert summary["counts"] == {"train": 140, "select": 40, "test": 20}
    assert summary["image_shape"] == (4, 4, 1)
    parts = [ImageSplit.load(folder, split) for split in ("train", "select", "test")]
    rows = [int(image[0, 0, 0]) for part in parts for image in part.images]
    assert sorted(rows) == list(range(200))
    assert rows != sorted(rows)
    labels = [int(label) for part in parts for label in part.labels]
    assert labels == [row % 3 for row in rows]
    again, _ = prepared(tmp_path / "data", tmp_path / "b", select=0.2, test=0.1)
    for name in ("train_images.npy", "select_labels.npy"):
        assert (again / name).read_bytes() == (folder / name).read_bytes()


def test_the_sources_own_test_split_is_the_test_split(tmp_path) -> None:
    write_table(tmp_path / "data", "train", [0] * 100 + [1] * 100)
    write_table(tmp_path / "data", "test", None)  # as published tests often are: without labels
    folder, summary = prepared(tmp_path / "data", tmp_path / "a")
    assert summary["counts"] == {"train": 180, "select": 20, "test": 200}
    assert summary["classes"] == ["0", "1"]
    assert set(ImageSplit.load(folder, "test").labels) == {-1}
    assert set(ImageSplit.load(folder, "train").labels) == {0, 1}


@pytest.mark.parametrize(
    ("labels", "kind", "classes"),
    [
        ([7, -1, 9, None] * 50, None, ["7", "9"]),
        (["b", "a", None, "a"] * 50, datasets.Value("string"), ["a", "b"]),
        ([0, 1, -1, 1] * 50, datasets.ClassLabel(names=["cat", "dog"]), ["cat", "dog"]),
        ([None] * 200, None, []),
    ],
    ids=["numbers", "strings", "classes", "none"],
)
def test_labels_may_be_missing_and_need_not_be_contiguous(labels, kind, classes, tmp_path) -> None:
    write_table(tmp_path / "data", "train", labels, kind)
    folder, summary = prepared(tmp_path / "data", tmp_path / "a", unlabelled="-1")
    assert summary["classes"] == classes
    train = ImageSplit.load(folder, "train")
    assert set(train.labels) <= {-1, *range(len(classes))}
    if classes:
        assert set(train.labels) == {-1, 0, 1}
        number = {name: i for i, name in enumerate(classes)}
        names = {0: "cat", 1: "dog"} if classes == ["cat", "dog"] else None
        for image, label in zip(train.images, train.labels, strict=True):
            stored = labels[int(image[0, 0, 0])]
            expected = (
                -1 if stored in (None, -1) else number[names[stored] if names else str(stored)]
            )
            assert label == expected


def test_labels_that_are_lists_are_refused(tmp_path) -> None:
    write_table(
        tmp_path / "data", "train", [[1, 2]] * 200, datasets.Sequence(datasets.Value("int64"))
    )
    with pytest.raises(UserError, match=r"data\.label_column: a label must be one value"):
        prepared(tmp_path / "data", tmp_path / "a")


def folder_of(tmp_path: Path, count: int, size: tuple[int, int] = (6, 5)) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for i in range(count):
        Image.new("RGB", size, (i, 0, 0)).save(folder / f"{i:03}.png")
    return folder


def test_unreadable_images_are_skipped_and_named_up_to_a_share(tmp_path) -> None:
    folder = folder_of(tmp_path, 300)
    (folder / "017.png").write_bytes(b"not an image")
    (folder / "notes.txt").write_text("about")
    events = Silence()
    output, summary = prepared(folder, tmp_path / "a", events)
    assert summary["skipped"] == 1
    line = "017.png: unreadable: no image format that is known"
    assert events.artifacts["skipped.txt"].decode() == f"{line}\n"
    assert events.artifacts["ignored.txt"].decode() == "notes.txt: no image by its name\n"
    found = json.loads((output / "contents.json").read_text())
    assert found["skipped"] == {"count": 1, "first": [line]}
    assert found["ignored"]["count"] == 1
    assert sum(summary["counts"].values()) == 299
    assert len(ImageSplit.load(output, "train")) == summary["counts"]["train"]
    assert json.loads((output / "dataset.json").read_text())["image_shape"] == [5, 6, 3]
    with pytest.raises(UserError, match="1 of 300 images cannot be used"):
        prepared(folder, tmp_path / "b", max_skipped=0.0)


@pytest.mark.parametrize(
    ("count", "data", "message"),
    [
        (30, {}, "fewer than 20 cannot be worked with"),
        (300, {"image_column": "pixels"}, "no column 'pixels'"),
    ],
)
def test_what_cannot_be_worked_with_is_said(count, data, message, tmp_path) -> None:
    folder = folder_of(tmp_path, count)
    with pytest.raises(UserError, match=message):
        prepared(folder, tmp_path / "a", **data)


def test_images_are_resized_on_request(tmp_path) -> None:
    folder = folder_of(tmp_path, 300)
    output, _ = prepared(folder, tmp_path / "a", image_size=8, channels=1)
    assert ImageSplit.load(output, "train").spec.shape == (1, 8, 8)


def test_only_some_classes_are_used_and_renumbered_in_the_order_given(tmp_path) -> None:
    names = datasets.ClassLabel(names=["a", "b", "c", "d"])
    write_table(tmp_path / "data", "train", [i % 4 for i in range(200)], names)
    whole, _ = prepared(tmp_path / "data", tmp_path / "whole", select=0.2, test=0.2)
    some, summary = prepared(
        tmp_path / "data", tmp_path / "some", select=0.2, test=0.2, classes=[3, 1, 0]
    )
    assert summary["classes"] == ["d", "b", "a"]
    for split in SPLITS:  # an image stays in its split
        everything, chosen = (ImageSplit.load(folder, split) for folder in (whole, some))
        kept = everything.labels != 2
        assert (chosen.images == everything.images[kept]).all()
        assert (np.array([3, 1, 0])[chosen.labels] == everything.labels[kept]).all()


def test_a_limit_is_for_training_images_alone(tmp_path) -> None:
    write_table(tmp_path / "data", "train", None)
    whole, _ = prepared(tmp_path / "data", tmp_path / "whole", select=0.2, test=0.2)
    few, summary = prepared(tmp_path / "data", tmp_path / "few", select=0.2, test=0.2, limit=25)
    assert summary["counts"] == {"train": 25, "select": 40, "test": 40}
    ours, theirs = (ImageSplit.load(folder, "train").images for folder in (few, whole))
    assert (ours == theirs[:25]).all()


def test_a_class_that_few_images_lack_is_a_class(tmp_path) -> None:
    write_table(tmp_path / "data", "train", [0, 1] * 98 + [2] * 4)
    few, _ = prepared(tmp_path / "data", tmp_path / "few", select=0.2, test=0.2, limit=20)
    train = ImageSplit.load(few, "train")
    assert set(train.labels) == {0, 1}
    assert (train.spec.classes, train.spec.class_frequencies[2]) == (3, 0.0)
    assert train.spec.class_names == ("0", "1", "2")


def test_a_choice_of_a_class_that_is_not_there_names_those_that_are(tmp_path) -> None:
    kind = datasets.ClassLabel(names=["Emoji", "apps", "devices"])
    write_table(tmp_path / "data", "train", [i % 3 for i in range(250)], kind)
    message = "data.classes: there is no class 7: 0 Emoji, 1 apps, 2 devices"
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        prepared(tmp_path / "data", tmp_path / "out", classes=[0, 7])
    half = {"select": 0.3, "test": 0.3, "classes": [2, 0]}
    folder, _ = prepared(tmp_path / "data", tmp_path / "chosen", **half)
    assert ImageSplit.load(folder, "train").spec.class_names == ("devices", "Emoji")


@pytest.mark.parametrize(
    ("labelled", "data", "message"),
    [
        (True, {"classes": [0, 7]}, "data.classes: there is no class 7: classes are 0 to 2"),
        (True, {"classes": [-1]}, "data.classes: there is no class -1: classes are 0 to 2"),
        (False, {"classes": [0]}, "data.classes: these images have no labels to choose by"),
        (True, {"limit": 1000}, "data.limit: 1000 images, and there are 120 to train on"),
        (True, {"classes": [0]}, "data.path: 12 images are left for the select split"),
    ],
)
def test_a_choice_that_leaves_nothing_is_one_clear_line(labelled, data, message, tmp_path) -> None:
    write_table(tmp_path / "data", "train", [i % 3 for i in range(200)] if labelled else None)
    with pytest.raises(UserError, match=re.escape(message)):
        prepared(tmp_path / "data", tmp_path / "out", select=0.2, test=0.2, **data)


def write_images(folder: Path, count: int, side: int) -> None:
    folder.mkdir()
    for number in range(count):
        Image.new("L", (side, side), number).save(folder / f"{number}.png")


@pytest.mark.parametrize("data", [{}, {"image_size": 300}])
def test_large_images_have_to_be_asked_for_before_arrays_are_written(data, tmp_path) -> None:
    write_images(tmp_path / "data", 100, 300)
    with pytest.raises(UserError) as caught:
        prepared(tmp_path / "data", tmp_path / "out", select=0.2, test=0.2, **data)
    told = str(caught.value)
    assert told.startswith("data.max_image_size: images of 300x300x1 are larger than 256 pixels")
    assert "take 0.01 GB (train 0.01)" in told  # 100 * 90,000
    assert told.endswith("or data.max_image_size=300 to use them")
    assert list((tmp_path / "out").iterdir()) == []
    asked = {**data, "max_image_size": 300}
    _, summary = prepared(tmp_path / "data", tmp_path / "asked", select=0.2, test=0.2, **asked)
    assert summary["image_shape"] == (300, 300, 1)


def test_arrays_that_the_disk_has_no_room_for_are_not_begun(tmp_path, monkeypatch) -> None:
    """A memory map of a full disk ends the process without a word."""
    write_images(tmp_path / "data", 100, 100)
    room = SimpleNamespace(free=2 * 100 * 100 * 100 * 3 - 1)
    monkeypatch.setattr("shutil.disk_usage", lambda _: room)
    with pytest.raises(
        UserError, match=r"^workspace: 0.01 GB are free .* the prepared images take"
    ):
        prepared(tmp_path / "data", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    room.free += 1
    prepared(tmp_path / "data", tmp_path / "again")
