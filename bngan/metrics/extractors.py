"""Load any extractor from the folder that it was saved in."""

import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from bngan.metrics.classifier import Classifier
from bngan.metrics.features import CLASS_NAMES, INFO, Extractor, ExtractorInfo, state_hash
from bngan.metrics.pretrained import load_pretrained_extractor
from bngan.serialization.json_records import dataclass_from_json, read_json_object
from bngan.serialization.problem import first_line


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
    try:
        state = load_file(path)
        if info.classes > sum(value.numel() for value in state.values()):
            raise ValueError(f"{INFO} describes a larger network")
        if state_hash(state) != info.sha256:
            raise ValueError("its hash has changed")
        network = Classifier(info.image_shape, info.classes)
        network.load_state_dict(state)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[-1].strip()
        raise ValueError(f"{path.name} cannot be used: {reason}") from error
    return Extractor(network, info)


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
