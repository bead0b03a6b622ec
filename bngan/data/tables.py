"""Read images and labels from parquet and Arrow files, exactly those that are named.

The two columns are copied to an Arrow file, which ``datasets`` maps into memory.
"""

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bngan.serialization.problem import one_line

if TYPE_CHECKING:  # takes long to import
    import datasets
    import pyarrow as pa

_ROWS = 1000
"""Rows in memory at a time."""
_MAGIC = b"ARROW1"
"""First bytes of an Arrow file with random access; a stream has others."""


@dataclass(frozen=True)
class Table:
    """A file with a column of images.

    Attributes:
        name: name of the file, relative to its data.
        image: name of the image column.
        label: name of the label column; None if there is none.
        all_columns: names of all columns.
    """

    name: str
    image: str
    label: str | None
    all_columns: tuple[str, ...] = ()

    @property
    def columns(self) -> list[str]:
        """Return the names of the columns that are read."""
        return [self.image, *([self.label] if self.label else [])]


def image_tables(
    path: str, names: Sequence[str], image: str | None, label: str | None
) -> tuple[list[Table], dict[str, str]]:
    """Return the files that have a column of images, and the reason against each other file.

    Args:
        path: folder of the files.
        names: their names, relative to it.
        image: name of the image column; None takes the first of that kind, or ``image``.
        label: name of the label column; None takes the first of that kind, or ``label``.

    Raises:
        ValueError: if a file cannot be read, or has images but no column ``label``.
    """
    found, others = list[Table](), dict[str, str]()
    for name in names:
        with _batches(path, name) as (schema, _):
            kinds = _kinds(schema)
            chosen = image or _first(kinds, "Image") or "image"
            if chosen not in schema.names:
                columns = one_line(", ".join(schema.names))
                others[name] = f"has no column '{chosen}'; it has {columns}"
                continue
            same = [each for each in schema.names if each.lower() == "label"]
            usual = "label" if "label" in same else next(iter(same), None)
            given = label or _first(kinds, "ClassLabel")
            if given is not None and given not in schema.names:
                columns = one_line(", ".join(schema.names))
                raise ValueError(f"{name} has no column '{given}'; it has {columns}")
            found.append(Table(name, chosen, given or usual, tuple(map(one_line, schema.names))))
    return found, others


def row_count(path: str, table: Table) -> int:
    """Return the number of rows of a file. Raises ``ValueError`` if it cannot be read."""
    with _batches(path, table.name, []) as (_, batches):
        return sum(batch.num_rows for batch in batches)


def column_values(path: str, table: Table, column: str) -> list[Any]:
    """Return the values of a file's column, and None for each row if there is no such column.

    Classes are named. Raises ``ValueError`` if the file cannot be read.
    """
    if column not in table.all_columns:
        return [None] * row_count(path, table)
    with _batches(path, table.name, [column]) as (schema, batches):
        values = [value for batch in batches for value in batch.column(0).to_pylist()]
        classes = _kinds(schema).get(column) == "ClassLabel"
        return named_values(values, _kinds(schema, "names")[column] if classes else None)


def named_values(values: list[Any], names: Sequence[str] | None) -> list[Any]:
    """Return names of classes in place of their numbers, if the classes have ``names``."""
    if names is None:
        return values
    return [None if value not in range(len(names)) else names[value] for value in values]


def read_tables(path: str, tables: Sequence[Table], cache: Path) -> "datasets.Dataset":
    """Return the rows of files in their order, with the columns ``image`` and ``label``.

    Args:
        path: folder of the files.
        tables: files; they must have labels all or none, of one type.
        cache: folder for the copy; it must stay as long as the rows are used.

    Raises:
        ValueError: if a file cannot be read, or the columns of two differ in kind.
    """
    import datasets

    parts: list[datasets.Dataset] = []
    for table in tables:
        copy = _copied(path, table, cache)
        try:
            part = datasets.Dataset.from_file(str(copy))
            part = part.cast_column(table.image, datasets.Image(decode=False))
        except Exception as error:  # pyarrow's and datasets' errors have no common base
            reason = f"column '{table.image}' holds no images: {one_line(error)}"
            raise ValueError(f"{one_line(table.name)}: {reason}") from error
        part = part.rename_columns(dict(zip(table.columns, ("image", "label"), strict=False)))
        parts.append(part)
    if not any(map(len, parts)):
        raise ValueError(f"{one_line(tables[0].name)} has no rows")
    return datasets.concatenate_datasets(_with_one_kind_of_labels(tables, parts))


def _with_one_kind_of_labels(
    tables: Sequence[Table], parts: "Sequence[datasets.Dataset]"
) -> "list[datasets.Dataset]":
    """Return tables with labels of one type; a column without any value takes that of the others."""
    kinds = [part.features.get("label") for part in parts]
    known = [place for place, kind in enumerate(kinds) if getattr(kind, "dtype", "") != "null"]
    first = known[0] if known else 0
    for place in known:
        if kinds[place] != kinds[first]:
            names = f"{one_line(tables[place].name)} and {one_line(tables[first].name)}"
            raise ValueError(
                f"{names} have labels of two kinds, {kinds[place]} and {kinds[first]}: write them "
                "with one type, or set data.label_column"
            )
    return [
        part if kind == kinds[first] else part.cast_column("label", kinds[first])
        for part, kind in zip(parts, kinds, strict=True)
    ]


@contextmanager
def _batches(
    path: str, name: str, columns: list[str] | None = None
) -> "Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]":
    """Yield schema and batches of a file. Raises ``ValueError`` with its name."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with pa.OSFile(os.path.join(path, name)) as file:
            if name.lower().endswith(".parquet"):
                reader = parquet.ParquetFile(file)
                yield reader.schema_arrow, reader.iter_batches(_ROWS, columns=columns)
                return
            random_access = file.read(len(_MAGIC)) == _MAGIC
            file.seek(0)
            if random_access:
                whole = pa.ipc.open_file(file)
                parts = (whole.get_batch(i) for i in range(whole.num_record_batches))
                yield whole.schema, (part.select(columns or []) for part in parts)
            else:
                stream = pa.ipc.open_stream(file)
                yield stream.schema, (part.select(columns or []) for part in stream)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{one_line(name)}: {one_line(error)}") from error


def _copied(path: str, table: Table, cache: Path) -> Path:
    """Copy a table's columns to a new Arrow file, and return the file."""
    import pyarrow as pa

    cache.mkdir(parents=True, exist_ok=True)
    handle, copy = tempfile.mkstemp(".arrow", dir=cache)
    with os.fdopen(handle, "wb") as file, _batches(path, table.name, table.columns) as opened:
        schema, batches = opened
        columns = [schema.field(name) for name in table.columns]
        kept = pa.schema([f.with_type(_plain(f.type)) for f in columns], schema.metadata)
        with pa.ipc.new_stream(file, kept) as writer:
            writer.write_table(kept.empty_table())  # a file without rows has no batch
            for batch in batches:
                writer.write_table(pa.Table.from_batches([batch]).cast(kept))
    return Path(copy)


def _plain(kind: "pa.DataType") -> "pa.DataType":
    """Return the type of a column's values that ``datasets`` can read."""
    import pyarrow as pa
    from pyarrow import types

    if types.is_dictionary(kind):
        return _plain(kind.value_type)
    if types.is_integer(kind) and kind != pa.uint64():
        return pa.int64()
    if types.is_floating(kind):
        return pa.float64()
    if types.is_large_string(kind) or types.is_string_view(kind):
        return pa.string()
    if types.is_large_binary(kind) or types.is_binary_view(kind):
        return pa.binary()
    return kind


def _kinds(schema: "pa.Schema", key: str = "_type") -> dict[str, Any]:
    """Return the kind that ``datasets`` has written beside each column, such as ``ClassLabel``.

    ``names`` as the ``key`` gives the names of classes instead.
    """
    try:
        written = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: kind[key] for name, kind in written.items() if key in kind}
    except (AttributeError, KeyError, TypeError, ValueError):
        return {}


def _first(kinds: dict[str, str], kind: str) -> str | None:
    return next((name for name, each in kinds.items() if each == kind), None)
