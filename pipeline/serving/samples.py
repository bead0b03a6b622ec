"""Write images of a registered generator to files."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bngan.data.class_names import class_number, list_classes, numbered_name, other_meaning
from bngan.data.images import encode, png_bytes, to_pil
from bngan.generation.sampler import Sampler
from pipeline.core.errors import UserError
from pipeline.registry.registry import open_generator

_COLUMNS = 10


@dataclass(frozen=True)
class SampleRequest:
    """Choice of images, and their layout."""

    count: int
    """Number of images of a grid, of rows of an interpolation, or of images of each class."""
    seed: int = 0
    truncation: float = 1.0
    label: str | None = None
    """Name or number of the images' class; None: classes as in training."""
    layout: str = "grid"
    """The layout: grid, classes or interpolation."""
    separately: bool = False


def write(workspace: Path, uri: str, wanted: SampleRequest, output: Path) -> list[str]:
    """Write images of the model at ``uri``; return lines on their number, and on their classes.

    Raises:
        UserError: if the model does not exist, or cannot make the wanted images.
    """
    if output.is_dir() and not wanted.separately:
        raise UserError(f"--output must be a file to write, and {output} is a folder")
    if output.is_file() and wanted.separately:
        raise UserError(f"--output must be a folder with --separately, and {output} is a file")
    with open_generator(workspace, uri) as model:
        try:
            images, columns = _images(model.sampler, wanted)
            classes, notes = _described(model.sampler.class_names, wanted)
        except ValueError as error:
            raise UserError(f"{uri}: {error}") from error
    if wanted.separately:
        output.mkdir(parents=True, exist_ok=True)
        for number, image in enumerate(images):
            (output / f"{number:06d}.png").write_bytes(encode(to_pil(image)))
    else:
        output.parent.mkdir(parents=True, exist_ok=True)
        alone = len(images) == 1
        output.write_bytes(encode(to_pil(images[0])) if alone else png_bytes(images, columns))
    count = f"{len(images)} image{'s'[: len(images) > 1]}{classes}"
    return [f"{count} of {uri}, seed {wanted.seed}: {output}", *notes]


def _images(sampler: Sampler, wanted: SampleRequest) -> tuple[np.ndarray, int | None]:
    """Return images ``(N, H, W, C)``, and the number of images in a row."""
    seed, count = wanted.seed, wanted.count
    if wanted.layout == "interpolation":
        if wanted.label is not None or wanted.truncation != 1:
            raise ValueError("an interpolation takes neither a label nor a truncation")
        return sampler.interpolations(seed, count, _COLUMNS), _COLUMNS
    labels: list[int] | list[str] | None = None if wanted.label is None else [wanted.label] * count
    if wanted.layout == "classes":
        if wanted.label is not None:
            raise ValueError("a row per class takes no label")
        labels = np.repeat(np.arange(sampler.spec.classes), count).tolist()
        if not labels:
            raise ValueError("this generator knows no classes: it was not trained by class")
    images = sampler.images(seed, range(len(labels or range(count))), wanted.truncation, labels)
    return images, count if wanted.layout == "classes" else None


def _described(names: list[str], wanted: SampleRequest) -> tuple[str, list[str]]:
    """Return words on the images' class to follow their number, and lines to add."""
    if wanted.layout == "classes":
        return "", [f"rows: {list_classes(names)}"]
    if wanted.label is None:
        return "", []
    number = class_number(wanted.label, names)
    note = other_meaning(wanted.label, names)
    return f" of class {numbered_name(number, names[number])}", [note] if note else []
