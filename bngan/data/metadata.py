"""Read the files that describe images of a folder: metadata.csv, metadata.jsonl, metadata.parquet.

Each row names an image, relative to the file's folder, in the column ``file_name``. Values count as
they are written: ``NA`` and ``001`` are texts. Spaces around a cell of a CSV file do not count, and an
empty cell is no value.
"""

import csv
import json
import os
import posixpath
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from bngan.data.grouping import no_column
from bngan.serialization.problem import one_line


@dataclass
class Descriptions:
    """Labels of images from metadata files.

    Attributes:
        labels: label of each named image, None if it has none, by the image's name.
        labelled: whether a file has a column of labels.
        unread: names of the other columns.
        groups: group of each named image, None if it has none, by the image's name.
    """

    labels: dict[str, Any] = field(default_factory=dict)
    labelled: bool = False
    unread: set[str] = field(default_factory=set)
    groups: dict[str, Any] = field(default_factory=dict)


def read_metadata(
    path: str,
    names: Sequence[str],
    image_column: str | None,
    label_column: str | None,
    group_column: str | None = None,
) -> Descriptions:
    """Read the metadata files ``names`` of the folder ``path``.

    Without ``image_column`` the column is ``file_name``, and without ``label_column`` it is
    ``label``, which may be missing. Some rows may lack ``group_column``, but not all.

    Raises:
        ValueError: if a file cannot be read, lacks a column, names an image outside of the folder,
            or gives an image two labels or groups.
    """
    found, columns = Descriptions(), dict[str, None]()
    for name in names:
        folder, count = posixpath.dirname(name), 0
        try:
            for count, row in _rows(os.path.join(path, name)):  # noqa: B007 (for the message)
                image_key = _column(row, image_column, "file_name", "data.image_column")
                label_key = _column(row, label_column, "label", "data.label_column")
                image, label = _inside(folder, _text(row, image_key)), row.get(label_key)
                group = row.get(group_column) if group_column else None
                for kind, values, value in (
                    ("labels", found.labels, label),
                    ("groups", found.groups, group),
                ):
                    if image in values and values[image] != value:
                        raise ValueError(f"{image} has two {kind}")
                    values[image] = value
                if group_column:
                    columns |= dict.fromkeys(map(str, row))
                found.labelled |= label_key in row
                used = {image_key, label_key, group_column}
                found.unread |= {one_line(str(key)) for key in row} - used
        except UnicodeDecodeError as error:
            raise ValueError(f"{name} is not UTF-8: save it as UTF-8") from error
        except (OSError, ValueError, csv.Error) as error:
            place = f"row {count}: " if count else ""
            raise ValueError(f"{name}: {place}{one_line(error)}") from error
    if group_column and columns and group_column not in columns:
        raise no_column(", ".join(names), group_column, list(columns))
    return found


def _rows(file: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield number, from 1, and values of each row."""
    kind = os.path.splitext(file)[1].lower()
    if kind == ".parquet":
        from pyarrow import parquet

        with open(file, "rb") as opened:
            batches = parquet.ParquetFile(opened).iter_batches()
            yield from enumerate((row for batch in batches for row in batch.to_pylist()), 1)
        return
    with open(file, encoding="utf-8-sig", newline="") as text:
        if kind == ".jsonl":
            for number, line in enumerate(text, 1):
                if line.strip():
                    yield number, _record(json.loads(line))
            return
        yield from _csv_rows(
            [cell.strip() for cell in row] for row in csv.reader(text, strict=True)
        )


def _csv_rows(rows: Iterator[list[str]]) -> Iterator[tuple[int, dict[str, Any]]]:
    head = next(rows, [])
    if len(head) == 1 and (other := re.search(r"[;\t|]", head[0])):
        raise ValueError(f"its cells are separated by {other[0]!r}: separate them by commas")
    if twice := [name for name, count in Counter(head).items() if name and count > 1]:
        raise ValueError(f"two columns are called {twice[0]}")
    for number, cells in enumerate(rows, 1):
        if not any(cells):
            continue
        if len(cells) != len(head):
            raise ValueError(f"row {number} has {len(cells)} cells, and the head {len(head)}")
        yield number, dict(zip(head, (cell or None for cell in cells), strict=True))


def _record(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("a line must be a JSON object")
    return value


def _column(row: dict[str, Any], given: str | None, usual: str, key: str) -> str:
    """Return the column of a row: the one given by ``key``, else the usual one, in any case.

    Raises:
        ValueError: if there is no such column; the usual one for labels may be missing.
    """
    if given is None:
        same = sorted(
            (name for name in row if str(name).lower() == usual), key=lambda n: n != usual
        )
        if same or usual == "label":
            return same[0] if same else usual
    elif given in row:
        return given
    columns = ", ".join(map(str, row))
    raise ValueError(f"there is no column {given or usual}, only {columns}: write {key}")


def _text(row: dict[str, Any], column: str) -> str:
    if not isinstance(value := row[column], str):
        raise ValueError(f"{column} is no name of a file")
    if not value.isprintable() or value.encode(errors="ignore").decode() != value:
        raise ValueError(f"{column} has characters that no file's name has: {value!r}")
    return value


def _inside(folder: str, image: str) -> str:
    """Return an image's name relative to the data; it may have backslashes, as on Windows."""
    name = posixpath.normpath(posixpath.join(folder, image.replace("\\", "/")))
    if name.startswith(("../", "/")) or name == "..":
        raise ValueError(f"{image} lies outside of the folder")
    return name
