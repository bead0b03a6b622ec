"""One split of raw data: a table with an undecoded column of images.

A broken file causes an error, which names it, only where its pixels are needed.
"""

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bngan.data.decoding import MAX_BYTES
from bngan.data.grouping import GroupRule
from bngan.data.split_names import SourceSplit
from bngan.serialization.problem import one_line

if TYPE_CHECKING:  # takes seconds to import
    import datasets


@dataclass(frozen=True)
class ReadOptions:
    """Choices of what is read.

    Attributes:
        image_column: column of images in tables, or of names of images in metadata files; None
            looks for it.
        label_column: column of labels in tables or metadata files; None looks for it.
        splits: split by the name of a folder, table or split; None goes by usual names.
        class_level: see ``layout.arrange``.
        metadata: whether metadata files count, or all images without labels do.
        group: rule by which images belong together; None reads no groups.
    """

    image_column: str | None = None
    label_column: str | None = None
    splits: Mapping[str, SourceSplit] | None = None
    class_level: int | None = None
    metadata: bool = True
    group: GroupRule | None = None

    @property
    def group_column(self) -> str | None:
        """Return the name of the column with the groups; None if there is none."""
        return self.group.value if self.group and self.group.kind == "column" else None


@dataclass
class Source:
    """One split of raw data.

    Attributes:
        table: rows of the split.
        image: name of the image column, which holds ``{"bytes", "path"}``.
        label: name of the label column; None if there is none.
        root: folder to which names of image files are relative; None if there are no such files.
        ignored: reason against each file and split that is not used; the same for all splits.
        columns: names of the columns beside images and labels, which are not read.
        origin: name of the folder, table or split that makes the split; empty if none does.
        commit: commit of a dataset on the Hub; None for other data.
        groups: group of each image as stored, None where there is none; None if nothing asks for
            groups.
    """

    table: "datasets.Dataset"
    image: str
    label: str | None
    root: str | None = None
    ignored: dict[str, str] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    origin: str = ""
    commit: str | None = None
    groups: list[Any] | None = None

    def __len__(self) -> int:
        return len(self.table)

    def labels(self) -> list[Any]:
        """Return the labels as stored; None where there is none."""
        return [None] * len(self) if self.label is None else list(self.table[self.label][:])

    def paths(self) -> list[str]:
        """Return the paths of images that lie in files of their own, relative to ``root``."""
        from pyarrow import compute

        if self.root is None:
            return []
        images = self.table.data.table[self.image]
        held = compute.is_valid(compute.struct_field(images, "bytes"))
        paths = compute.struct_field(images, "path").filter(compute.invert(held))
        return [os.path.normpath(path) for path in paths.to_pylist() if path is not None]

    def grouped_by_name(self, rule: GroupRule) -> list[str | None]:
        """Return the group that each row's name of a file gives it; None where there is none."""
        from pyarrow import compute

        paths = compute.struct_field(self.table.data.table[self.image], "path").to_pylist()
        return [None if path is None else rule.of_file(os.path.normpath(path)) for path in paths]

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
                if content is None and path and self.root is not None:
                    yield one_line(path), read_content(os.path.join(self.root, path))
                else:
                    name = f" ({one_line(Path(path).name)})" if path else ""
                    yield f"row {index}{name}", content


def read_content(path: str) -> bytes | OSError:
    """Return the content of a file, up to one byte more than an image may have, or the error."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # reading a pipe would wait for ever
            return OSError("no file")
        with open(path, "rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        return error
    except ValueError as error:  # a name with a null character
        return OSError(str(error))
