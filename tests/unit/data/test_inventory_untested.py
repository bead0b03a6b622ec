"""Classes short of images to test or select with."""

import json
from pathlib import Path
from typing import Any

import datasets
import pytest

from pipeline.data.inventory import untested
from pipeline.reports.data_section import as_html
from tests.unit.workflow.stages.test_prepare import Silence, prepared, write_table

TEXT = datasets.Value("string")


def inventory(train: list[int], select: list[int], test: list[int]) -> dict[str, Any]:
    return {"class_counts": {"train": train, "select": select, "test": test}}


@pytest.mark.parametrize(
    ("counts", "line"),
    [
        (([50, 50], [6, 6], [6, 6]), ""),
        (
            ([50, 9, 3], [6, 1, 0], [9, 3, 0]),
            "classes with fewer than 6 images to test with: c 0, b 3; "
            "classes with no images to select with: c 0",
        ),
        (([50, 0], [6, 1], [6, 5]), "classes with fewer than 6 images to test with: b 5"),
        (([50, 1], [6, 0], [6, 6]), "classes with no images to select with: b 0"),
        (([50, 0], [6, 0], [6, 0]), ""),  # a class by its name alone
        (([50, 50], [6, 6], [0, 0]), ""),  # a test split without labels
        (([], [], []), ""),
    ],
    ids=["enough", "both", "test", "select", "empty class", "no labels", "no classes"],
)
def test_classes_short_of_images_are_named(counts: Any, line: str) -> None:
    classes = ["a", "b", "c"][: len(counts[0])]
    assert untested(inventory(*counts), classes) == line


def test_ten_classes_are_named_and_the_others_counted() -> None:
    numbers = [5, 4, 3, 2, 1, 0, 5, 4, 3, 2, 1, 0, 7]
    classes = [f"kind {chr(97 + index)}" for index in range(13)]
    line = untested(inventory([9] * 13, [1] * 13, numbers), classes)
    named = ", ".join(
        f"kind {name}" for name in ("f 0", "l 0", "e 1", "k 1", "d 2", "j 2", "c 3", "i 3")
    )
    assert line == (
        f"classes with fewer than 6 images to test with: {named}, kind b 4, kind h 4, and 2 more"
    )


@pytest.mark.parametrize("law", ["order", "content"])
def test_prepare_and_the_report_name_them(law: str, tmp_path: Path) -> None:
    write_table(tmp_path / "data", "train", ["cat"] * 195 + ["dog"] * 5, TEXT)
    events = Silence()
    output, _ = prepared(tmp_path / "data", tmp_path / "a", events, split_by=law)
    contents = json.loads((output / "contents.json").read_text())
    dogs = {split: counts[1] for split, counts in contents["class_counts"].items()}
    assert sum(dogs.values()) == 5
    (message,) = events.messages
    assert message.split("; ")[0] == (
        f"classes with fewer than 6 images to test with: dog {dogs['test']}"
    )
    assert ("classes with no images to select with: dog 0" in message) == (not dogs["select"])
    data = json.loads((output / "dataset.json").read_text())
    assert f'<p class="note">{message}.</p>' in as_html(contents, data)


def test_an_own_test_split_is_looked_at_too(tmp_path: Path) -> None:
    write_table(tmp_path / "data", "train", ["cat", "dog"] * 100, TEXT)
    write_table(tmp_path / "data", "test", ["cat"] * 40, TEXT)
    events = Silence()
    prepared(tmp_path / "data", tmp_path / "a", events)
    assert "classes with fewer than 6 images to test with: dog 0" in events.messages
