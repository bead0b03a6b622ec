"""Open a folder of images, or of tables with images, as the sources of its splits."""

import os
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bngan.data.dataset import UNLABELLED
from bngan.data.folder import Listing, scan, unpack
from bngan.data.grouping import no_column
from bngan.data.layout import arrange, natural_key
from bngan.data.metadata import Descriptions, read_metadata
from bngan.data.source import ReadOptions, Source
from bngan.data.split_names import SourceSplit, table_splits
from bngan.data.tables import Table, column_values, image_tables, read_tables
from bngan.serialization.problem import one_line

if TYPE_CHECKING:  # takes seconds to import
    import pyarrow as pa


def folder_sources(path: str, cache: Path, options: ReadOptions) -> dict[SourceSplit, Source]:
    """Return the sources of a folder of files: its tables of images, else its images."""
    path, listing = _unpacked(path, cache)
    others = listing.others
    others |= dict.fromkeys(listing.archives, "an archive beside other files: unpack it")
    tables = place_tables(path, listing, options)
    if tables.parts:
        sources = _table_sources(path, cache, tables, others, options)
    elif listing.images:
        others |= dict.fromkeys(tables.without_images, "a table without images")
        sources = image_sources(path, place_images(path, listing, options))
    else:
        reasons = (f"{name} {why}" for name, why in tables.without_images.items())
        raise ValueError(f"{path}: {'; '.join(reasons)}")
    for source in sources.values():
        source.ignored = others
    return sources


def _unpacked(path: str, cache: Path) -> tuple[str, Listing]:
    """Return a folder and its files; if it holds only archives, what they hold."""
    listing, unpacked = scan(path), cache / "unpacked"
    if listing.images or listing.tables:
        return path, listing
    unpack(path, listing.archives, unpacked)
    inner = scan(str(unpacked))
    if not inner.images and not inner.tables:
        raise ValueError(f"{path}: there are no images in {', '.join(listing.archives[:3])}")
    if any(name.endswith(".cls") for name in inner.others):
        raise ValueError(f"{path}: archives of WebDataset are not read; write folders or parquet")
    outside = dict.fromkeys(listing.metadata, "it lies beside the archive, not in it")
    inner.others |= listing.others | outside
    return str(unpacked), inner


@dataclass(frozen=True)
class PlacedTables:
    """Tables of a folder with their splits.

    Attributes:
        parts: tables with images, by split.
        origins: names of files or folders that make a split, by split; empty if none do.
        without_images: reason against each other table, by its name.
    """

    parts: dict[SourceSplit, list[Table]]
    origins: dict[SourceSplit, str]
    without_images: dict[str, str]


def place_tables(path: str, listing: Listing, options: ReadOptions) -> PlacedTables:
    """Return the splits of the tables in a folder, of which ``listing`` has the names.

    If tables have images, the reasons against all other files go to ``listing.others``.

    Raises:
        ValueError: if a table cannot be read, or names contradict each other.
    """
    tables, unused = image_tables(path, listing.tables, options.image_column, options.label_column)
    splits = table_splits([table.name for table in tables], options.splits) if tables else {}
    parts: dict[SourceSplit, list[Table]] = defaultdict(list)
    for table in tables:
        if table.name in splits:
            parts[splits[table.name][0]].append(table)
        else:
            listing.others[table.name] = "its name names no split, as those of other tables do"
    if tables:
        listing.others |= unused | dict.fromkeys(listing.metadata, "it describes no tables")
        listing.others |= dict.fromkeys(listing.images, "an image beside tables of images")
    origins = {
        split: ", ".join(dict.fromkeys(splits[table.name][1] for table in chosen))
        for split, chosen in parts.items()
    }
    return PlacedTables(parts, origins, unused)


def _table_sources(
    path: str, cache: Path, tables: PlacedTables, others: dict[str, str], options: ReadOptions
) -> dict[SourceSplit, Source]:
    """Return the sources of tables; images that they name are taken out of ``others``."""
    sources: dict[SourceSplit, Source] = {}
    column, rule = options.group_column, options.group
    for table in tables.parts.get("train", ()):
        if column and column not in table.all_columns:
            raise no_column(table.name, column, table.all_columns)
    for split, chosen in tables.parts.items():
        rows = read_tables(path, chosen, cache)
        label = "label" if "label" in rows.column_names else None
        unread = {
            name
            for table in chosen
            for name in table.all_columns
            if name not in (*table.columns, column)
        }
        columns, origin = tuple(sorted(unread)), tables.origins[split]
        sources[split] = Source(rows, "image", label, path, columns=columns, origin=origin)
        if column:
            sources[split].groups = [v for t in chosen for v in column_values(path, t, column)]
        elif rule:
            sources[split].groups = sources[split].grouped_by_name(rule)
        for name in sources[split].paths():
            others.pop(name, None)
    return sources


@dataclass
class PlacedImages:
    """Images of a folder with their splits and classes.

    Attributes:
        names: names of the images by split.
        origins: name of the folders that make a split, by split; empty if none do.
        given: label of each image, by its name, from metadata files; None if those have no labels.
        classes: class by folder; empty if folders name no classes.
        columns: columns of metadata files that are not read.
        groups: group of each image as stored, by its name; None if nothing asks for groups.
    """

    names: dict[SourceSplit, list[str]]
    origins: dict[SourceSplit, str]
    given: dict[str, Any] | None
    classes: dict[str, str]
    columns: tuple[str, ...] = ()
    groups: dict[str, Any] | None = None

    def labels(self) -> list[Any]:
        """Return the label of each image, in the order of ``names``; None if it has none."""
        names = [name for chosen in self.names.values() for name in chosen]
        if self.given is not None:
            return [self.given[name] for name in names]
        return [self.classes.get(os.path.dirname(name)) for name in names]


def place_images(path: str, listing: Listing, options: ReadOptions) -> PlacedImages:
    """Return splits and classes of the images in a folder, of which ``listing`` has the names.

    The reasons against images that are not used go to ``listing.others``.

    Raises:
        ValueError: if names or metadata contradict each other, or there is no such column.
    """
    names, described, rule = listing.images, Descriptions(), options.group
    group_column = options.group_column
    if listing.metadata and options.metadata:
        columns = options.image_column, options.label_column, group_column
        described = read_metadata(path, listing.metadata, *columns)
        names = sorted(described.labels)
        if not names:
            raise ValueError(f"{listing.metadata[0]} names no images")
        undescribed = set(listing.images).difference(names)
        listing.others |= dict.fromkeys(sorted(undescribed), "no metadata file names it")
        for name in names:
            listing.others.pop(name, None)
    elif column := options.image_column or options.label_column or group_column:
        named = ", which data.group names" if column == group_column else ""
        reason = f"{named}: there are no tables or metadata files"
        raise ValueError(f"{path} has no column '{column}'{reason}")
    by_folder = Counter(os.path.dirname(name) for name in names)
    level = 0 if described.labelled else options.class_level
    places = arrange(by_folder, options.splits, level)
    images: dict[SourceSplit, list[str]] = defaultdict(list)
    for name in names:
        place = places[os.path.dirname(name)]
        if place.misfit:
            listing.others[name] = place.misfit
        else:
            images[place.split].append(name)
    origins = {
        split: ", ".join(
            sorted({p.origin for p in places.values() if p.split == split and p.origin})
        )
        for split in images
    }
    classes = {folder: place.label for folder, place in places.items() if place.label is not None}
    given, unread = described.labels if described.labelled else None, sorted(described.unread)
    groups = described.groups if group_column else None
    if rule and not group_column:
        groups = {name: rule.of_file(name, places[os.path.dirname(name)].folders) for name in names}
    return PlacedImages(images, origins, given, classes, tuple(unread), groups)


def image_sources(path: str, images: PlacedImages) -> dict[SourceSplit, Source]:
    """Return a source with a row for each image file, for each split.

    Raises:
        ValueError: if labels of metadata files are of several kinds, such as numbers and texts.
    """
    import datasets
    import pyarrow as pa

    sources: dict[SourceSplit, Source] = {}
    for split, names in images.names.items():
        empty = pa.nulls(len(names), pa.binary())
        paths = pa.StructArray.from_arrays([empty, pa.array(names, pa.string())], ["bytes", "path"])
        features: dict[str, Any] = {"image": datasets.Image(decode=False)}
        columns: dict[str, pa.Array] = {"image": paths}
        if images.given is not None:
            columns["label"] = _labels([images.given[name] for name in names])
            schema = pa.schema([("label", columns["label"].type)])
            features |= datasets.Features.from_arrow_schema(schema)
        elif images.classes:
            classes = sorted(set(images.classes.values()), key=natural_key)
            number = {name: index for index, name in enumerate(classes)}
            labels = [images.classes.get(os.path.dirname(name)) for name in names]
            coded = [UNLABELLED if label is None else number[label] for label in labels]
            columns["label"] = pa.array(coded, pa.int64())
            features["label"] = datasets.ClassLabel(names=classes)
        info = datasets.DatasetInfo(features=datasets.Features(features))
        table = datasets.Dataset(pa.table(columns), info)
        label = "label" if "label" in columns else None
        sources[split] = Source(
            table, "image", label, path, columns=images.columns, origin=images.origins[split]
        )
        if images.groups is not None:
            sources[split].groups = [images.groups[name] for name in names]
    return sources


def _labels(values: list[Any]) -> "pa.Array":
    import pyarrow as pa

    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise ValueError(f"labels are of several kinds: {one_line(error)}") from error
