"""Folders with metadata files or tables: rows of docs/folders.md."""

import datasets

from tests.unit.data.folder_makers import (
    Make,
    arrow_file,
    arrow_stream,
    bytes_table,
    csv_rows,
    cut_table,
    features_table,
    json_labels,
    paths_table,
    saved,
    table,
)
from tests.unit.data.layout import ANY_SKIPPED, Layout, error

NUMBER = datasets.Value("int64")
CLASSES = datasets.ClassLabel(names=["cat", "dog"])


def named(*labels: str) -> Make:
    """Return metadata that give x0.png, x1.png ... these labels."""
    return csv_rows(*(f"x{i}.png,{label}" for i, label in enumerate(labels)))


METADATA = (
    Layout(
        ("x 4", named("a", "b", "a")),
        "a 2, b 1",
        "train 3",
        "ignored: 1 images, tables or archives, such as x3.png: no metadata file names it",
        ignored=1,
    ),
    Layout(
        ("x 4", named("NA", "None", "null", "")), "NA 1, None 1, null 1", "train 4", "3 classes"
    ),
    Layout(("x 4", named("001", "1", "001", "1")), "001 2, 1 2", "train 4", "2 classes"),
    Layout(("x 4", named("-1", "+1", "+1", "-1")), "+1 2, -1 2", "train 4", "2 classes"),
    Layout(
        ("x 4", named("-1", "+1", "+1", "-1")), "+1 2", "train 4", "1 classes", {"unlabelled": "-1"}
    ),
    Layout(
        ("a/ 2", "b/ 1", csv_rows("a/0.png,hi", "a/1.png,ho", "b/0.png,ha", head="file_name,text")),
        "a 2, b 1",
        "train 3",
        "2 classes: a 2, b 1",
    ),
    Layout(
        (
            "a/ 3",
            "b/ 2",
            csv_rows("0.png,u", "1.png,v", "2.png,v", name="a/metadata.csv"),
        ),
        "u 1, v 2",
        "train 3",
        "ignored: 2 images, tables or archives, such as b/0.png: no metadata file names it",
        ignored=2,
    ),
    Layout(("x 3", named(*"abab")), "a 2, b 1", "train 3", "1 skipped", ANY_SKIPPED, skipped=1),
    error(
        ("x 2", csv_rows("x0.png,a", "x1.png,b", head="name,label")),
        "metadata.csv: row 1: there is no column file_name, only name, label: write data.image_col",
    ),
    Layout(
        ("x 3", csv_rows("x0.png,a", "x1.png,b", "x2.png,b", head="name,kind")),
        "a 1, b 2",
        "train 3",
        "2 classes",
        {"image_column": "name", "label_column": "kind"},
    ),
    Layout(
        ("x 3", csv_rows("x0.png, a", "x1.png,a ", "x2.png,b", head="File_Name, Label")),
        "a 2, b 1",
        "train 3",
        "2 classes: a 2, b 1",
    ),
    Layout(
        ("x 3", csv_rows("x0.png,a", "x1.png,b", "x2.png,b", name="METADATA.CSV")),
        "a 1, b 2",
        "train 3",
        "2 classes",
    ),
    error(
        ("x 2", csv_rows("x0.png,a,b", "x1.png,b,a", head="file_name,label,label")),
        "two columns are called label",
    ),
    Layout(
        ("x 1", "a/ 1", "b/ 1", csv_rows("x0.png,u", "a/0.png,v", "b/0.png,v")),
        "u 1, v 2",
        "train 3",
        "2 classes",
    ),
    Layout(
        (
            "x 3",
            csv_rows("x0.png,a,,", "x1.png,b,,", "  ,,,", "x2.png,b,,", head="file_name,label,,"),
        ),
        "a 1, b 2",
        "train 3",
        "2 classes",
    ),
    error(("x 2", csv_rows("../x0.png,a")), "../x0.png lies outside of the folder"),
    error(("x 2", csv_rows("x0.png,a", "x0.png,b")), "metadata.csv: row 2: x0.png has two labels"),
    error(("x 2", csv_rows("x0.png,a", "x1.png")), "row 2 has 1 cells, and the head 2"),
    error(
        ("x 2", csv_rows("x0.png;a", head="file_name;label")),
        "its cells are separated by ';': separate them by commas",
    ),
    Layout(
        ("cat/ 3", csv_rows("cat\\0.png,a", "cat\\1.png,b", "cat\\2.png,b")),
        "a 1, b 2",
        "train 3",
        "2 classes",
    ),
    Layout(
        ("x 4", json_labels(1, 10, None, 2)),
        "1 1, 2 1, 10 1",
        "train 4",
        "3 classes",
    ),
    error(
        ("x 2", json_labels(1, "1")),
        "labels are of several kinds",
    ),
    Layout(
        (
            "train/ 3",
            "test/ 1",
            csv_rows("0.png,a", "1.png,b", "2.png,a", name="train/metadata.csv"),
            csv_rows("0.png,a", name="test/metadata.csv"),
        ),
        "a 3, b 1",
        "train 3, test 1",
        "train -> train, test -> test",
    ),
    error(("a/ 2", "b/ 2"), "there are no tables or metadata files", {"label_column": "kind"}),
)
TABLES = (
    Layout((table("train.parquet", 4), table("test.parquet", 2)), "none", "train 4, test 2", "spl"),
    Layout(
        (table("Train.parquet", 4), table("Test.parquet", 2)),
        "none",
        "train 4, test 2",
        "Train -> train, Test -> test",
    ),
    Layout(
        (
            table("data/train-00000-of-00002.parquet", 2),
            table("data/train-00001-of-00002.parquet", 2),
            table("data/test-00000-of-00001.parquet", 1),
        ),
        "none",
        "train 4, test 1",
        "splits: train -> train, test -> test",
    ),
    Layout((table("x.parquet", 4),), "none", "train 4", "no classes"),
    Layout(
        (table("x.parquet", 4), "a 3"),
        "none",
        "train 4",
        "ignored: 3 images, tables or archives, such as a0.png: an image beside tables of images",
        ignored=3,
    ),
    Layout(
        ("cat/ 2", "dog/ 2", features_table), "cat 2, dog 2", "train 4", "1 other files", ignored=1
    ),
    error(("cat/ 2", "dog/ 2", cut_table), "cut.parquet: "),
    error(
        (
            table("a.parquet", 2, ["a", "b"]),
            table("b.parquet", 2, [1, 2], label=NUMBER),
        ),
        "b.parquet and a.parquet have labels of two kinds",
    ),
    Layout(
        (table("train.parquet", 4), table("extra.parquet", 2)),
        "none",
        "train 4",
        "1 other files",
        ignored=1,
    ),
    Layout((bytes_table,), "a 2, b 2", "train 4", "2 classes: a 2, b 2"),
    Layout((paths_table, "a/ 5"), "none", "train 4", "a/4.png: an image beside tables", ignored=1),
    error(
        (table("a32/train-00000-of-00001.parquet", 2), table("a64/train-0.parquet", 2)),
        "tables of the train split lie in several folders, a32, a64: set data.path to one",
    ),
    Layout((table("Train.PARQUET", 4),), "none", "train 4", "Train -> train"),
    error(
        (table("a/train/0.parquet", 2), table("b/train/0.parquet", 2)),
        "tables of the train split lie in several folders, a, b: set data.path to one",
    ),
    Layout(
        (table("train_station.parquet", 2), table("bus.parquet", 2)),
        "none",
        "train 4",
        "no classes",
    ),
    Layout(
        (table("mnist_train.parquet", 3), table("mnist_test.parquet", 2)),
        "none",
        "train 3, test 2",
        "mnist_test -> test",
    ),
    error((table("train.parquet", 0),), "train.parquet has no rows"),
    Layout(
        (
            table("a.parquet", 2, [1, 2], label=NUMBER),
            table("b.parquet", 2, [None, None], label=datasets.Value("null")),
        ),
        "1 1, 2 1",
        "train 4",
        "2 without a class",
    ),
    Layout(
        ("x 3", csv_rows("x0.png,train", "x1.png,train", "x2.png,test", head="file_name,split")),
        "none",
        "train 3",
        "the column split is not read, so its values make no splits",
    ),
    Layout((arrow_stream,), "none", "train 4", "no classes; "),
    Layout((arrow_file,), "none", "train 4", "no classes; "),
    Layout((saved,), "NA 3, b 3", "train 4, test 2", "Train -> train, Test -> test"),
    Layout((table("x.parquet", 4, ["NA", None, "", "b"]),), "NA 1, b 1", "train 4", "2 classes"),
    Layout(
        (table("x.parquet", 4, [-1, 1, 1, -1], label=NUMBER),),
        "-1 2, 1 2",
        "train 4",
        "2 classes",
    ),
    Layout(
        (table("x.parquet", 4, [0, 1, -1, 1], label=CLASSES),), "cat 1, dog 2", "train 4", "2 cl"
    ),
    Layout(
        (
            table("train.parquet", 4, [0, 1, 1, 1], label=CLASSES),
            table("test.parquet", 2, [0, 0], label=datasets.ClassLabel(names=["dog", "cat"])),
        ),
        "cat 1, dog 5",
        "train 4, test 2",
        "2 classes: cat 1, dog 5",
    ),
    Layout(
        (table("x.parquet", 4, [0.0, 1.0, -1.0, None], label=datasets.Value("float64")),),
        "0 1, 1 1",
        "train 4",
        "2 without a class",
        {"unlabelled": "-1"},
    ),
    Layout(
        (table("train.parquet", 3, ["a", "b", "a"]), table("test.parquet", 2, ["a", "c"])),
        "a 3, b 1",
        "train 3, test 2",
        "1 images to test with have labels that no image to train on has (c)",
    ),
    Layout((table("x.parquet", 4, column="picture"),), "none", "train 4", "no classes"),
)
