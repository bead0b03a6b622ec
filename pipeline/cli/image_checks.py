"""Look at a folder of images before a run: names alone, without opening an image."""

import itertools
import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from bngan.data.dataset import ImageSpec, Split
from bngan.data.folder import Listing, scan
from bngan.data.image_folder import PlacedImages, place_images
from bngan.data.layout import natural_key
from bngan.data.sources import is_saved, is_symbolic
from bngan.data.split_names import table_splits
from bngan.data.tables import image_tables, row_count
from bngan.metrics.protocol import Protocol
from bngan.serialization.problem import Problem
from pipeline.config.schema import FEWEST, Config, DataConfig
from pipeline.core.errors import UserError
from pipeline.data.classes import class_problem
from pipeline.data.doubts import mask_warning, unused_images
from pipeline.data.inventory import understood
from pipeline.data.volume import array_bytes, size_problem

_SPREAD = 4
"""Standard deviations by which a split may be larger than its share, if content decides."""


def _placed(config: Config) -> tuple[Listing, PlacedImages] | None:
    """Return a folder's images by split; None if only reading the data can tell them.

    Raises:
        ValueError: if the folder cannot be read, or its names contradict each other.
    """
    path = config.data.path
    if is_symbolic(path) or is_saved(path) or not Path(path).is_dir():
        return None
    listing = scan(path)
    if listing.tables or not listing.images:
        return None
    return listing, place_images(path, listing, config.data.read_options)


def too_few_images(config: Config) -> Iterator[Problem]:
    """Yield a problem if a folder has too few images, for three splits or for what is asked for."""
    try:
        if (placed := _placed(config)) is None:
            return
    except ValueError as error:
        yield Problem("data.path", f"data.path: {error}")
        return
    problems = [*_too_few_to_split(config.data, placed[1])]
    yield from problems or _too_few_asked_for(config, placed[1])


def _too_few_to_split(data: DataConfig, images: PlacedImages) -> Iterator[Problem]:
    counts = {split: len(names) for split, names in images.names.items()}
    own = counts.get("test", counts.get("validation"))
    if "train" not in counts:
        message = f"data.path: {data.path} has no train split, only {', '.join(counts)}"
        yield Problem("data.path", message)
        return
    train = counts["train"]
    if own is not None and own < FEWEST:
        message = f"data.path: {own} images to test with in {data.path}, and {FEWEST} are needed"
        yield Problem("data.path", message)
    needed = next(
        n for n in itertools.count(train) if n - sum(data.held_out(n, own is not None)) >= FEWEST
    )
    if needed > train:
        keys = "data.select leaves" if own else "data.select and data.test leave"
        message = (
            f"data.path: {train} images in {data.path}, and {needed} are needed, so that {keys} "
            f"{FEWEST} to train on"
        )
        yield Problem("data.path", message)


def _too_few_asked_for(config: Config, images: PlacedImages) -> Iterator[Problem]:
    """Yield the first setting that asks for more images than there can be, or for other classes."""
    wanted, limit, kind = config.data.classes, config.data.limit, config.extractor.kind
    classes = sorted(set(images.classes.values()), key=natural_key)
    by_folder = images.given is None  # labels in metadata are numbered where they are read
    if wanted and by_folder and (problem := class_problem(classes, wanted)):
        yield Problem("data.classes", problem)
        return
    chosen = {classes[number] for number in wanted} if wanted and by_folder else None
    counts = _most_images(config.data, images, chosen)
    if limit is not None and limit > counts["train"]:
        message = f"data.limit: {limit} images, and there are {counts['train']} to train on"
        yield Problem("data.limit", message)
        return
    counts["train"] = limit or counts["train"]
    learns = kind == "classifier" or (kind == "auto" and not config.adapt.base)
    if learns and len(classes if chosen is None else chosen) >= 2:
        counts["train"] -= counts["train"] // 2  # the classifier learns from these
    try:
        protocol = Protocol.parse(config.evaluate.protocol)
    except ValueError:  # a look at values tells
        return
    try:
        protocol.check(counts[protocol.split])
    except ValueError as error:
        yield Problem("evaluate.protocol", f"evaluate.protocol: {error}")


def _most_images(
    data: DataConfig, images: PlacedImages, chosen: set[str] | None = None
) -> dict[Split, int]:
    """Return the most images that each split can have, since any image may turn out unusable.

    ``chosen`` are the names of the classes that are used; None: all.
    """

    def used(names: Sequence[str]) -> int:
        return sum(
            not chosen or images.classes.get(os.path.dirname(name)) in chosen for name in names
        )

    train = images.names.get("train", [])
    own = images.names.get("test", images.names.get("validation"))
    select, held_out = data.held_out(len(train), own is not None)
    by_chance = 0 if data.split_by == "order" else _SPREAD * math.sqrt(len(train) / 4)
    rest = max(len(train) - select - held_out, 0)
    most = [min(round(count + by_chance), used(train)) for count in (rest, select, held_out)]
    return {"train": most[0], "select": most[1], "test": most[2] if own is None else used(own)}


def too_large_images(config: Config) -> Iterator[Problem]:
    """Yield a problem if ``data.image_size`` is larger than ``data.max_image_size``."""
    data, size = config.data, config.data.size
    if size is None or max(size) <= data.max_image_size:
        return
    shape = *size, data.channels or 3
    message = size_problem(shape, _counts(config), data.max_image_size)
    yield Problem("data.image_size", f"{message}{_described_step(config, shape)}")


def array_bytes_of(config: Config) -> int:
    """Return the least bytes of the prepared images that names and settings tell; else 0."""
    size, counts = config.data.size, _counts(config)
    return array_bytes((*size, config.data.channels or 1), counts) if size and counts else 0


def _counts(config: Config) -> dict[Split, int] | None:
    try:
        placed = _placed(config)
    except ValueError:  # too_few_images tells
        return None
    if placed is None:
        return None
    counts = _most_images(config.data, placed[1])
    return {**counts, "train": min(counts["train"], config.data.limit or counts["train"])}


def _described_step(config: Config, shape: tuple[int, int, int]) -> str:
    """Return in words the memory of a training step; empty if only other settings allow it."""
    from bngan.training.memory import activation_bytes

    height, width, channels = shape
    spec = ImageSpec((channels, height, width), (0.5, 0.5))
    try:
        step = activation_bytes(config.model, config.train, spec, config.train.workers.least)
    except (ValueError, RuntimeError):
        return ""
    return f". A training step takes about {step / 1e9:,.1f} GB of memory on each worker"


def describe_images(config: Config) -> Iterator[str]:
    """Yield lines about splits and classes of a folder, and the images ignored in it.

    Raises:
        UserError: if a table cannot be read.
    """
    try:
        yield from _described_tables(config.data)
    except ValueError as error:
        raise UserError(f"data.path: {error}") from error
    if placed := _placed(config):
        listing, images = placed
        splits = {o: split for split, o in images.origins.items() if o}
        yield f"data.path: {understood(images.class_counts(), splits)}"
        names = (name for chosen in images.names.values() for name in chosen)
        for doubt in filter(None, (mask_warning(names), unused_images(listing.others))):
            yield f"data.path: {doubt}"


def _described_tables(data: DataConfig) -> Iterator[str]:
    """Yield a line about tables of images, and one about what is ignored beside them."""
    path = data.path
    if is_symbolic(path) or is_saved(path) or not (listing := scan(path)).tables:
        return
    tables, unused = image_tables(path, listing.tables, data.image_column, data.label_column)
    splits = table_splits([table.name for table in tables], data.read_options.splits)
    rows = Counter[str]()
    for table in tables:
        if table.name in splits:
            rows[splits[table.name][0]] += row_count(path, table)
    if not rows:
        return
    counts = ", ".join(f"{split} {count:,}" for split, count in rows.items())
    yield f"data.path: tables of images, with rows: {counts}"
    left = [table.name for table in tables if table.name not in splits]
    ignored = unused | dict.fromkeys(left, "its name names no split")
    ignored |= dict.fromkeys(listing.images, "an image beside tables of images")
    if doubt := unused_images(listing.others | ignored):
        yield f"data.path: {doubt}"
