"""Open raw data: a folder, a dataset on the Hugging Face Hub, or an embedded data set.

Everything becomes one ``datasets`` table per split with an undecoded image column.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bngan.data.embedded import EMBEDDED, PREFIX
from bngan.data.grouping import no_column
from bngan.data.hub import HUB_PREFIX, load
from bngan.data.image_folder import folder_sources
from bngan.data.source import ReadOptions, Source
from bngan.data.split_names import SourceSplit, split_meaning
from bngan.data.tables import named_values
from bngan.serialization.problem import one_line

if TYPE_CHECKING:  # takes seconds to import; only opening a source needs it
    import datasets


def is_symbolic(path: str) -> bool:
    """Return whether ``path`` names data that is not a local folder."""
    return path.startswith((PREFIX, HUB_PREFIX))


_DEFAULTS = ReadOptions()


def open_source(
    path: str, cache: Path, options: ReadOptions = _DEFAULTS, max_download: float = math.inf
) -> dict[SourceSplit, Source]:
    """Open the data at ``path``: one of ``EMBEDDED``, ``hub:OWNER/NAME@REVISION`` or a folder.

    A folder holds images, parquet or Arrow files, archives of those, or what
    ``Dataset.save_to_disk`` wrote. ``layout.arrange`` finds splits and classes. Every file of a
    folder is in a split or in ``ignored``.

    Args:
        cache: folder for tables that are converted; it may be deleted once the source is no longer
            used. Data from the Hub stays in the cache of ``datasets`` instead.
        max_download: bytes that may be downloaded from the Hub.

    Raises:
        ValueError: if nothing can be read there, a column is missing, or there is no training split.
        hub.TooLarge: if there is more to download; a ValueError.
        ConnectionError: if the Hub does not answer.
    """
    if path.startswith(HUB_PREFIX):
        tables, commit = load(path, max_download)
        sources = _named_splits(path, tables, options, commit)
    elif path in EMBEDDED:
        sources = _named_splits(path, EMBEDDED[path](), options)
    elif is_saved(path):
        sources = _named_splits(path, _saved(path, cache), options)
    else:
        sources = folder_sources(path, cache, options)
    if "train" not in sources:
        splits = ", ".join(sources) or "no split of a usual name"
        raise ValueError(
            f"{path} has no train split, only {splits}: names of files and folders decide, or "
            "data.splits"
        )
    return sources


def is_saved(path: str) -> bool:
    """Return whether ``path`` is a folder that ``save_to_disk`` wrote."""
    folder = Path(path)
    single = all((folder / name).exists() for name in ("state.json", "dataset_info.json"))
    return single or (folder / "dataset_dict.json").exists()


def _named_splits(
    path: str,
    tables: "Mapping[str, datasets.Dataset]",
    options: ReadOptions,
    commit: str | None = None,
) -> dict[SourceSplit, Source]:
    """Return the sources of data that names its splits itself."""
    meaning, ignored, sources = split_meaning(tables, options.splits), dict[str, str](), {}
    for name, table in tables.items():
        if name not in meaning:
            ignored[f"split {name}"] = f"{len(table):,} rows, of no split that is used"
            continue
        image, label = _columns(path, name, table, options)
        undecoded = _undecoded(table, image)
        source = Source(undecoded, image, label, ignored=ignored, origin=name, commit=commit)
        if options.group:
            column = options.group_column
            if column and column not in table.column_names and meaning[name] == "train":
                raise no_column(f"{path} (split {name})", column, table.column_names)
            source.groups = (
                _values(undecoded, column) if column else source.grouped_by_name(options.group)
            )
        sources[meaning[name]] = source
    return sources


def _values(table: "datasets.Dataset", column: str) -> list[Any]:
    """Return the values of a column, None for each row if there is none."""
    if column not in table.column_names:
        return [None] * len(table)
    names = getattr(table.features[column], "names", None)
    return named_values(table.data.table[column].to_pylist(), names)


def _columns(
    path: str, split: str, table: "datasets.Dataset", options: ReadOptions
) -> tuple[str, str | None]:
    """Return the names of the columns of images and of labels, as given or as found."""
    import datasets

    def first(kind: type) -> str | None:
        return next((name for name, f in table.features.items() if isinstance(f, kind)), None)

    image = options.image_column or first(datasets.Image) or "image"
    label = options.label_column or first(datasets.ClassLabel)
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
        return table.with_format(None).cast_column(image, datasets.Image(decode=False))
    except Exception as error:  # pyarrow's and datasets' errors have no common base
        raise ValueError(f"column '{image}' holds no images: {one_line(error)}") from error


def _saved(path: str, cache: Path) -> "dict[str, datasets.Dataset]":
    """Return what ``save_to_disk`` wrote; the folder is read under a name without any meaning."""
    import datasets

    cache.mkdir(parents=True, exist_ok=True)
    link = cache / "saved"
    link.symlink_to(Path(path).absolute(), target_is_directory=True)
    try:
        loaded = datasets.load_from_disk(str(link))
    except Exception as error:  # datasets has no common base for errors about files
        reason = one_line(error).replace(str(link), path)
        raise ValueError(f"cannot read {path}: {reason}") from error
    return {"train": loaded} if isinstance(loaded, datasets.Dataset) else dict(loaded)
