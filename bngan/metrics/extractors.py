"""Load any extractor from the folder that it was saved in."""

import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from bngan.data.dataset import UNLABELLED, ImageShape, ImageSplit
from bngan.metrics.axes import Axes
from bngan.metrics.classifier import NETWORKS
from bngan.metrics.features import (
    AXES,
    CLASS_NAMES,
    IMAGENET,
    INFO,
    Extractor,
    ExtractorInfo,
    ExtractorKind,
    identity,
    state_hash,
)
from bngan.metrics.imagenet import imagenet
from bngan.metrics.pretrained import load_pretrained_extractor
from bngan.serialization.json_records import dataclass_from_json, read_json_object
from bngan.serialization.problem import first_line

_SMALLEST = 28
"""Shorter side in pixels from which photographs are large enough for a network of photographs."""


def default_kind(image_shape: ImageShape, classes: int) -> ExtractorKind:
    """Return the kind of features that suits images of shape (C, H, W) with so many classes."""
    channels, *sides = image_shape
    small = channels == 1 or min(sides) < _SMALLEST
    return "classifier" if classes >= 2 and small else "imagenet"


def classes_to_learn(train: ImageSplit) -> int:
    """Return the number of classes that a classifier can learn; 0 if no image in its half has one."""
    labelled = (train.labels[: len(train) // 2] != UNLABELLED).any()
    return train.classes if labelled else 0


def load_extractor(folder: Path) -> Extractor:
    """Return the extractor that ``Extractor.save`` wrote.

    Raises:
        ValueError: if a file is missing or was changed; the message names it.
    """
    info = dataclass_from_json(ExtractorInfo, read_json_object(folder / INFO), INFO)
    info.class_names = _class_names(folder / CLASS_NAMES)
    path = folder / info.stored_as
    if info.weights is not None:
        return load_pretrained_extractor(info, path)
    axes = Axes.load(folder / AXES) if (folder / AXES).is_file() else None
    if info.kind == "imagenet":
        network, sha256 = imagenet(info.image_shape).network, IMAGENET
    else:
        network, sha256 = _own_network(info, path)
    if identity(sha256, axes) != info.sha256:
        raise ValueError(f"{path.name} cannot be used: its hash has changed")
    return Extractor(network, info, axes=axes)


def _own_network(info: ExtractorInfo, path: Path) -> tuple[nn.Module, str]:
    """Return a network that bngan made, and the hash of its weights."""
    try:
        state = load_file(path)
        if max(info.classes, info.image_shape[0]) > sum(value.numel() for value in state.values()):
            raise ValueError(f"{INFO} describes a larger network")
        network = NETWORKS[info.network](info.image_shape, info.classes)
        network.load_state_dict(state)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[-1].strip()
        raise ValueError(f"{path.name} cannot be used: {reason}") from error
    return network, state_hash(state)


def _class_names(file: Path) -> list[str]:
    """Return the names in a file; none if there is no file, as with extractors of earlier code."""
    try:
        names = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise ValueError(f"{file.name} cannot be read: {first_line(error)}") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{file.name} is no list of names")
    return names
