"""Prepare images that belong together, so that each group has one split."""

import hashlib
import itertools
import json
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from bngan.data.dataset import SPLITS, ImageSplit
from bngan.data.decoding import convert, decode
from pipeline.core.errors import UserError
from tests.unit.data.folder_makers import picture
from tests.unit.workflow.stages.test_prepare import Silence, prepared

SIZE = 3
"""Images in a group."""


def pixels(number: int) -> bytes:
    return convert(decode(picture(number)), 3, None, "crop").tobytes()


def write(folder: Path, name: str, number: int) -> None:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(picture(number))


def write_groups(folder: Path, groups: range, above: str = "") -> None:
    """Write ``SIZE`` images of each group below one of two classes."""
    for group in groups:
        for i in range(SIZE):
            place = f"{above}{'cat' if group % 2 else 'dog'}/p{group:03}"
            write(folder, f"{place}/{i}.png", SIZE * group + i)


def splits(folder: Path, output: Path, group: str, **data: Any) -> dict[bytes, str]:
    """Return the split of each image, by its pixels."""
    options = {"split_by": "content", "class_level": 1, **data}
    path, _ = prepared(folder, output, group=group, **options)
    arrays = {split: ImageSplit.load(path, split).images for split in SPLITS}
    return {image.tobytes(): split for split, images in arrays.items() for image in images}


def of_groups(found: dict[bytes, str], groups: range) -> dict[int, str]:
    """Return the split of each group; each must have one."""
    sets: dict[int, set[str]] = defaultdict(set)
    for group in groups:
        sets[group] = {found[pixels(SIZE * group + i)] for i in range(SIZE)}
        assert len(sets[group]) == 1, group
    return {group: each.pop() for group, each in sets.items()}


def expected(name: str, seed: int = 0) -> str:
    """The split of a group where tenths of the images are to select and to test with."""
    salt = seed.to_bytes(8, "little")
    key = hashlib.blake2b(name.encode(), digest_size=8, key=salt).digest()
    share = int.from_bytes(key, "little") / 2**64
    return "test" if share < 0.1 else "select" if share < 0.2 else "train"


@pytest.mark.parametrize(("rule", "seed"), [("folder:2", 0), (r"name:/(p\d+)/", 7)])
def test_the_name_of_a_group_alone_decides(rule: str, seed: int, tmp_path: Path) -> None:
    """Images and groups come and go, and an image gets another class: nothing moves."""
    folder, kept = tmp_path / "x", range(100, 350)
    write_groups(folder, kept)
    before = of_groups(splits(folder, tmp_path / "a", rule, split_seed=seed), kept)
    assert before == {group: expected(f"p{group:03}", seed) for group in kept}
    write_groups(folder, range(350, 380))
    shutil.rmtree(folder / "cat" / "p101")
    for group in range(110, 120):
        for i in (10, 11):
            write(folder, f"cat/p{group:03}/{i}.png", 10_000 + 2 * group + i)
    (folder / "dog" / "p122" / "0.png").rename(folder / "cat" / "p123" / "x.png")  # another group
    for group in range(130, 150):  # another class, for all images and for one
        here, there = ("cat", "dog") if group % 2 else ("dog", "cat")
        for i in range(SIZE if group < 140 else 1):
            target = folder / there / f"p{group:03}"
            target.mkdir(exist_ok=True)
            (folder / here / f"p{group:03}" / f"{i}.png").rename(target / f"{i}.png")
    (folder / "cat" / "broken.png").write_bytes(b"no image")
    found = splits(folder, tmp_path / "b", rule, split_seed=seed, max_skipped=1)
    rest = [group for group in kept if group not in (101, 122, 123)]
    assert of_groups(found, rest) == {group: before[group] for group in rest}  # type: ignore[arg-type]
    assert found[pixels(SIZE * 122)] == before[123]
    for group in range(110, 120):
        assert {found[pixels(10_000 + 2 * group + i)] for i in (10, 11)} == {before[group]}


def test_images_without_a_group_go_by_their_own_content(tmp_path: Path) -> None:
    folder, events = tmp_path / "x", Silence()
    write_groups(folder, range(100, 200))
    for number in range(400):
        write(folder, f"cat/{number}.png", 5000 + number)
    grouped = splits(folder, tmp_path / "a", "folder:2", events=events)
    alone = splits(folder, tmp_path / "b", "name:^never|(p)1", events=Silence(), max_skipped=0)
    lone = [pixels(5000 + number) for number in range(400)]
    assert {grouped[image] for image in lone} == set(SPLITS)
    assert all(grouped[image] == alone[image] for image in lone)
    assert events.messages == [
        "data.group: folder:2 puts 300 images into 100 groups; p101 is the largest with 3; 400 images "
        "(more than half) have no group: each goes by its own content"
    ]


def test_equal_images_join_their_groups(tmp_path: Path) -> None:
    """p0 has a copy of p1's image, and p1 of p2's: the three stay together, in another format too."""
    folder, groups = tmp_path / "x", range(250)
    write_groups(folder, groups)
    before = of_groups(splits(folder, tmp_path / "a", "folder:2"), groups)
    assert len({before[group] for group in range(20)}) > 1
    for group in range(19):
        image = Image.open(folder / ("dog" if group % 2 else "cat") / f"p{group + 1:03}" / "0.png")
        image.save(folder / ("cat" if group % 2 else "dog") / f"p{group:03}" / "copy.bmp")
    after = of_groups(splits(folder, tmp_path / "b", "folder:2"), groups)
    assert {after[group] for group in range(20)} == {before[min(range(20), key=_share)]}
    assert all(after[group] == before[group] for group in range(20, 250))


def _share(group: int) -> int:
    key = hashlib.blake2b(f"p{group:03}".encode(), digest_size=8, key=bytes(8)).digest()
    return int.from_bytes(key, "little")


def test_columns_give_the_same_splits_as_folders(tmp_path: Path) -> None:
    """A table, metadata files and a saved data set: the value's text is the group's name."""
    groups = range(1000, 1250)
    numbers = [SIZE * group + i for group in groups for i in range(SIZE)]
    images = [{"bytes": picture(number), "path": None} for number in numbers]
    patients = [number // SIZE for number in numbers]
    columns = {"image": images, "label": [number % 2 for number in numbers], "patient": patients}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    features["patient"] = datasets.Value("float64")
    rows = datasets.Dataset.from_dict(columns, features)
    (tmp_path / "table").mkdir()
    rows.to_parquet(tmp_path / "table" / "train.parquet")
    rows.save_to_disk(str(tmp_path / "saved"))
    for number in numbers:
        write(tmp_path / "described", f"{number}.png", number)
    lines = [json.dumps({"file_name": f"{n}.png", "patient": n // SIZE}) for n in numbers]
    (tmp_path / "described" / "metadata.jsonl").write_text("\n".join(lines))
    for kind in ("table", "saved", "described"):
        options: dict[str, Any] = {"class_level": None}
        found = splits(tmp_path / kind, tmp_path / f"{kind}.out", "column:patient", **options)
        assert of_groups(found, groups) == {group: expected(str(group)) for group in groups}


def test_the_test_split_of_the_data_stays_and_shared_groups_are_told(tmp_path: Path) -> None:
    folder, events = tmp_path / "x", Silence()
    write_groups(folder, range(100, 300), "train/")
    write_groups(folder, range(290, 310), "test/")
    for group in range(290, 300):
        for file in (folder / "test").glob(f"*/p{group}/*.png"):
            file.write_bytes(picture(9000 + SIZE * group + int(file.stem)))
    found = splits(folder, tmp_path / "a", "folder:2", events=events)
    assert sum(split == "test" for split in found.values()) == 20 * SIZE
    assert all(found[pixels(SIZE * g + i)] == "test" for g in range(300, 310) for i in range(SIZE))
    of_groups(found, range(100, 300))
    assert events.messages == [
        "data.group: folder:2 puts 600 images into 200 groups; p101 is the largest with 3",
        "data.group: 10 groups have images to train on and to test with, such as p290: the splits "
        "of the data stay as they are",
    ]


def test_few_groups_are_told_and_too_few_are_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    for number in range(400):
        write(folder, f"p{number // 50}/{number % 50}.png", number)
    events = Silence()
    splits(folder, tmp_path / "a", "folder:1", events=events, class_level=0, test=0.01)
    assert any("images are in test instead of 20" in line for line in events.messages)
    for group in range(3, 8):
        shutil.rmtree(folder / f"p{group}")
    splits(folder, tmp_path / "b", "folder:1", class_level=0)
    for number in range(35):
        (folder / "p0" / f"{number}.png").unlink()
    with pytest.raises(UserError, match=r"^data\.group: \d+ images are left for the train split"):
        splits(folder, tmp_path / "c", "folder:1", class_level=0)
    shutil.rmtree(folder / "p0")
    with pytest.raises(UserError, match=r"^data\.group: folder:1 gives only 2 groups \(p1, p2\)"):
        splits(folder, tmp_path / "d", "folder:1", class_level=0)


def test_a_limit_leaves_the_other_splits_whole_and_classes_move_nothing(tmp_path: Path) -> None:
    write_groups(tmp_path / "x", range(250))
    whole = splits(tmp_path / "x", tmp_path / "a", "folder:2")
    cut = splits(tmp_path / "x", tmp_path / "b", "folder:2", limit=100)
    assert sum(split == "train" for split in cut.values()) == 100
    assert all(whole[image] == split for image, split in cut.items())
    held_out = [sum(split != "train" for split in each.values()) for each in (whole, cut)]
    assert held_out[0] == held_out[1]
    dogs = splits(tmp_path / "x", tmp_path / "c", "folder:2", classes=[1])
    assert len(dogs) == len(whole) / 2
    assert all(whole[image] == split for image, split in dogs.items())


def test_groups_without_any_image_are_an_error(tmp_path: Path) -> None:
    write_groups(tmp_path / "x", range(50))
    with pytest.raises(
        UserError, match=r"^data\.group: no image to train on has a group by folder:3"
    ):
        splits(tmp_path / "x", tmp_path / "a", "folder:3")


def test_the_images_of_a_group_lie_side_by_side(tmp_path: Path) -> None:
    """The jackknife leaves out blocks of consecutive images, which must not divide groups."""
    write_groups(tmp_path / "x", range(250))
    splits(tmp_path / "x", tmp_path / "a", "folder:2")
    group = {pixels(number): number // SIZE for number in range(250 * SIZE)}
    for split in SPLITS:
        images = ImageSplit.load(tmp_path / "a", split).images
        found = np.array([group[image.tobytes()] for image in images])
        assert np.count_nonzero(np.diff(found)) == len(set(found.tolist())) - 1


def test_a_limit_takes_images_of_all_groups(tmp_path: Path) -> None:
    """40 groups of 20 images: the smallest own keys of 100 images are of nearly all groups."""
    folder = tmp_path / "x"
    for number in range(800):
        write(folder, f"p{number // 20}/{number % 20}.png", number)
    whole = splits(folder, tmp_path / "a", "folder:1", class_level=0)
    found = splits(folder, tmp_path / "b", "folder:1", class_level=0, limit=100)
    numbers = {pixels(number): number for number in range(800)}
    train = [numbers[image] for image, split in whole.items() if split == "train"]
    keys = {n: hashlib.blake2b(picture(n), digest_size=8, key=bytes(8)).digest() for n in train}
    smallest = sorted(train, key=lambda n: int.from_bytes(keys[n], "little"))[:100]
    kept = [numbers[image] for image, split in found.items() if split == "train"]
    assert sorted(kept) == sorted(smallest)
    assert len({number // 20 for number in kept}) > 0.8 * len({number // 20 for number in train})
    groups = [number // 20 for number in kept]
    assert sum(a != b for a, b in itertools.pairwise(groups)) == len(set(groups)) - 1


@pytest.mark.parametrize(("size", "told"), [(40, True), (8, False)])
def test_a_test_split_of_few_groups_is_told(size: int, told: bool, tmp_path: Path) -> None:
    folder, events = tmp_path / "x", Silence()
    for number in range(1600):
        write(folder, f"p{number // size}/{number % size}.png", number)
    found = splits(folder, tmp_path / "a", "folder:1", class_level=0, test=0.2, events=events)
    numbers = {pixels(number): number // size for number in range(1600)}
    groups = {numbers[image] for image, split in found.items() if split == "test"}
    line = f"data.group: the images to test with are only {len(groups)} groups."
    assert (
        any(message.startswith(line) for message in events.messages) == told == (len(groups) < 20)
    )
