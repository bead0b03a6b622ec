"""All images of all splits decide the form of the prepared ones."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bngan.data.dataset import SPLITS
from pipeline.core.errors import UserError
from pipeline.data import conversion
from pipeline.reports.data_section import as_html
from tests.unit.workflow.stages.test_prepare import Silence, prepared

COUNT = 220


def folder_of(folder: Path, coloured: set[str], size: int = 6) -> Path:
    """``train`` and ``test`` with grey noise, and some files in colours."""
    random = np.random.default_rng(0)
    for split in ("train", "test"):
        (folder / split).mkdir(parents=True)
        for i in range(COUNT):
            name = f"{split}/{i:03}.png"
            shape = (size, size, 3) if name in coloured else (size, size)
            pixels = random.integers(0, 256, shape, dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name)
    return folder


def last_of(split: str, tmp_path: Path) -> str:
    """The file that ``prepare`` reads last in a split: it marks each image by its number."""
    folder = tmp_path / f"marked-{split}"
    for each in ("train", "test"):
        (folder / each).mkdir(parents=True)
        for i in range(COUNT):
            Image.new("L", (6, 6), i).save(folder / each / f"{i:03}.png")
    output, _ = prepared(folder, tmp_path / f"order-{split}")
    row = np.load(output / f"{split}_images.npy")[-1, 0, 0, 0]
    return f"{'test' if split == 'test' else 'train'}/{row:03}.png"


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("size", [None, 8])
@pytest.mark.parametrize("split", SPLITS)
def test_one_coloured_image_anywhere_gives_what_three_channels_give(
    split: str, size: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversion, "_PEEK", 10)
    monkeypatch.setattr(conversion, "_CHUNK", 7)
    folder, events = folder_of(tmp_path / "data", {last_of(split, tmp_path)}), Silence()
    found, summary = prepared(folder, tmp_path / "a", events, image_size=size)
    expected, _ = prepared(folder, tmp_path / "b", image_size=size, channels=3)
    assert summary["image_shape"][2] == 3
    assert files(found) == files(expected)
    assert "439 grey images made RGB" in summary["note"]
    assert events.messages == [
        "1 images have colours, so 439 grey ones become RGB; data.channels=1 makes all grey"
    ]
    record = json.loads((found / "contents.json").read_text())
    assert record["pixels"]["grey_made_rgb"] == 439
    page = as_html(record, json.loads((found / "dataset.json").read_text()))
    assert "439 grey images made RGB." in page


def test_a_coloured_image_that_cannot_be_used_decides_nothing(tmp_path: Path) -> None:
    name = last_of("test", tmp_path)
    folder, events = folder_of(tmp_path / "data", set()), Silence()
    Image.new("RGB", (9, 9)).save(folder / name)
    output, summary = prepared(folder, tmp_path / "a", events)
    assert summary["image_shape"] == (6, 6, 1)
    assert summary["skipped"] == 1
    assert events.messages == [
        "data.image_size is not set, so 1 images of another size than the first ones are skipped"
    ]
    assert json.loads((output / "contents.json").read_text())["pixels"]["other_size"] == 1


def test_colours_that_are_made_grey_are_counted(tmp_path: Path) -> None:
    folder, events = folder_of(tmp_path / "data", {"train/001.png", "test/002.png"}), Silence()
    output, summary = prepared(folder, tmp_path / "a", events, channels=1)
    assert ", 2 coloured images made grey" in summary["note"]
    assert events.messages == []
    pixels = json.loads((output / "contents.json").read_text())["pixels"]
    assert (pixels["rgb_made_grey"], pixels["grey_made_rgb"]) == (2, 0)


def test_many_images_of_another_size_are_counted_before_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversion, "_PEEK", 1)
    folder, events = folder_of(tmp_path / "data", set()), Silence()
    for i in range(0, COUNT, 2):
        Image.new("L", (9, 9)).save(folder / "test" / f"{i:03}.png")
    with pytest.raises(UserError, match=r"110 of 440 images cannot be used"):
        prepared(folder, tmp_path / "a", events)
    assert events.messages[0].startswith("data.image_size is not set, so 110 images of another")


def sensor(folder: Path, most: int, dtype: Any = np.uint16) -> np.ndarray:
    folder.mkdir()
    values = np.random.default_rng(0).integers(0, most + 1, (COUNT, 6, 6)).astype(dtype)
    values[:, 0, 0] = most
    for i, each in enumerate(values):
        Image.fromarray(each).save(folder / f"{i:03}.png")
    return values


@pytest.mark.parametrize(
    ("most", "likely"), [(1023, "1023"), (4095, "4095"), (1000, "1023"), (200, "255")]
)
def test_few_bits_in_files_of_16_are_told_and_can_be_scaled(
    most: int, likely: str, tmp_path: Path
) -> None:
    values, events = sensor(tmp_path / "data", most), Silence()
    prepared(tmp_path / "data", tmp_path / "a", events)
    message = events.messages[0]  # a second one counts duplicates
    assert message == (
        "220 of 220 images of more than 8 bits become nearly black: the largest value is "
        f"{most:,}, and their files take 65,535 for white; set data.white to the value that is "
        f"white, such as {likely}"
    )
    events = Silence()
    output, _ = prepared(tmp_path / "data", tmp_path / "b", events, white=most)
    assert events.messages == []
    found = np.concatenate([np.load(output / f"{split}_images.npy") for split in SPLITS])
    expected = np.floor(values * (255.999 / most)).astype(np.uint8)
    np.testing.assert_array_equal(np.sort(found.ravel()), np.sort(expected.ravel()))


def test_16_bits_that_are_used_are_no_doubt(tmp_path: Path) -> None:
    events = Silence()
    sensor(tmp_path / "data", 65535)
    output, _ = prepared(tmp_path / "data", tmp_path / "a", events)
    assert events.messages == []
    pixels = json.loads((output / "contents.json").read_text())["pixels"]
    assert (pixels["high_bits"], pixels["largest"], pixels["maximum"]) == (220, 65535, 65535)


def test_one_bright_pixel_does_not_hide_that_images_are_black(tmp_path: Path) -> None:
    events = Silence()
    values = sensor(tmp_path / "data", 255)
    values[0, 0, 0] = 65535
    Image.fromarray(values[0]).save(tmp_path / "data" / "000.png")
    prepared(tmp_path / "data", tmp_path / "a", events)
    message = events.messages[0]  # a second one counts duplicates
    assert message.endswith("set data.white to the value that is white")


def test_masks_of_8_bits_that_are_black_are_told(tmp_path: Path) -> None:
    events = Silence()
    sensor(tmp_path / "data", 1, np.uint8)
    prepared(tmp_path / "data", tmp_path / "a", events)
    message = events.messages[0]  # a second one counts duplicates
    assert message.startswith("220 of 220 images of 8 bits are nearly black: no value is above 15")


def test_one_bright_pixel_hides_no_dark_images(tmp_path: Path) -> None:
    events = Silence()
    values = sensor(tmp_path / "data", 4095)
    values[0, 0, 0] = 65535
    Image.fromarray(values[0]).save(tmp_path / "data" / "000.png")
    prepared(tmp_path / "data", tmp_path / "a", events)
    assert events.messages[0].startswith("219 of 220 images of more than 8 bits become nearly")


@pytest.mark.parametrize(
    ("most", "dtype", "told"),
    [
        (4095, np.uint16, "data.white=255: values up to 4,095 occur, and all above it are white"),
        (200, np.uint8, "data.white=255 has no effect: no image has more than 8 bits"),
    ],
)
def test_a_white_that_clips_or_does_nothing_is_told(
    most: int, dtype: type, told: str, tmp_path: Path
) -> None:
    events = Silence()
    sensor(tmp_path / "data", most, dtype)
    prepared(tmp_path / "data", tmp_path / "a", events, white=255)
    assert told in events.messages


def test_an_unusable_file_and_a_late_coloured_one_leave_no_gap(tmp_path: Path) -> None:
    name = last_of("test", tmp_path)
    folder = folder_of(tmp_path / "data", {name})
    broken = next(path for path in sorted((folder / "train").iterdir()))
    broken.write_bytes(b"no image")
    output, summary = prepared(folder, tmp_path / "a", max_skipped=0.1)
    for split in SPLITS:
        images, labels = (np.load(output / f"{split}_{part}.npy") for part in ("images", "labels"))
        assert len(images) == len(labels) == summary["counts"][split]
        assert images.shape[1:] == (6, 6, 3)
        assert images.reshape(len(images), -1).max(axis=1).min() > 0


def test_inventories_of_earlier_versions_have_no_pixels(tmp_path: Path) -> None:
    output, _ = prepared(folder_of(tmp_path / "data", set()), tmp_path / "a")
    record, data = (
        json.loads((output / name).read_text()) for name in ("contents.json", "dataset.json")
    )
    del record["pixels"]
    assert "made RGB" not in as_html(record, data)


@pytest.mark.parametrize("size", [[24, 40], [7, 5]])
def test_images_get_height_and_width(size: list[int], tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "data", set(), size=9)
    found, summary = prepared(folder, tmp_path / "a", image_size=size, fit="stretch")
    assert summary["image_shape"] == (*size, 1)
    assert json.loads((found / "dataset.json").read_text())["image_shape"] == [*size, 1]
    raw = [Image.open(path) for path in sorted((folder / "test").iterdir())]
    expected = {each.resize((size[1], size[0]), Image.Resampling.BICUBIC).tobytes() for each in raw}
    assert {each.tobytes() for each in np.load(found / "test_images.npy")} == expected


def test_a_side_is_height_and_width(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "data", set(), size=9)
    found, _ = prepared(folder, tmp_path / "a", image_size=8)
    expected, _ = prepared(folder, tmp_path / "b", image_size=[8, 8])
    assert files(found) == files(expected)
