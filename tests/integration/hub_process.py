"""Data from the stand-in for the Hub, read in a process whose Hub it is."""

import io
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from pipeline.data.raw import opened
from tests.hub import Tree


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
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            pool.submit(os.getpid).result()  # as long as this is the environment
            yield lambda *call, **given: pool.submit(*call, **given).result()


def look(path: str, most: float = 1.0) -> tuple[str | None, int, list[str] | None]:
    """Which commit of a dataset is opened, how many images for training it has, and its classes."""
    source = opened(path, Path("not needed"), most)["train"]
    return source.commit, len(source), source.class_names()
