"""Near-duplicates across splits are found as all pairs give them, and different images are none."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from sklearn.datasets import load_digits

from bngan.data.dataset import Split
from pipeline.data import near_duplicates as module
from pipeline.data.digests import ImageDigests
from pipeline.data.near_duplicates import near_duplicates, near_line, near_warning, thumbnails
from pipeline.reports.data_section import as_html
from tests.unit.workflow.stages.test_prepare import Silence, prepared

Images = dict[Split, np.ndarray]


def scenes(count: int, seed: int, shape: tuple[int, int, int] = (48, 48, 3)) -> np.ndarray:
    """Return smooth colour images that differ at random, uint8 ``(count, *shape)``."""
    random, (height, width, channels) = np.random.default_rng(seed), shape
    coarse = random.integers(0, 256, (count, 6, 6, 3)).astype(np.uint8)
    pictures = [
        Image.fromarray(each).convert("L" if channels == 1 else "RGB").resize((width, height))
        for each in coarse
    ]
    return np.stack([np.asarray(each).reshape(shape) for each in pictures])


def digests(images: Images) -> dict[Split, ImageDigests]:
    return {split: ImageDigests.of_arrays(part) for split, part in images.items()}


def as_jpeg(picture: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=50)
    return Image.open(buffer)


def resized(picture: Image.Image) -> Image.Image:
    width, height = picture.size
    return picture.resize((width * 4 // 5, height * 4 // 5)).resize(picture.size)


def cropped(picture: Image.Image) -> Image.Image:
    width, height = picture.size
    return picture.crop((0, 0, width - 1, height - 1)).resize(picture.size)


def shrunk(image: np.ndarray) -> np.ndarray:
    """Return the average grey of each of 16x16 equal parts, by 16 copies of each pixel."""
    grey = image.mean(axis=2, dtype=np.float64)
    for axis in range(2):
        side = grey.shape[axis]
        if side > 16:
            parts = np.split(grey.repeat(16, axis), 16, axis)
            grey = np.stack([part.mean(axis) for part in parts], axis)
    small = grey.ravel() - grey.mean()
    return np.asarray(small / small.std())


def by_brute_force(images: Images, limit: float, few: bool) -> dict[str, list[tuple[int, int]]]:
    """Return image and twin of each near-duplicate, from all distances in float64."""
    train = [shrunk(image) for image in images["train"]]
    found: dict[str, list[tuple[int, int]]] = {}
    for split in ("select", "test"):
        found[split] = []
        for index, image in enumerate(images[split]):
            probe = shrunk(image)
            distances = [float(np.sqrt(np.mean((probe - other) ** 2))) for other in train]
            ten = sorted(distances)[:10]
            steps = zip(ten, ten[1:] if few else [ten[9]], strict=False)
            if ten[0] <= 0.03 or any(a <= limit * b for a, b in steps):
                found[split].append((index, int(np.argmin(distances))))
    return found


@pytest.mark.parametrize("shape", [(24, 40, 3), (48, 20, 1), (8, 12, 1)])
@pytest.mark.parametrize("few", [True, False])
def test_they_are_those_that_all_distances_give(
    few: bool, shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MANY", 10**9 if few else 1)
    monkeypatch.setattr(module, "_VALUES", 30_000)  # many parts
    train = scenes(150, 0, shape)
    random = np.random.default_rng(1)
    noise = random.normal(0, 1, (100, *shape)) * np.linspace(0, 60, 100)[:, None, None, None]
    mixed = (train[20:120] + noise).clip(0, 255).astype(np.uint8)  # from equal to quite different
    images: Images = {"train": train, "select": mixed[1::2], "test": mixed[2::2]}
    found = near_duplicates(images, digests(images))
    expected = by_brute_force(images, 0.125 if few else 0.2, few)
    for split in ("select", "test"):
        pairs = list(zip(found[split].images.tolist(), found[split].twins.tolist(), strict=True))
        assert pairs == expected[split]
        assert 0 < len(pairs) < len(images[split])


def test_a_thumbnail_is_the_average_of_areas() -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, 24, 40, 3)).astype(np.uint8)
    expected = shrunk(image[0]) / 16  # 256 values of mean square 1
    np.testing.assert_allclose(thumbnails(image, np.array([0]))[0], expected, atol=1e-5)


def brighter(picture: Image.Image) -> Image.Image:
    return ImageEnhance.Brightness(picture).enhance(1.05)


def darker(picture: Image.Image) -> Image.Image:
    return ImageEnhance.Brightness(picture).enhance(0.95)


@pytest.mark.parametrize(
    ("change", "count"),
    [
        *[(change, 300) for change in (as_jpeg, resized, brighter, darker)],
        *[(change, 2500) for change in (as_jpeg, cropped)],
    ],
)
def test_copies_that_are_not_exact_are_found(
    change: Callable[[Image.Image], Image.Image], count: int
) -> None:
    train = scenes(count, 2)
    copies = [np.asarray(change(Image.fromarray(train[i]))) for i in range(0, 90, 3)]
    images: Images = {"train": train, "select": np.stack(copies), "test": scenes(40, 3)}
    found = near_duplicates(images, digests(images))
    assert found["select"].images.tolist() == list(range(30))
    assert found["select"].twins.tolist() == list(range(0, 90, 3))
    assert found["test"].images.tolist() == []


@pytest.mark.parametrize("train", [50, 200, 1437])
def test_different_digits_are_none(train: int) -> None:
    levels = np.round(load_digits().images * (255 / 16)).astype(np.uint8)[..., None]
    for seed in range(5):
        mixed = levels[np.random.default_rng(seed).permutation(len(levels))]
        images: Images = {
            "test": mixed[:180],
            "select": mixed[180:360],
            "train": mixed[360 : 360 + train],
        }
        found = near_duplicates(images, digests(images))
        assert [len(each.images) for each in found.values()] == [0, 0]


def test_plain_images_and_exact_copies_do_not_count() -> None:
    skies = np.arange(100, 160, dtype=np.uint8)[:, None, None, None].repeat(48, 1).repeat(48, 2)
    skies = skies + np.arange(48, dtype=np.uint8)[None, :, None, None] // 4  # a slight gradient
    train = np.concatenate([scenes(60, 0, (48, 48, 1)), skies[::2]])
    images: Images = {"train": train, "select": skies[1::2], "test": train[:30].copy()}
    found = near_duplicates(images, digests(images))
    assert [(each.looked_at, len(each.images)) for each in found.values()] == [(30, 0), (30, 0)]


def test_without_anything_to_compare_with_there_are_none() -> None:
    blank = np.zeros((20, 8, 8, 1), np.uint8)
    for train in (blank, np.concatenate([blank, scenes(1, 0, (8, 8, 1))])):
        images: Images = {"train": train, "select": blank, "test": scenes(20, 1, (8, 8, 1))}
        found = near_duplicates(images, digests(images))
        assert [len(each.images) for each in found.values()] == [0, 0]


def test_frames_of_a_still_camera_are_found_among_many_of_their_kind() -> None:
    random = np.random.default_rng(0)
    frames = scenes(3, 4)[:, None] + random.normal(0, 2, (3, 60, 48, 48, 3))
    levels = frames.reshape(180, 48, 48, 3).clip(0, 255).astype(np.uint8)
    train = np.concatenate([levels[start::6] for start in range(2, 6)])
    images: Images = {"select": levels[::6], "test": levels[1::6], "train": train}
    found = near_duplicates(images, digests(images))
    assert [len(each.images) for each in found.values()] == [30, 30]


def test_of_many_images_some_at_equal_distances_are_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_PROBES", 10)
    train = scenes(100, 5)
    copies = (train[:25].astype(int) + 1).clip(0, 255).astype(np.uint8)
    images: Images = {"train": train, "select": copies, "test": copies[:10]}
    found = near_duplicates(images, digests(images))
    assert found["select"].looked_at == found["test"].looked_at == 10
    assert found["select"].images.tolist() == [0, 2, 5, 7, 10, 12, 15, 17, 20, 22]
    assert found["select"].twins.tolist() == found["select"].images.tolist()
    assert found["test"].images.tolist() == list(range(10))
    counts = {"train": 100, "select": 25, "test": 10}
    line = "10 of 10 select images looked at and 10 of 10 test images"
    recorded = module.near_counts(found)
    assert near_warning(recorded, counts).startswith(f"{line} are nearly the same as an image in t")
    assert near_line(recorded, counts) == f"{line} have a near-duplicate in train"


def test_what_was_not_counted_is_not_told() -> None:
    counts = {"train": 100, "select": 20, "test": 20}
    assert near_warning({}, counts) == near_line({}, counts) == ""


def test_prepare_and_the_report_say_how_many_there_are(tmp_path: Path) -> None:
    train, others = scenes(120, 6), scenes(30, 7)
    for split, part in {"train": train, "test": others}.items():
        (tmp_path / "data" / split).mkdir(parents=True)
        for index, image in enumerate(part):
            Image.fromarray(image).save(tmp_path / "data" / split / f"{index:03}.png")
    quiet = Silence()
    prepared(tmp_path / "data", tmp_path / "a", quiet)
    assert (quiet.messages, set(quiet.artifacts)) == ([], {"samples/real.png"})
    for index in range(9):
        file = tmp_path / "data" / "test" / f"again {index}.png"
        as_jpeg(Image.fromarray(train[index])).save(file)
    events = Silence()
    output, summary = prepared(tmp_path / "data", tmp_path / "b", events)
    contents = json.loads((output / "contents.json").read_text())
    used = np.load(output / "train_images.npy")
    originals = {image.tobytes() for image in train[:9]}
    expected = len(originals & {image.tobytes() for image in used})  # others are in select
    assert 5 <= expected <= 9
    assert contents["near_duplicates"] == {
        "select_in_train": 0,
        "select_looked_at": summary["counts"]["select"],
        "test_in_train": expected,
        "test_looked_at": 39,
    }
    assert contents["duplicates"]["test_in_train"] == 0
    (message,) = events.messages
    assert message.startswith(f"{expected} of 39 test images are nearly the same as an image in t")
    picture = Image.open(io.BytesIO(events.artifacts["near_duplicates.png"]))
    assert picture.size[0] > picture.size[1]  # rows of four pairs
    data = json.loads((output / "dataset.json").read_text())
    page = as_html(contents, data)
    assert f'<p class="note">{message}.</p>' in page
    assert f"{expected} of 39 test images have a near-duplicate in train." in page
    del contents["near_duplicates"]  # an inventory of earlier code
    assert "near" not in as_html(contents, data)
