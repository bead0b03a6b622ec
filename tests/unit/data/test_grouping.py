"""Rules that say which images belong together, and what each kind of source makes of them."""

import json
import zipfile
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from bngan.data.grouping import GroupRule
from bngan.data.source import ReadOptions, Source
from bngan.data.sources import open_source
from tests.unit.data.folder_makers import make, metadata, picture


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("folder:0", "must be folder:1 or a higher level, got folder:0"),
        ("folder:-1", "must be folder:1 or"),
        ("folder:two", "must be folder:1 or"),
        ("folder:٢", "must be folder:1 or"),
        ("folder:", "must be folder:LEVEL, column:NAME or name:REGEX, got folder:"),
        ("patient", "must be folder:LEVEL"),
        ("regex:x", "must be folder:LEVEL"),
        ("name:(", r"must have a regular expression, and \( is none: missing \)"),
        ("name:a{99999999999}", "must have a regular expression"),
        ("name:a(b)|c(d)", "must have one pair of parentheses, not 2, in "),
    ],
)
def test_rules_that_cannot_be(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=f"^{problem}"):
        GroupRule.parse(text)


@pytest.mark.parametrize(
    ("text", "group"),
    [
        ("folder:1", "cat"),
        ("folder:2", "p1"),
        ("folder:3", None),
        ("name:p[0-9]", "p1"),
        ("name:/(.)[0-9]/", "p"),
        ("name:(dog)?at", None),  # the first group has no part in the match
        ("name:[:]", None),
        ("column:p", None),
    ],
)
def test_the_group_of_a_file(text: str, group: str | None) -> None:
    assert GroupRule.parse(text).of_file("train/cat/p1/x.png", ("cat", "p1")) == group


def opened(folder: Path, cache: Path, group: str, **options: Any) -> dict[str, Source]:
    rule = GroupRule.parse(group)
    return dict(open_source(str(folder), cache, ReadOptions(group=rule, **options)))


def by_name(source: Source) -> dict[str, Any]:
    assert source.groups is not None
    return dict(zip(source.paths(), source.groups, strict=True))


def test_levels_of_folders_are_those_of_class_level(tmp_path: Path) -> None:
    make(tmp_path / "flat", ("cat/p1/ 1", "dog/p1/ 1", "dog/p2/deep/ 1", "cat/x.png"))
    source = opened(tmp_path / "flat", tmp_path / "c", "folder:2", class_level=1)["train"]
    assert by_name(source) == {
        "cat/p1/0.png": "p1",
        "cat/x.png": None,
        "dog/p1/0.png": "p1",
        "dog/p2/deep/0.png": "p2",
    }
    make(tmp_path / "split", ("train/cat/p1/ 1", "train/dog/p2/ 1", "test/cat/p1/ 1"))
    make(tmp_path / "split", ("test/dog/p3/ 1",))
    sources = opened(tmp_path / "split", tmp_path / "d", "folder:2")
    assert by_name(sources["train"]) == {"train/cat/p1/0.png": "p1", "train/dog/p2/0.png": "p2"}
    assert by_name(sources["test"]) == {"test/cat/p1/0.png": "p1", "test/dog/p3/0.png": "p3"}
    named = opened(tmp_path / "split", tmp_path / "e", r"name:^[a-z]+/[a-z]+/")
    assert named["test"].groups == ["test/cat/", "test/dog/"]
    with zipfile.ZipFile(tmp_path / "flat" / "a.zip", "w") as archive:
        archive.writestr("z/q7/x.png", picture(1))
    (tmp_path / "zip").mkdir()
    (tmp_path / "flat" / "a.zip").rename(tmp_path / "zip" / "a.zip")
    assert opened(tmp_path / "zip", tmp_path / "f", "folder:3")["train"].groups == ["q7"]


def test_groups_are_read_only_if_a_rule_asks_for_them(tmp_path: Path) -> None:
    make(tmp_path / "x", ("cat/p1/ 1", "dog/p1/ 1"))
    assert open_source(str(tmp_path / "x"), tmp_path / "c")["train"].groups is None


ROWS: list[dict[str, Any]] = [
    {"file_name": "a0.png", "label": "x", "patient": "007", "visit": 1},
    {"file_name": "a1.png", "label": "y", "patient": None, "visit": 2},
    {"file_name": "a2.png", "label": "y", "patient": "9", "visit": 3},
]


def write_rows(folder: Path, kind: str) -> None:
    if kind == "jsonl":
        rows = [{k: v for k, v in row.items() if v is not None} for row in ROWS]
        text = "\n".join(map(json.dumps, rows))
    else:
        lines = [",".join(str(row[k] or "") for k in row) for row in ROWS]
        text = "\n".join([",".join(ROWS[0]), *lines])
    if kind == "parquet":
        parquet.write_table(pa.Table.from_pylist(ROWS), folder / "metadata.parquet")
    else:
        metadata(text, f"metadata.{kind}")(folder)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_column_of_metadata_files(kind: str, tmp_path: Path) -> None:
    make(tmp_path / "x", ("a 3",))
    write_rows(tmp_path / "x", kind)
    source = opened(tmp_path / "x", tmp_path / "c", "column:patient")["train"]
    assert by_name(source) == {"a0.png": "007", "a1.png": None, "a2.png": "9"}
    assert source.labels() == ["x", "y", "y"]
    assert source.columns == ("visit",)
    unasked = open_source(str(tmp_path / "x"), tmp_path / "d")["train"]
    assert unasked.columns == ("patient", "visit")
    with pytest.raises(
        ValueError, match=r"^metadata.*no column 'who'.*data\.group.*file_name, lab"
    ):
        opened(tmp_path / "x", tmp_path / "e", "column:who")


def test_an_image_in_two_groups_is_an_error(tmp_path: Path) -> None:
    make(tmp_path / "x", ("a 1", metadata("file_name,g\na0.png,1\na0.png,2\n")))
    with pytest.raises(ValueError, match=r"row 2: a0\.png has two groups"):
        opened(tmp_path / "x", tmp_path / "c", "column:g")
    open_source(str(tmp_path / "x"), tmp_path / "c")


def test_a_column_without_tables_and_metadata_is_an_error(tmp_path: Path) -> None:
    make(tmp_path / "x", ("a 1",))
    with pytest.raises(
        ValueError, match=r"no column 'g', which data\.group names: there are no tab"
    ):
        opened(tmp_path / "x", tmp_path / "c", "column:g")


PATIENTS = datasets.ClassLabel(names=["ann", "bob"])


def rows_of(patients: list[Any], kind: Any, start: int = 0) -> datasets.Dataset:
    images = [
        {"bytes": picture(start + i), "path": f"scene{i % 2}_{i}.png"} for i in range(len(patients))
    ]
    features = datasets.Features({"image": datasets.Image(), "label": PATIENTS, "patient": kind})
    labels = [i % 2 for i in range(len(patients))]
    columns = {"image": images, "label": labels, "patient": patients}
    return datasets.Dataset.from_dict(columns, features)


def write_arrow(rows: datasets.Dataset, file: Path) -> None:
    with pa.ipc.new_file(file, rows.data.table.schema) as writer:
        writer.write_table(rows.data.table)


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_a_column_of_tables(suffix: str, tmp_path: Path) -> None:
    """Values of several tables may differ in kind; numbers of classes are named."""
    folder = tmp_path / "x"
    folder.mkdir()
    parts = {
        "train-00000-of-00003": rows_of([3, None, 3], datasets.Value("int32")),
        "train-00001-of-00003": rows_of(["3", "x"], datasets.Value("string"), 10),
        "train-00002-of-00003": rows_of([1, 0, None], PATIENTS, 20),
        "test": rows_of([0.5], datasets.Value("float64"), 30).remove_columns("patient"),
    }
    for name, rows in parts.items():
        if suffix == "parquet":
            rows.to_parquet(folder / f"{name}.parquet")
        else:
            write_arrow(rows, folder / f"{name}.arrow")
    sources = opened(folder, tmp_path / "c", "column:patient")
    assert sources["train"].groups == [3, None, 3, "3", "x", "bob", "ann", None]
    assert sources["test"].groups == [None]
    assert sources["train"].columns == ()
    assert open_source(str(folder), tmp_path / "d")["train"].columns == ("patient",)
    labels = opened(folder, tmp_path / "e", "column:label")["train"]
    assert labels.groups == [PATIENTS.names[i] for i in labels.labels()]
    named = opened(folder, tmp_path / "f", "name:scene[0-9]")
    assert named["train"].groups == [f"scene{i % 2}" for n in (3, 2, 3) for i in range(n)]
    with pytest.raises(ValueError, match=r"train-0.*no column 'who'.*has image, label, patient"):
        opened(folder, tmp_path / "g", "column:who")


def test_a_column_of_categories_and_one_that_hugging_face_does_not_know(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    columns = {
        "image": [picture(0), picture(1)],
        "g": pa.array(["b", "a"]).dictionary_encode(),
        "day": pa.array([0, 1], pa.date32()),
    }
    parquet.write_table(pa.table(columns), tmp_path / "x" / "t.parquet")
    assert opened(tmp_path / "x", tmp_path / "c", "column:g")["train"].groups == ["b", "a"]
    days = opened(tmp_path / "x", tmp_path / "d", "column:day")["train"].groups
    assert list(map(str, days or ())) == ["1970-01-01", "1970-01-02"]


def test_what_save_to_disk_wrote(tmp_path: Path) -> None:
    rows = rows_of([1, 0, None], PATIENTS).select([2, 0, 1])
    test = rows_of(["x"], datasets.Value("string"), 9).remove_columns("patient")
    datasets.DatasetDict({"train": rows, "test": test}).save_to_disk(str(tmp_path / "x"))
    sources = opened(tmp_path / "x", tmp_path / "c", "column:patient")
    assert sources["train"].groups == [None, "bob", "ann"]
    assert sources["test"].groups == [None]
    named = opened(tmp_path / "x", tmp_path / "d", "name:_([0-9])")["train"]
    assert named.groups == ["2", "0", "1"]
    with pytest.raises(ValueError, match=r"split train\) has no column 'who'.*it has image, lab"):
        opened(tmp_path / "x", tmp_path / "e", "column:who")


def test_names_that_a_table_gives_may_have_dots(tmp_path: Path) -> None:
    make(tmp_path / "x", ("p1/ 1", "p2/ 1"))
    names = ["./p1/0.png", "p2/../p2/0.png"]
    rows = datasets.Dataset.from_dict({"image": [{"bytes": None, "path": n} for n in names]})
    rows.to_parquet(tmp_path / "x" / "t.parquet")
    source = opened(tmp_path / "x", tmp_path / "c", "name:^(p.)/0")["train"]
    assert source.groups == ["p1", "p2"]
    ((_, content),) = source.files(np.array([1]))
    assert isinstance(content, bytes)
    assert Image.open(tmp_path / "x" / "p2" / "0.png").size == (4, 4)
