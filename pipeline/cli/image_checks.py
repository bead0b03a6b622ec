"""Look at a folder of images before a run: names alone, without opening an image."""

import itertools
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bngan.data.dataset import ImageSpec, Split
from bngan.data.folder import Listing, scan
from bngan.data.image_folder import PlacedImages, place_images, place_tables
from bngan.data.layout import natural_key
from bngan.data.sources import is_saved, is_symbolic
from bngan.data.tables import row_count
from bngan.metrics.axes import NOT_PROJECTED
from bngan.metrics.protocol import Protocol
from bngan.serialization.problem import Problem
from pipeline.config.schema import FEWEST, Config, DataConfig
from pipeline.core.errors import UserError
from pipeline.data.classes import class_name, class_problem, without_none
from pipeline.data.doubts import mask_warning, unused_images
from pipeline.data.groups import described_groups, group_names, require_groups, shared_groups
from pipeline.data.inventory import understood
from pipeline.data.volume import array_bytes, size_problem

_SPREAD = 4
"""Standard deviations by which a split may be larger than its share, if content decides."""


@dataclass
class ImageFolder:
    """A folder of images or tables, looked at once.

    Attributes:
        config: the configuration whose ``data.path`` is the folder.
    """

    config: Config

    @cached_property
    def listing(self) -> Listing | None:
        """Return the folder's files; None if ``data.path`` is something else.

        Raises:
            ValueError: if the folder cannot be read.
        """
        path = self.config.data.path
        other = is_symbolic(path) or is_saved(path) or not Path(path).is_dir()
        return None if other else scan(path)

    @cached_property
    def images(self) -> PlacedImages | None:
        """Return the images by split; None if only reading the data can tell them.

        Raises:
            ValueError: if the folder cannot be read, or its names contradict each other.
        """
        if (listing := self.listing) is None or listing.tables or not listing.images:
            return None
        return place_images(self.config.data.path, listing, self.config.data.read_options)


def too_few_images(folder: ImageFolder) -> Iterator[Problem]:
    """Yield a problem if a folder has too few images, for three splits or for what is asked for."""
    try:
        if (images := folder.images) is None:
            return
    except ValueError as error:
        yield Problem("data.path", f"data.path: {error}")
        return
    problems = [*_too_few_to_split(folder.config.data, images)]
    yield from problems or _too_few_asked_for(folder.config, images)


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
    counts = _images(config.data, images, chosen, _SPREAD)
    if limit is not None and limit > counts["train"]:
        message = f"data.limit: {limit} images, and there are {counts['train']} to train on"
        yield Problem("data.limit", message)
        return
    counts["train"] = limit or counts["train"]
    if kind not in NOT_PROJECTED and (kind != "auto" or not config.adapt.base):
        counts["train"] -= counts["train"] // 2  # the features come from these
    try:
        protocol = Protocol.parse(config.evaluate.protocol)
    except ValueError:  # a look at values tells
        return
    try:
        protocol.check(counts[protocol.split])
    except ValueError as error:
        yield Problem("evaluate.protocol", f"evaluate.protocol: {error}")


def _images(
    data: DataConfig, images: PlacedImages, chosen: set[str] | None = None, spread: float = 0
) -> dict[Split, int]:
    """Return the most images that each split can have, since any image may turn out unusable.

    Args:
        data: the section of the configuration.
        images: the images.
        chosen: names of the classes that are used; None: all.
        spread: standard deviations by which splits are larger than their shares, if content decides.
    """

    def used(names: Sequence[str]) -> int:
        return sum(
            not chosen or images.classes.get(os.path.dirname(name)) in chosen for name in names
        )

    train = images.names.get("train", [])
    own = images.names.get("test", images.names.get("validation"))
    select, held_out = data.held_out(len(train), own is not None)
    squares = len(train) if images.groups is None else _squared_sizes(images.groups, train)
    by_chance = 0 if data.split_by == "order" else spread * math.sqrt(squares / 4)
    rest = max(len(train) - select - held_out, 0)
    most = [min(round(count + by_chance), used(train)) for count in (rest, select, held_out)]
    return {"train": most[0], "select": most[1], "test": most[2] if own is None else used(own)}


def _squared_sizes(groups: Mapping[str, Any], names: Sequence[str]) -> int:
    """Return the sum of the squared sizes of the groups; an image without a group is one of its own."""
    sizes = Counter(group_names([groups[name] for name in names]))
    return sizes.pop(None, 0) + sum(size**2 for size in sizes.values())


def too_large_images(folder: ImageFolder) -> Iterator[Problem]:
    """Yield a problem if ``data.image_size`` is larger than ``data.max_image_size``."""
    data, size = folder.config.data, folder.config.data.size
    if size is None or max(size) <= data.max_image_size:
        return
    shape = *size, data.channels or 3
    message = size_problem(shape, _counts(folder), data.max_image_size)
    yield Problem("data.image_size", f"{message}{_described_step(folder.config, shape)}")


def array_bytes_of(folder: ImageFolder) -> int:
    """Return the least bytes of the prepared images that names and settings tell; else 0."""
    data, counts = folder.config.data, _counts(folder)
    return array_bytes((*data.size, data.channels or 1), counts) if data.size and counts else 0


def _counts(folder: ImageFolder) -> dict[Split, int] | None:
    data = folder.config.data
    try:
        if (images := folder.images) is None:
            return None
    except ValueError:  # too_few_images tells
        return None
    counts = _images(data, images)
    return {**counts, "train": min(counts["train"], data.limit or counts["train"])}


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
        UserError: if a table cannot be read, or ``data.group`` finds no groups.
    """
    folder, data = ImageFolder(config), config.data
    try:
        listing, images = folder.listing, folder.images
        if listing is None:
            return
        if images:
            labels = without_none(images.labels(), data.unlabelled)
            counts = Counter(class_name(label) for label in labels if label is not None)
            classes = {name: counts[name] for name in sorted(counts, key=natural_key)}
            splits = {origin: split for split, origin in images.origins.items() if origin}
            yield f"data.path: {understood(classes, splits)}"
            yield from _described_groups(data, images)
            masks = mask_warning(name for names in images.names.values() for name in names)
            yield from [f"data.path: {masks}"] if masks else []
        elif parts := place_tables(data.path, listing, data.read_options).parts:
            rows = {s: sum(row_count(data.path, t) for t in each) for s, each in parts.items()}
            listed = ", ".join(f"{split} {count:,}" for split, count in rows.items())
            yield f"data.path: tables of images, with rows: {listed}"
        if ignored := unused_images(listing.others):
            yield f"data.path: {ignored}"
    except ValueError as error:
        raise UserError(f"data.path: {error}") from error


def _described_groups(data: DataConfig, images: PlacedImages) -> Iterator[str]:
    if images.groups is None or data.group is None:
        return
    found = images.groups
    groups = {
        split: group_names([found[n] for n in names]) for split, names in images.names.items()
    }
    test = groups.get("test", groups.get("validation"))
    require_groups(data.group, groups["train"], 3 if test is None else 2)
    yield described_groups(data.group, groups["train"])
    yield from filter(None, [shared_groups(groups["train"], test or [])])
