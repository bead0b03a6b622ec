"""Real images that come with scikit-learn: small data sets without a download."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # takes seconds to import
    import datasets


PREFIX = "embedded:"
_PATCH, _STRIP, _STRIDE = 32, 64, 4


def digits() -> "dict[str, datasets.Dataset]":
    """Return 1,797 handwritten digits of 8x8 pixels (Alpaydin & Kaynak 1998)."""
    from sklearn.datasets import load_digits

    data = load_digits()
    levels = np.round(data.images * (255 / 16)).astype(np.uint8)
    names = [str(digit) for digit in range(10)]
    return {"train": _table(list(levels), data.target.tolist(), names)}


def patches() -> "dict[str, datasets.Dataset]":
    """Return colour patches of 32x32 pixels from two photographs, which are the two classes.

    Each photograph is cut into strips 64 pixels wide; two of them are for the test split. Patches
    lie inside strips, 4 pixels apart: patches of one split overlap, patches of two splits never do.
    """
    from sklearn.datasets import load_sample_image

    names = ["china", "flower"]
    images: dict[str, list[np.ndarray]] = {"train": [], "test": []}
    labels: dict[str, list[int]] = {"train": [], "test": []}
    for label, name in enumerate(names):
        photograph = load_sample_image(f"{name}.jpg")
        height, width, _ = photograph.shape
        for strip, left in enumerate(range(0, width - _STRIP + 1, _STRIP)):
            split = "test" if strip % 5 == 2 else "train"
            for x in range(left, left + _STRIP - _PATCH + 1, _STRIDE):
                for y in range(0, height - _PATCH + 1, _STRIDE):
                    images[split].append(photograph[y : y + _PATCH, x : x + _PATCH])
                    labels[split].append(label)
    return {split: _table(images[split], labels[split], names) for split in images}


def _table(images: list[np.ndarray], labels: list[int], names: list[str]) -> "datasets.Dataset":
    import datasets

    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=names)}
    )
    return datasets.Dataset.from_dict({"image": images, "label": labels}, features=features)


EMBEDDED: "dict[str, Callable[[], dict[str, datasets.Dataset]]]" = {
    f"{PREFIX}digits": digits,
    f"{PREFIX}patches": patches,
}
"""Functions that return splits by name; the key is their ``data.path``."""
