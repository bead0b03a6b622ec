"""Digits as a camera would bring them: files that nobody has trained on."""

from pathlib import Path

import numpy as np

from bngan.data.dataset import ImageSplit, Split
from bngan.data.images import to_pil

UNSEEN: tuple[Split, ...] = ("select", "test")


def write_digits(workspace: Path, folder: Path, kinds: int = 10) -> None:
    """Of so many classes, from the splits that the extractor has not learned from."""
    (prepared,) = {path.parent for path in workspace.glob("stages/prepare/*/test_images.npy")}
    folder.mkdir(parents=True)
    for number, name in enumerate(UNSEEN):  # files called test would be a split of that name
        split = ImageSplit.load(prepared, name)
        for index in np.flatnonzero(split.labels < kinds):
            to_pil(split.images[index]).save(folder / f"{number}-{index:03d}.png")
