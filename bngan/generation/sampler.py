"""Trained generators as files, and their images as pure functions of (seed, index)."""

import copy
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from bngan.data.class_names import class_number, numbers_as_names
from bngan.data.dataset import ImageSpec
from bngan.data.images import to_uint8
from bngan.generation.latents import (
    CALIBRATION_LATENTS,
    calibration_batches,
    great_circle,
    indexed_labels,
    indexed_latents,
)
from bngan.networks.config import ModelConfig
from bngan.networks.factory import build_generator
from bngan.networks.old_keys import with_current_keys
from bngan.numerics.precision import exact_convolutions
from bngan.numerics.torch_internals import BatchNormBase
from bngan.serialization.checkpoint import not_finite
from bngan.serialization.json_records import dataclass_from_json, read_json_object
from bngan.serialization.problem import first_line

WEIGHTS, DESCRIPTION = "generator.safetensors", "generator.json"
_BATCH = 250
_TYPES = (torch.float32, torch.int64)
_LARGEST_SIDE = 4096
"""Largest side of an image, in pixels, that a description may give."""
_SLACK = 4
"""Allowed ratio of registered to stored parameters; weight norm registers each weight twice."""


class Sampler:
    """Sample images from a calibrated generator in evaluation mode, with torch's own batch norms.

    Attributes:
        model: configuration of the networks.
        spec: shape and classes of the images.
        batch: number of images in one forward pass of the generator.
        grouped: whether each batch's own statistics normalise it; every batch is then full.
    """

    def __init__(self, model: ModelConfig, spec: ImageSpec, state: dict[str, Tensor]) -> None:
        self.model, self.spec = model, spec
        self.generator: nn.Module = build_generator(model, spec)
        state = with_current_keys(state, self.generator, model)
        _require_same(state, self.generator.state_dict())
        self.generator.load_state_dict(state)
        self.generator.eval().requires_grad_(False)
        self.device, self.batch, self.grouped = torch.device("cpu"), _BATCH, False

    @property
    def class_names(self) -> list[str]:
        """Return the names of the classes that it generates, by number; empty without classes.

        Generators of earlier code know no names: the number is the name.
        """
        if not self.model.conditional:
            return []
        return list(self.spec.class_names) or numbers_as_names(self.spec.classes)

    def to(self, device: torch.device | str) -> "Sampler":
        """Move the generator to ``device``; images still arrive on the CPU."""
        self.device = torch.device(device)
        self.generator.to(self.device)
        return self

    def images(
        self,
        seed: int,
        indices: Sequence[int],
        truncation: float = 1.0,
        labels: Sequence[int | str] | None = None,
    ) -> np.ndarray:
        """Return uint8 images ``(len(indices), H, W, C)``.

        Image i depends on (seed, indices[i]) only. A conditional generator makes an image of class
        ``labels[i]``, a number or a name. Without ``labels`` it draws classes as often as its
        training images have them.

        Raises:
            ValueError: if an index is negative, truncation is outside (0, 1], or labels do not fit.
        """
        parts = list(self.batches(seed, indices, truncation, labels))
        channels, height, width = self.spec.shape
        return np.concatenate(parts) if parts else np.zeros((0, height, width, channels), np.uint8)

    def batches(
        self,
        seed: int,
        indices: Sequence[int],
        truncation: float = 1.0,
        labels: Sequence[int | str] | None = None,
    ) -> Iterator[np.ndarray]:
        """Yield the images of ``images`` batch by batch."""
        if not 0 < truncation <= 1:
            raise ValueError(f"truncation must lie in (0, 1], got {truncation}")
        if any(index < 0 for index in indices):
            raise ValueError("an image index must not be negative")
        numbers = self._class_numbers(labels, len(indices))
        for start in range(0, len(indices), self.batch):
            chosen = list(indices[start : start + self.batch])
            classes = None if numbers is None else numbers[start : start + self.batch]
            count, lacking = len(chosen), self.batch - len(chosen)
            if self.grouped and lacking:  # fill the batch with further images
                chosen += range(chosen[-1] + 1, chosen[-1] + 1 + lacking)
                classes = classes and classes + classes[-1:] * lacking
            latents = indexed_latents(seed, chosen, self.model.latent_dim, truncation)
            given = self._draw_labels(seed, chosen) if classes is None else torch.tensor(classes)
            yield self._generate(latents, given)[:count]

    def interpolations(self, seed: int, rows: int, steps: int) -> np.ndarray:
        """Return uint8 images ``(rows * steps, H, W, C)``; each row connects two latents.

        The path is the great circle, on which latents stay as long as N(0, 1) makes them (White
        2016). A row keeps the class of its first image.
        """
        starts = range(0, 2 * rows, 2)
        one = indexed_latents(seed, starts, self.model.latent_dim)
        other = indexed_latents(seed, [i + 1 for i in starts], self.model.latent_dim)
        latents = great_circle(one, other, steps).flatten(0, 1)
        labels = self._draw_labels(seed, starts)
        return self._generate(latents, None if labels is None else labels.repeat_interleave(steps))

    def with_batch_statistics(self, group: int) -> "Sampler":
        """Return a copy that normalises every ``group`` images by their own statistics.

        Training does the same. Further images complete the last group; the result does not contain
        them.
        """
        other = copy.copy(self)
        other.generator, other.batch, other.grouped = copy.deepcopy(self.generator), group, True
        for module in other.generator.modules():
            if isinstance(module, BatchNormBase):
                module.train()
        return other

    @exact_convolutions()
    @torch.inference_mode()
    def _generate(self, latents: Tensor, labels: Tensor | None) -> np.ndarray:
        inputs = [latents] if labels is None else [latents, labels]
        return to_uint8(self.generator(*(value.to(self.device) for value in inputs)))

    def _draw_labels(self, seed: int, indices: Sequence[int]) -> Tensor | None:
        if not self.model.conditional:
            return None
        return indexed_labels(seed, indices, self.spec.class_frequencies)

    def _class_numbers(self, labels: Sequence[int | str] | None, count: int) -> list[int] | None:
        if labels is None:
            return None
        if not self.model.conditional:
            raise ValueError("this generator knows no classes: it was not trained by class")
        if len(labels) != count:
            raise ValueError(f"{count} images need as many labels, got {len(labels)}")
        names = self.class_names
        return [class_number(label, names) for label in labels]

    def calibration_batches(self, count: int = CALIBRATION_LATENTS) -> Iterator[tuple[Tensor, ...]]:
        """Yield inputs for ``calibrate(self.generator, ...)``: this worker's share of ``count``."""
        frequencies = self.spec.class_frequencies if self.model.conditional else ()
        for batch in calibration_batches(self.model.latent_dim, frequencies, count):
            yield tuple(part.to(self.device) for part in batch)

    def save(self, folder: Path, **details: Any) -> None:
        """Write weights (safetensors) and description (JSON, with ``details``) into ``folder``."""
        state = {k: v.cpu().contiguous() for k, v in self.generator.state_dict().items()}
        save_file(state, folder / WEIGHTS)
        description = {"model": asdict(self.model), "spec": asdict(self.spec), **details}
        (folder / DESCRIPTION).write_text(json.dumps(description, indent=2), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "Sampler":
        """Return the sampler that ``save`` wrote; the files need not be trusted.

        A description may claim any size, so networks much larger than the weights are refused.

        Raises:
            ValueError: if a file is wrong; the message names the file and the mistake.
        """
        description = read_json_object(folder / DESCRIPTION)
        try:
            model = ModelConfig.from_dict(description.get("model", {}))
            spec = dataclass_from_json(ImageSpec, description.get("spec"), "spec")
            _check_spec(spec)
        except ValueError as error:
            raise ValueError(f"{DESCRIPTION}: {error}") from error
        state = _tensors(folder / WEIGHTS)
        try:
            with _no_larger_than(model, state):
                return cls(model, spec, state)
        except (ValueError, RuntimeError, ArithmeticError, LookupError, TypeError) as error:
            message = f"{DESCRIPTION} is not of {WEIGHTS}: {first_line(error)}"
            raise ValueError(message) from error


def _check_spec(spec: ImageSpec) -> None:
    channels, height, width = spec.shape
    if channels not in (1, 3) or not (1 <= height <= _LARGEST_SIDE and 1 <= width <= _LARGEST_SIDE):
        raise ValueError(f"there are no images of shape {spec.shape}")
    shares, names = spec.class_frequencies, spec.class_names
    if names and len(names) != len(shares):
        raise ValueError(f"spec.class_names are {len(names)} names of {len(shares)} classes")
    if shares and (min(shares) < 0 or not math.isclose(sum(shares), 1, abs_tol=1e-6)):
        raise ValueError("spec.class_frequencies are no shares that sum to 1")


def _tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors in a file; all of them are finite."""
    try:
        state: dict[str, Tensor] = load_file(path)
        strange = [name for name, value in state.items() if value.dtype not in _TYPES]
        problem = f"{strange[0]} is {state[strange[0]].dtype}" if strange else not_finite(state)
    except (OSError, SafetensorError, RuntimeError, ValueError, KeyError) as error:
        raise ValueError(f"{path.name} cannot be read: {error}") from error
    if problem:
        raise ValueError(f"{path.name}: {problem}")
    return state


def _require_same(given: Mapping[str, Tensor], built: Mapping[str, Tensor]) -> None:
    """Refuse other names, shapes or kinds of numbers; torch's own message would have many lines."""
    for name in sorted(given.keys() | built.keys()):
        pair = given.get(name), built.get(name)
        kinds = {v if v is None else (v.shape, v.is_floating_point()) for v in pair}
        if len(kinds) > 1:
            actual, wanted = (
                "no tensor" if v is None else f"{v.dtype} {tuple(v.shape)}" for v in pair
            )
            raise ValueError(f"{name!r:.80} is {actual}, and must be {wanted}")


@contextmanager
def _no_larger_than(model: ModelConfig, state: Mapping[str, Tensor]) -> Iterator[None]:
    """Refuse a network much larger than its weights, in the block, before it takes memory."""
    numbers = sum(value.numel() for value in state.values())
    config, made = model.generator, 0
    for key, value, least, most in (
        ("model.generator.depth", config.depth or 0, 0, len(state)),
        ("model.generator.mapping", config.mapping, 0, len(state)),
        ("model.generator.width", config.width, 1, numbers),
        ("model.latent_dim", model.latent_dim, 1, numbers),
    ):
        if not least <= value <= most:
            raise ValueError(f"{key} cannot be {value}")

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal made
        made += 0 if parameter is None else parameter.numel()
        if made > _SLACK * numbers:
            raise ValueError("it describes larger networks")

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()
