"""Images and labels from folders, tables, the Hugging Face Hub, or embedded data sets.

Everything becomes one ``datasets`` table per split with an undecoded image column. A broken file
then causes an error, which names it, only where its pixels are needed.
"""

import math
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bngan.data.decoding import MAX_BYTES
from bngan.data.embedded import EMBEDDED, PREFIX
from bngan.data.folder import Folder, scan_image_folder
from bngan.data.hub import HUB_PREFIX, load
from bngan.serialization.problem import first_line, one_line

if TYPE_CHECKING:  # takes seconds to import; only opening a source needs it
    import datasets


_SPLITS = ("train", "validation", "test")


def is_symbolic(path: str) -> bool:
    """Return whether ``path`` names data that is not a local folder."""
    return path.startswith((PREFIX, HUB_PREFIX))


@dataclass
class Source:
    """One split of raw data.

    Attributes:
        table: rows of the split.
        image: name of the image column, which holds ``{"bytes", "path"}``.
        label: name of the label column; None if there is none.
        root: folder of image files, to which their names are relative; None for tables.
        ignored: files and splits that are not used, each ``name: why``; the same for all splits.
        commit: commit of a dataset on the Hub; None for other data.
    """

    table: "datasets.Dataset"
    image: str
    label: str | None
    root: str | None = None
    ignored: list[str] = field(default_factory=list)
    commit: str | None = None

    def __len__(self) -> int:
        return len(self.table)

    def labels(self) -> list[Any]:
        """Return the labels as stored; None where there is none."""
        return [None] * len(self) if self.label is None else list(self.table[self.label][:])

    def class_names(self) -> list[str] | None:
        """Return the names of the classes; None if the data does not give them."""
        feature = self.table.features.get(self.label) if self.label else None
        return getattr(feature, "names", None)

    def files(
        self, order: np.ndarray, chunk: int = 100
    ) -> Iterator[tuple[str, bytes | OSError | None]]:
        """Yield name and content (for ``decode``) of the images at ``order``, in that order.

        The content is an ``OSError`` for a file that cannot be read, and None where there is no
        image. ``chunk`` rows of a table are in memory at once.
        """
        for start in range(0, len(order), chunk):
            rows = self.table[order[start : start + chunk]][self.image]
            for index, row in zip(order[start : start + chunk], rows, strict=True):
                path, content = (row["path"], row["bytes"]) if row else (None, None)
                if content is None and path:
                    content = _content(path)
                yield self._name(int(index), path), content

    def _name(self, index: int, path: str | None) -> str:
        if self.root is not None and path:
            return one_line(os.path.relpath(path, self.root))
        return f"row {index}" + (f" ({one_line(Path(path).name)})" if path else "")


def _content(path: str) -> bytes | OSError:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # reading a pipe would wait for ever
            return OSError("no file")
        with open(path, "rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        return error


def open_source(
    path: str,
    cache: Path,
    image_column: str | None = None,
    label_column: str | None = None,
    max_download: float = math.inf,
) -> dict[str, Source]:
    """Open the data at ``path``: one of ``EMBEDDED``, ``hub:OWNER/NAME@REVISION`` or a folder.

    A folder holds images (a sub-folder per class, if classes are known), parquet or Arrow files, or
    what ``Dataset.save_to_disk`` wrote. Sub-folders of images, or tables, that are named train,
    validation or test become splits of those names.

    Args:
        cache: folder for tables that ``datasets`` converts; it may be deleted once the source is no
            longer used. Data from the Hub stays in the cache of ``datasets`` instead.
        max_download: bytes that may be downloaded from the Hub.

    Raises:
        ValueError: if nothing can be read there, or a column is missing.
        hub.TooLarge: if there is more to download; a ValueError.
        ConnectionError: if the Hub does not answer.
    """
    root, ignored, commit = None, list[str](), None
    if path.startswith(HUB_PREFIX):
        tables, commit = load(path, max_download)
    elif path in EMBEDDED:
        tables = EMBEDDED[path]()
    elif _saved(path) or (folder := scan_image_folder(path)).described or not folder.images:
        tables = _open_tables(path, cache)
    else:
        tables, root, ignored = _tables(path, folder), path, folder.ignored
    sources = {}
    for split, table in tables.items():
        if split in _SPLITS:
            columns = _columns(path, split, table, image_column, label_column)
            table = _undecoded(table, columns[0])
            sources[split] = Source(table, *columns, root, ignored, commit)
        else:
            ignored.append(f"split {split}: {len(table):,} rows, of no split that is used")
    if "train" not in sources:
        splits = ", ".join(sources) or "no split of a usual name"
        raise ValueError(
            f"{path} has no train split, only {splits}; names of files and folders decide"
        )
    return sources


def _columns(
    path: str, split: str, table: "datasets.Dataset", image: str | None, label: str | None
) -> tuple[str, str | None]:
    """Return the names of the columns of images and of labels, as given or as found."""
    import datasets

    image = image or _first(table, datasets.Image) or "image"
    label = label or _first(table, datasets.ClassLabel)
    label = label or ("label" if "label" in table.column_names else None)
    for column in (image, label):
        if column is not None and column not in table.column_names:
            raise ValueError(
                f"{path} has no column '{column}' in split {split}; it has "
                f"{one_line(', '.join(table.column_names))}"
            )
    return image, label


def _undecoded(table: "datasets.Dataset", image: str) -> "datasets.Dataset":
    import datasets

    try:
        return table.cast_column(image, datasets.Image(decode=False))
    except Exception as error:  # pyarrow's and datasets' errors have no common base
        raise ValueError(f"column '{image}' holds no images: {one_line(error)}") from error


def _saved(path: str) -> bool:
    return any((Path(path) / name).exists() for name in ("dataset_dict.json", "state.json"))


def _tables(path: str, folder: Folder) -> "dict[str, datasets.Dataset]":
    """Return tables with a row for each image file."""
    import datasets
    import pyarrow as pa

    tables = {}
    for split, names in folder.images.items():
        paths = pa.array([os.path.join(path, name) for name in names], pa.string())
        empty = pa.nulls(len(names), pa.binary())
        columns = {"image": pa.StructArray.from_arrays([empty, paths], ["bytes", "path"])}
        features = {"image": datasets.Image(decode=False)}
        if folder.classes:
            columns["label"] = pa.array(folder.labels(split), pa.int64())
            features["label"] = datasets.ClassLabel(names=folder.classes)
        info = datasets.DatasetInfo(features=datasets.Features(features))
        tables[split] = datasets.Dataset(pa.table(columns), info)
    return tables


def _open_tables(path: str, cache: Path) -> "dict[str, datasets.Dataset]":
    import datasets

    try:
        if _saved(path):
            loaded = datasets.load_from_disk(path)
        else:
            loaded = datasets.load_dataset(path, cache_dir=str(cache))
    except Exception as error:
        # datasets has no common base for errors about files and names.
        raise ValueError(f"cannot read {path}: {_reason(path, error)}") from error
    return {"train": loaded} if isinstance(loaded, datasets.Dataset) else dict(loaded)


def _reason(path: str, error: Exception) -> str:
    """Return the reason of an error, with the name of the broken file if there is one."""
    from pyarrow import parquet

    for file in sorted(Path(path).rglob("*.parquet")):
        try:
            for _ in parquet.ParquetFile(file).iter_batches(batch_size=1000):
                pass
        except Exception as broken:
            return f"{one_line(file.relative_to(path))}: {one_line(broken)}"
    return first_line(error.__cause__ or error)


def _first(table: "datasets.Dataset", kind: type) -> str | None:
    return next((name for name, f in table.features.items() if isinstance(f, kind)), None)
