"""A trained generator as a file, and images from it as a pure function of (seed, index)."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bngan.data import ImageSpec
from bngan.images import to_uint8
from bngan.latents import (
    CALIBRATION_LATENTS,
    calibration_batches,
    indexed_labels,
    indexed_latents,
)
from bngan.networks import ModelConfig, build_generator

WEIGHTS, DESCRIPTION = "generator.safetensors", "generator.json"
_BATCH = 250


class Sampler:
    """A calibrated generator in evaluation mode, with plain torch batch norms.

    Attributes:
        model: configuration of its networks.
        spec: shape and classes of its images.
    """

    def __init__(self, model: ModelConfig, spec: ImageSpec, state: dict[str, Tensor]) -> None:
        self.model, self.spec = model, spec
        self.generator: nn.Module = build_generator(model, spec)
        self.generator.load_state_dict(state)
        self.generator.eval().requires_grad_(False)
        self.device = torch.device("cpu")

    def to(self, device: torch.device | str) -> "Sampler":
        """Generate on ``device`` from now on; images still arrive on the CPU."""
        self.device = torch.device(device)
        self.generator.to(self.device)
        return self

    def images(self, seed: int, indices: Sequence[int], truncation: float = 1.0) -> np.ndarray:
        """uint8 images ``(len(indices), H, W, C)``; image i depends on (seed, indices[i]) only.

        A conditional generator draws its classes as often as they were in its training images.

        Raises:
            ValueError: for a negative index or a truncation outside (0, 1].
        """
        parts = list(self.batches(seed, indices, truncation))
        channels, height, width = self.spec.shape
        return np.concatenate(parts) if parts else np.zeros((0, height, width, channels), np.uint8)

    @torch.inference_mode()
    def batches(
        self, seed: int, indices: Sequence[int], truncation: float = 1.0
    ) -> Iterator[np.ndarray]:
        """As ``images``, a batch at a time."""
        if not 0 < truncation <= 1:
            raise ValueError(f"truncation must lie in (0, 1], got {truncation}")
        if any(index < 0 for index in indices):
            raise ValueError("an image index must not be negative")
        for start in range(0, len(indices), _BATCH):
            chunk = indices[start : start + _BATCH]
            inputs = [indexed_latents(seed, chunk, self.model.latent_dim, truncation)]
            if self.model.conditional:
                inputs.append(indexed_labels(seed, chunk, self.spec.class_frequencies))
            yield to_uint8(self.generator(*(value.to(self.device) for value in inputs)))

    def calibration_batches(self, count: int = CALIBRATION_LATENTS) -> Iterator[tuple[Tensor, ...]]:
        """Inputs for ``calibrate(self.generator, ...)``: this worker's share of ``count``."""
        frequencies = self.spec.class_frequencies if self.model.conditional else ()
        for batch in calibration_batches(self.model.latent_dim, frequencies, count):
            yield tuple(part.to(self.device) for part in batch)

    def save(self, folder: Path, **details: Any) -> None:
        """Write weights (safetensors) and description (JSON, with ``details``) into ``folder``."""
        state = {k: v.cpu().contiguous() for k, v in self.generator.state_dict().items()}
        save_file(state, folder / WEIGHTS)
        description = {"model": asdict(self.model), "spec": asdict(self.spec), **details}
        (folder / DESCRIPTION).write_text(json.dumps(description, indent=2))

    @classmethod
    def load(cls, folder: Path) -> "Sampler":
        """Read what ``save`` wrote."""
        description = json.loads((folder / DESCRIPTION).read_text())
        model = ModelConfig.from_dict(description["model"])
        channels, height, width = description["spec"]["shape"]
        frequencies = tuple(description["spec"]["class_frequencies"])
        spec = ImageSpec((channels, height, width), frequencies)
        return cls(model, spec, load_file(folder / WEIGHTS))
