"""Data from the stand-in for the Hub, read in a process whose Hub it is."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import datasets
import numpy as np
from PIL import Image

from bngan.data.source import ReadOptions
from pipeline.data.raw import opened
from tests.hub import Tree
from tests.processes import process_with


def tree(count: int) -> Tree:
    """A dataset of so many images of 8x8 pixels, half of each class."""
    images = [Image.fromarray(np.full((8, 8), i % 256, np.uint8)) for i in range(count)]
    names = datasets.ClassLabel(names=["cat", "dog"])
    features = datasets.Features({"image": datasets.Image(), "label": names})
    columns = {"image": images, "label": [i % 2 for i in range(count)]}
    datasets.Dataset.from_dict(columns, features).to_parquet(file := io.BytesIO())
    return {"README.md": b"", "data/train-00000-of-00001.parquet": file.getvalue()}


@contextmanager
def process(**environment: str) -> Iterator[Any]:
    """Calls a function in a process of its own: addresses and caches are read at import."""
    with process_with(**environment) as pool:
        yield lambda *call, **given: pool.submit(*call, **given).result()


def look(path: str, most: float = 1.0) -> tuple[str | None, int, list[str] | None]:
    """Which commit of a dataset is opened, how many images for training it has, and its classes."""
    with opened(path, most, ReadOptions()) as sources:
        source = sources["train"]
        return source.commit, len(source), source.class_names()
