"""Look at a folder of images before a run: names alone, without opening an image."""

import itertools
from collections.abc import Iterator
from pathlib import Path

from bngan.data.folder import Listing, scan
from bngan.data.image_folder import PlacedImages, place_images
from bngan.data.sources import is_saved, is_symbolic
from bngan.serialization.problem import Problem
from pipeline.config.schema import FEWEST, Config
from pipeline.data.inventory import understood, unused_images


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
    """Yield a problem if a folder has too few images for three splits."""
    data = config.data
    try:
        if (placed := _placed(config)) is None:
            return
    except ValueError as error:
        yield Problem("data.path", f"data.path: {error}")
        return
    counts = {split: len(names) for split, names in placed[1].names.items()}
    own = counts.get("test", counts.get("validation"))
    train = counts.get("train", 0)
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


def describe_images(config: Config) -> Iterator[str]:
    """Yield lines about splits and classes of a folder of images, and the images ignored in it."""
    if placed := _placed(config):
        listing, images = placed
        splits = {o: split for split, o in images.origins.items() if o}
        yield f"data.path: {understood(images.class_counts(), splits)}"
        if unused := unused_images(listing.others):
            yield f"data.path: {unused}"
