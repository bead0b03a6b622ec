"""What is timed: the library's steps as training takes them, and the loops that others write."""

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import cycle
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tests.benchmarks.gpu.library import (
    DiscriminatorConfig,
    ExecutionConfig,
    GeneratorConfig,
    ImageSpec,
    ImageSplit,
    ModelConfig,
    OptimizationConfig,
    Trainer,
)
from tests.benchmarks.gpu.timing import Steps
from tests.benchmarks.loops import LATENT, dcgan

IMAGES = 8192
"""Of the data."""
_READY = 4


@lru_cache(maxsize=2)
def noise(side: int) -> ImageSplit:
    """Return images of bytes at random, in memory."""
    shape = (IMAGES, side, side, 3)
    return ImageSplit(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))


def dcgan_model(width: int) -> ModelConfig:
    """Return the networks of PyTorch's example."""
    networks = GeneratorConfig(width), DiscriminatorConfig(width, norm="batch")
    return ModelConfig("dcgan", LATENT, False, *networks)


def trainer(
    model: ModelConfig, side: int, batch: int, device: torch.device, **options: Any
) -> Trainer:
    """Return the library's."""
    dtype = options.pop("dtype", torch.float32)
    execution = ExecutionConfig(compile=options.pop("compile", "off"))
    training = OptimizationConfig(batch_size=batch, **{"beta1": 0.5} | options)
    spec = ImageSpec((3, side, side))
    return Trainer(model, training, spec, 0, device, dtype, execution=execution)


def fitting(trained: Trainer, data: ImageSplit) -> Steps:
    """Take steps as training does: order, images and latents from the CPU, means at the end."""
    batch = trained.config.batch_size
    return lambda steps: trained.fit(data, trained.images_seen + steps * batch)


def repeated(step: Callable[[Tensor], object], reals: Iterator[Tensor]) -> Steps:
    """Take steps on batches that are ready on the device."""

    def run(steps: int) -> None:
        for _ in range(steps):
            step(next(reals))

    return run


def ready(side: int, batch: int, device: torch.device, last: bool) -> Iterator[Tensor]:
    """Return a few batches for ever; ``last``: with channels last in memory."""
    values = torch.rand(_READY, batch, 3, side, side, device=device) * 2 - 1
    order = torch.channels_last if last else torch.contiguous_format
    return cycle([value.contiguous(memory_format=order) for value in values])


def peers(side: int, width: int, device: torch.device) -> tuple[nn.Module, nn.Module]:
    """Return PyTorch's networks."""
    generator, discriminator = dcgan(side=side, width=width)
    return generator.to(device), discriminator.to(device)
