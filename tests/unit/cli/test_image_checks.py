"""Settings that ask for more or larger images than a folder has, before a run begins."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from pipeline.cli.image_checks import ImageFolder, array_bytes_of, describe_images
from pipeline.cli.preflight import all_problems, obstacles
from pipeline.config.loader import load_config
from pipeline.core.errors import UserError
from tests.unit.data.folder_makers import make, table
from tests.unit.workflow.stages.test_prepare import prepared

DIGITS = Path(__file__).parents[3] / "configs" / "digits.yaml"


def fill(folder: Path, *places: tuple[str, int]) -> None:
    for place, count in places:
        (folder / place).mkdir(parents=True)
        for number in range(count):
            pixels = np.full((8, 8), number, np.uint8)
            Image.fromarray(pixels).save(folder / place / f"{number}.png")


CLASSES = ("a", 80), ("b", 70)
SPLITS = ("train/a", 60), ("train/b", 60), ("test/a", 30), ("test/b", 25)
VALIDATED = ("train/a", 60), ("train/b", 60), ("val/a", 30), ("val/b", 24)


@pytest.mark.parametrize("places", [CLASSES, SPLITS, VALIDATED, [("", 140)]])
@pytest.mark.parametrize("data", [{}, {"limit": 70}])
def test_counts_are_those_of_prepare(places, data, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    fill(tmp_path / "set", *places)
    _, summary = prepared(tmp_path / "set", tmp_path / "out", **data)
    counts = summary["counts"]
    learned = counts["train"] // 2
    given = [
        f"data.path={tmp_path}/set",
        f"workspace={tmp_path}/w",
        "data.select=0.1",
        "data.split_by=order",
    ]
    given += ["data.test=0.1", *(f"data.{key}={value}" for key, value in data.items())]
    for split, count in {**counts, "train": counts["train"] - learned}.items():
        for asked in (count, count + 1):
            config = load_config(DIGITS, [*given, f"evaluate.protocol=fid{asked}_{split}"])
            told = [problem.message for problem in obstacles(config)]
            wrong = f"evaluate.protocol: fid{asked}_{split} needs {asked} real images, but the"
            assert [line[: len(wrong)] for line in told] == [wrong] * (asked > count)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"limit": 111}, "data.limit: 111 images, and there are 110 to train on"),
        ({"classes": [0, 2]}, "data.classes: there is no class 2: 0 a, 1 b"),
        ({"classes": [1], "limit": 71}, "data.limit: 71 images, and there are 70 to train on"),
    ],
)
def test_more_than_there_is_is_told_as_prepare_does(data, message, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    fill(tmp_path / "set", *CLASSES)
    overrides = [f"data.{key}={value}" for key, value in data.items()]
    overrides += [f"data.path={tmp_path}/set", f"workspace={tmp_path}/w", "data.split_by=order"]
    overrides += ["data.select=0.1", "data.test=0.1"]
    config = load_config(DIGITS, [*overrides, "evaluate.protocol=fid20_test"])
    assert [problem.message for problem in obstacles(config)] == [message]
    with pytest.raises(UserError, match=message.partition(",")[0]):
        prepared(tmp_path / "set", tmp_path / "out", **data)


def test_large_images_are_asked_for_and_their_gigabytes_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "set", *CLASSES)
    given = [f"data.path={tmp_path}/set", f"workspace={tmp_path}/w", "data.image_size=257"]
    given.append("data.split_by=order")
    given += ["evaluate.protocol=fid20_test", "data.channels=3"]
    (problem,) = obstacles(load_config(DIGITS, given))
    assert problem.key == "data.image_size"
    assert problem.message.startswith(
        "data.max_image_size: images of 257x257x3 are larger than 256 pixels: the prepared images "
        "take 0.03 GB (train 0.02, select 0.01, test 0.01)"  # 150 * 257 * 257 * 3 = 29.7 million
    )
    assert "A training step takes about 0.2 GB of memory on each worker" in problem.message
    given += ["data.max_image_size=257"]
    config = load_config(DIGITS, given)
    assert list(obstacles(config)) == []
    (unknown,) = obstacles(load_config(DIGITS, ["data.image_size=300", f"workspace={tmp_path}/w"]))
    assert "1,000 images take 0.27 GB" in unknown.message
    lying = [f"data.path={tmp_path}/set", "data.image_size=[100, 257]", *given[1:2], *given[3:5]]
    (wide,) = obstacles(load_config(DIGITS, lying))
    assert wide.message.startswith(
        "data.max_image_size: images of 100x257x3 are larger than 256 pixels: the prepared images "
        "take 0.01 GB (train 0.01, select 0.00, test 0.00)"  # 150 * 100 * 257 * 3 = 11.6 million
    )
    enough = SimpleNamespace(free=100_000_000 + 30_000_000)  # for reports and images
    monkeypatch.setattr("pipeline.cli.preflight._checkpoints", lambda _: 0)
    monkeypatch.setattr("shutil.disk_usage", lambda _: enough)
    assert list(obstacles(config)) == []
    enough.free -= 1_000_000
    (problem,) = obstacles(config)
    assert problem.message.endswith("prepared images, checkpoints and reports take 130 MB")
    monkeypatch.setattr("pipeline.workflow.progress.is_prepared", lambda _: True)
    assert list(obstacles(config)) == []


def described(folder: Path, *overrides: str) -> list[str]:
    given = [f"data.path={folder}", f"workspace={folder}/../w", "evaluate.protocol=fid20_test"]
    return list(describe_images(load_config(DIGITS, [*given, *overrides])))


def test_groups_are_counted_before_a_run(tmp_path: Path) -> None:
    fill(tmp_path / "set", *((f"{'ab'[i % 2]}/p{i}", 10) for i in range(20)))
    group = "data.group=folder:2"
    assert described(tmp_path / "set", group)[1:] == [
        "data.group: folder:2 puts 200 images into 20 groups; p0 is the largest with 10"
    ]
    make(tmp_path / "own", ("train/a/p/ 2", "train/b/q/ 2", "test/a/p/ 1", "test/b/s/ 1"))
    assert described(tmp_path / "own", group)[1:] == [
        "data.group: folder:2 puts 4 images into 2 groups; p is the largest with 2",
        "data.group: 1 groups have images to train on and to test with, such as p: the splits of the "
        "data stay as they are",
    ]
    with pytest.raises(UserError, match=r"^data\.group: folder:1 gives only 2 groups \(a, b\)"):
        described(tmp_path / "set", "data.group=folder:1", "data.class_level=1")


def test_a_wrong_rule_is_one_problem(tmp_path: Path) -> None:
    fill(tmp_path / "set", *CLASSES)
    (file := tmp_path / "x.yaml").write_text(DIGITS.read_text())
    given = [f"data.path={tmp_path}/set", f"workspace={tmp_path}/w", "evaluate.protocol=fid20_test"]
    for rule in ("name:(", "column:g"):
        with pytest.raises(UserError) as caught:
            all_problems(file, [*given, f"data.group={rule}"], print)
        (line,) = str(caught.value).splitlines()
        assert "data.group" in line


def test_large_groups_allow_more_images_in_a_split_and_take_no_more_room(tmp_path: Path) -> None:
    """By chance, test may have one group of 100 of 200 images; single images spread by 28."""
    fill(tmp_path / "set", ("a", 100), ("b", 50), ("c", 50))
    given = [f"data.path={tmp_path}/set", f"workspace={tmp_path}/w", "data.select=0.1"]
    given += ["data.test=0.1", "evaluate.protocol=fid100_test", "data.image_size=8"]
    alone, grouped = (
        load_config(DIGITS, [*given, *more]) for more in ([], ["data.group=folder:1"])
    )
    (problem,) = obstacles(alone)
    assert problem.key == "evaluate.protocol"
    assert list(obstacles(grouped)) == []
    for config in (alone, grouped):
        assert array_bytes_of(ImageFolder(config)) == 200 * 8 * 8


def test_tables_are_described_before_a_run(tmp_path: Path) -> None:
    make(
        tmp_path,
        (table("train.parquet", 4), table("test.parquet", 2), table("extra.parquet", 3), "x 1"),
    )
    config = load_config(DIGITS, [f"data.path={tmp_path}"])
    rows, ignored = describe_images(config)
    assert rows == "data.path: tables of images, with rows: test 2, train 4"
    assert "2 images, tables or archives" in ignored
    assert "extra.parquet: its name names no split" in ignored
    (tmp_path / "train.parquet").write_bytes(b"")
    with pytest.raises(UserError, match=r"data.path: train.parquet: Parquet file size is 0 bytes"):
        list(describe_images(config))
