"""Digests: what identifies an image, and which images a generator has seen."""

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bngan.data.dataset import SPLITS, Split
from pipeline.data.digests import DataDigests, ImageDigests
from pipeline.storage.artifacts import DIGESTS
from tests.unit.workflow.stages.test_prepare import prepared

COUNT, SIDE = 80, 12


def blake(content: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


def folder_of(folder: Path, suffix: str = "jpg") -> list[Path]:
    """Colour noise, in files of its own size."""
    folder.mkdir()
    random = np.random.default_rng(0)
    files = [folder / f"{number:02}.{suffix}" for number in range(COUNT)]
    for file in files:
        Image.fromarray(random.integers(0, 256, (SIDE, SIDE, 3), np.uint8)).save(file)
    return files


def seen(path: Path, output: Path, **data: Any) -> tuple[Path, DataDigests]:
    folder, _ = prepared(path, output, **data)
    return folder, DataDigests.load(folder / DIGESTS)


def found_in(digests: DataDigests, content: bytes, shape: Any) -> list[str]:
    (places,) = digests.places(digests.prepared(content, shape))
    return places


@pytest.mark.parametrize("law", ["order", "content"])
def test_an_image_is_known_by_its_prepared_pixels_and_by_its_file(law: str, tmp_path: Path) -> None:
    files = folder_of(tmp_path / "data")
    folder, found = seen(tmp_path / "data", tmp_path / "a", split_by=law, image_size=8)
    encoded = set()
    for split in SPLITS:
        pixels = np.load(folder / f"{split}_images.npy")
        assert found.splits[split].pixels.tolist() == [blake(image.tobytes()) for image in pixels]
        encoded |= set(found.splits[split].files.tolist())
    assert encoded == {blake(file.read_bytes()) for file in files}


def test_pixels_and_file_stand_for_the_same_image(tmp_path: Path) -> None:
    files = {blake(file.read_bytes()): file for file in folder_of(tmp_path / "data", "png")}
    _, found = seen(tmp_path / "data", tmp_path / "a", split_by="content")
    for part in found.splits.values():
        for pixels, file in zip(*part, strict=True):
            with Image.open(files[int(file)]) as image:
                assert pixels == blake(np.array(image).tobytes())


@pytest.mark.parametrize("data", [{}, {"image_size": [6, 9], "fit": "pad"}, {"channels": 1}])
def test_a_file_is_found_in_its_split(data: dict[str, Any], tmp_path: Path) -> None:
    files = folder_of(tmp_path / "data")
    folder, found = seen(tmp_path / "data", tmp_path / "a", split_by="content", **data)
    images = np.load(folder / "train_images.npy")
    shape = images.shape[3], *images.shape[1:3]
    names = [found_in(found, file.read_bytes(), shape) for file in files]
    counts = {split: names.count([split]) for split in SPLITS}
    assert counts == {split: len(found.splits[split].pixels) for split in SPLITS}


def test_an_image_is_found_by_its_pixels_in_another_file(tmp_path: Path) -> None:
    file = folder_of(tmp_path / "data")[7]
    _, found = seen(tmp_path / "data", tmp_path / "a", split_by="content", image_size=8)
    shape, other, coarse = (3, 8, 8), io.BytesIO(), io.BytesIO()
    with Image.open(file) as image:
        image.save(other, "PNG")
        image.save(coarse, "JPEG", quality=30)
    assert (
        found_in(found, other.getvalue(), shape) == found_in(found, file.read_bytes(), shape) != []
    )
    assert found_in(found, coarse.getvalue(), shape) == []
    assert found_in(found, b"no image", shape) == []


def test_a_file_of_many_bits_is_found_by_its_white(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    random = np.random.default_rng(0)
    for number in range(COUNT):
        levels = random.integers(0, 1024, (6, 6), np.uint16)
        Image.fromarray(levels).save(tmp_path / "data" / f"{number}.png")
    _, found = seen(tmp_path / "data", tmp_path / "a", white=1023)
    content = io.BytesIO()
    with Image.open(tmp_path / "data" / "3.png") as image:
        image.save(content, "TIFF")
    assert len(found_in(found, content.getvalue(), (1, 6, 6))) == 1


def test_among_is_what_a_comparison_of_all_pairs_gives() -> None:
    random = np.random.default_rng(0)

    def drawn(count: int) -> ImageDigests:
        pixels, files = random.integers(0, 60, (2, count)).astype(np.uint64)
        files[random.random(count) < 0.5] = 0  # not known
        return ImageDigests(pixels, files)

    ours, theirs = drawn(50), drawn(20)
    expected = [
        any(p == q or (f == g and f != 0) for q, g in zip(*theirs, strict=True))
        for p, f in zip(*ours, strict=True)
    ]
    assert 0 < sum(expected) < 50
    assert ours.among(theirs).tolist() == expected


def splits_of(**values: list[int]) -> dict[Split, ImageDigests]:
    arrays = {split: np.array(values[split], np.uint64) for split in SPLITS}
    return {split: ImageDigests(array, array + np.uint64(100)) for split, array in arrays.items()}


@pytest.mark.parametrize(
    ("split", "expected"), [("train", [9]), ("select", [1, 2, 9]), ("test", [1, 2, 3, 9])]
)
def test_earlier_splits_and_the_base_shape_a_generator(split: Split, expected: list[int]) -> None:
    base = ImageDigests(*np.array([[9], [109]], np.uint64))
    found = DataDigests(splits_of(train=[1, 2], select=[3], test=[4]), "crop", None, base)
    before = found.before(split)
    assert before is not None
    assert before.pixels.tolist() == expected
    assert before.files.tolist() == [100 + value for value in expected]


def test_a_base_is_none_known_or_not_known(tmp_path: Path) -> None:
    splits, base = splits_of(train=[1], select=[2], test=[3]), ImageDigests.none()
    for number, expected in enumerate((base, None)):
        file = tmp_path / f"{number}.npz"
        DataDigests(splits, "crop", None, expected).save(file)
        found = DataDigests.load(file)
        assert (found.base is None, found.before("test") is None) == (number == 1, number == 1)


@pytest.mark.parametrize("form", [("pad", None), ("crop", 1023)])
def test_data_of_another_form_are_comparable_by_their_files_alone(form: Any) -> None:
    splits = splits_of(train=[1], select=[2], test=[3])
    unknown = {s: ImageDigests(part.pixels, 0 * part.files) for s, part in splits.items()}
    known = DataDigests(splits, "crop", None)
    assert known.comparable(DataDigests(splits, *form))
    assert known.comparable(DataDigests(unknown, "crop", None))
    assert not known.comparable(DataDigests(unknown, *form))


@pytest.mark.parametrize("white", [None, 1023])
@pytest.mark.parametrize("adapted", [False, True])
def test_what_is_saved_is_loaded(white: int | None, adapted: bool, tmp_path: Path) -> None:
    base = ImageDigests(*np.array([[9], [0]], np.uint64)) if adapted else ImageDigests.none()
    stored = DataDigests(splits_of(train=[1, 2], select=[3], test=[]), "pad", white, base)
    for name in ("a.npz", "b.npz"):
        stored.save(tmp_path / name)
    found = DataDigests.load(tmp_path / "a.npz")
    assert (found.fit, found.white) == ("pad", white)
    np.testing.assert_array_equal(found.base, stored.base)
    for split in SPLITS:
        np.testing.assert_array_equal(found.splits[split], stored.splits[split])
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        {"train": np.zeros((2, 3), np.int64)},
        {"train": np.zeros((3, 2), np.uint64)},
        {"form": np.array(["crop"])},
        {"form": np.array(["cut", ""])},
        {"base": np.zeros(4, np.uint64)},
        {"test": None},
    ],
)
def test_a_file_of_something_else_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / DIGESTS
    DataDigests(splits_of(train=[1], select=[2], test=[3]), "crop", None).save(file)
    with np.load(file) as stored:
        arrays = {**stored, **change}
    np.savez(file, **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(ValueError, match=r"^digests\.npz holds no digests of images: "):
        DataDigests.load(file)


def test_prepared_data_without_digests_give_those_of_the_pixels(tmp_path: Path) -> None:
    folder_of(tmp_path / "data")
    folder, expected = seen(tmp_path / "data", tmp_path / "a")
    found = DataDigests.of_arrays(folder, "crop", None, adapted=False)
    for split in SPLITS:
        np.testing.assert_array_equal(found.splits[split].pixels, expected.splits[split].pixels)
        assert not found.splits[split].files.any()
