"""Answer requests to a served generator, after checking each value."""

import base64
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from bngan.data.images import encode, to_pil
from bngan.generation.sampler import Sampler

MOST_IMAGES, MOST_BYTES = 10_000, 2**24
"""Limits of one request: number of images, and bytes of their pixels."""
_ANY = -1
"""Label of images of any class."""
PARAMETERS: dict[str, Any] = {
    "seed": 0,
    "truncation": 1.0,
    "label": _ANY,
    "class_name": None,
    "format": "array",
}
"""Names and defaults of a request's parameters. MLflow gives a parameter one type: through it a
label is a number, and ``class_name`` is for names."""


def predict(sampler: Sampler, values: Any, params: Mapping[str, Any]) -> np.ndarray | list[str]:
    """Return images at the indices ``values``: uint8 ``(N, H, W, C)``, or PNG files in base64.

    Args:
        sampler: the generator.
        values: the request's indices, not yet checked: a list or array of whole numbers.
        params: the request's values of ``PARAMETERS``, not yet checked.

    Raises:
        ValueError: if a value is not allowed; the message names it.
    """
    settings = _settings(params)
    indices, label = _indices(values, most_images(sampler)), settings["label"]
    labels = None if label == _ANY else [label] * len(indices)
    images = sampler.images(settings["seed"], indices, settings["truncation"], labels)
    if settings["format"] == "array":
        return images
    return [base64.b64encode(encode(to_pil(image))).decode() for image in images]


def most_images(sampler: Sampler) -> int:
    """Return the largest number of images that one request gets."""
    return max(1, min(MOST_IMAGES, MOST_BYTES // math.prod(sampler.spec.shape)))


def _indices(values: Any, most: int) -> list[int]:
    """Return the request's indices as integers."""
    if not hasattr(values, "__len__") or isinstance(values, str | bytes | Mapping):
        raise ValueError("index must be a list of whole numbers")
    if len(values) > most:
        raise ValueError(
            f"index has {len(values)} numbers, and a request gets {most} images at most"
        )
    if isinstance(values, list) and any(type(value) is not int for value in values):
        raise ValueError("index must be a list of whole numbers")
    array = np.asarray(values if len(values) else np.zeros(0, np.int64))
    if array.dtype.kind not in "iu" or array.size != len(values) or array.max(initial=0) >= 2**63:
        raise ValueError("index must be a list of whole numbers from 0 to 2^63 - 1")
    return [int(value) for value in array.reshape(-1)]


def _settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return all parameters, converted to their types."""
    settings = {**PARAMETERS, **given}
    if not _is_whole(settings["seed"]):
        raise ValueError(f"seed must be a whole number of 64 bits, got {settings['seed']!r:.60}")
    settings["seed"], settings["label"] = int(settings["seed"]), _label(settings)
    truncation = settings["truncation"]
    number = isinstance(truncation, int | float | np.number) and not isinstance(truncation, bool)
    if not number or not 0 < truncation <= 1:
        raise ValueError(f"truncation must lie in (0, 1], got {truncation!r:.60}")
    settings["truncation"] = float(truncation)
    if settings["format"] not in ("array", "png"):
        raise ValueError(f"format must be array or png, got {settings['format']!r:.60}")
    return settings


def _label(settings: Mapping[str, Any]) -> int | str:
    """Return the class of the images, as a number or a name."""
    label, name = settings["label"], settings["class_name"]
    if name is not None:
        if label != _ANY:
            raise ValueError("give label or class_name, not both")
        if not isinstance(name, str):
            raise ValueError(f"class_name must be a name, got {name!r:.60}")
        return name
    if isinstance(label, str):
        return label
    if not _is_whole(label):
        raise ValueError(f"label must be the name or the number of a class, got {label!r:.60}")
    return int(label)


def _is_whole(value: Any) -> bool:
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return whole and -(2**63) <= value < 2**63
