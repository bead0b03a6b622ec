"""Read the files that describe images of a folder: metadata.csv, metadata.jsonl, metadata.parquet.

Each row names an image, relative to the file's folder, in the column ``file_name``. Values count as
they are written: ``NA`` and ``001`` are texts. An empty cell of a CSV file is no value.
"""

import csv
import json
import os
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from bngan.serialization.problem import one_line

_NAME = "file_name"


@dataclass
class Descriptions:
    """What the files say about the images.

    Attributes:
        labels: label of each named image, None if it has none, by the image's name.
        labelled: whether a file has a column of labels.
    """

    labels: dict[str, Any] = field(default_factory=dict)
    labelled: bool = False


def read_metadata(
    path: str, names: Sequence[str], image_column: str | None, label_column: str | None
) -> Descriptions:
    """Read the metadata files ``names`` of the folder ``path``.

    Without ``image_column`` the column is ``file_name``, and without ``label_column`` it is
    ``label``, which may be missing.

    Raises:
        ValueError: if a file cannot be read, lacks a column, names an image outside of the folder,
            or gives an image two labels.
    """
    found = Descriptions()
    for name in names:
        folder, count = posixpath.dirname(name), 0
        try:
            for count, row in _rows(os.path.join(path, name)):  # noqa: B007 (for the message)
                image, label = _entry(row, image_column or _NAME, label_column)
                image = _inside(folder, image)
                if image in found.labels and found.labels[image] != label:
                    raise ValueError(f"{image} has two labels")
                found.labels[image] = label
                found.labelled |= (label_column or "label") in row
        except (OSError, UnicodeError, ValueError, csv.Error) as error:
            place = f"row {count}: " if count else ""
            raise ValueError(f"{name}: {place}{one_line(error)}") from error
    return found


def _rows(file: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield number, from 1, and values of each row."""
    if file.endswith(".parquet"):
        from pyarrow import parquet

        with open(file, "rb") as opened:
            batches = parquet.ParquetFile(opened).iter_batches()
            yield from enumerate((row for batch in batches for row in batch.to_pylist()), 1)
        return
    with open(file, encoding="utf-8-sig", newline="") as text:
        if file.endswith(".jsonl"):
            for number, line in enumerate(text, 1):
                if line.strip():
                    yield number, _record(json.loads(line))
            return
        head = [cell.strip() for cell in next(csv.reader(text, strict=True), [])]
        for number, cells in enumerate(csv.reader(text, strict=True), 1):
            if cells and len(cells) != len(head):
                raise ValueError(f"row {number} has {len(cells)} cells, and the head {len(head)}")
            if cells:
                yield number, dict(zip(head, (cell or None for cell in cells), strict=True))


def _record(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("a line must be a JSON object")
    return value


def _entry(row: dict[str, Any], image_column: str, label_column: str | None) -> tuple[str, Any]:
    for column in (image_column, label_column):
        if column is not None and column not in row:
            columns = ", ".join(map(str, row))
            key = "data.image_column" if column == image_column else "data.label_column"
            raise ValueError(f"there is no column {column}, only {columns}: write {key}")
    if not isinstance(row[image_column], str):
        raise ValueError(f"{image_column} is no name of a file")
    return row[image_column], row.get(label_column or "label")


def _inside(folder: str, image: str) -> str:
    """Return an image's name relative to the data; it may have backslashes, as on Windows."""
    name = posixpath.normpath(posixpath.join(folder, image.replace("\\", "/")))
    if name.startswith(("../", "/")) or name == "..":
        raise ValueError(f"{image} lies outside of the folder")
    return name
