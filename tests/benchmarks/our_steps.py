"""The library's training steps: to be compared with others' in turns, in a process of their own.

``steps.py`` runs it, in an environment as Ray's workers have it. It reads lines of a name and a number
of steps, and answers each with images per CPU-second, of one thread.
"""

import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle
from typing import Any

import torch
from torch import Tensor

from bngan.data import ImageSpec
from bngan.networks import DiscriminatorConfig, GeneratorConfig, ModelConfig
from bngan.optimization import OptimizationConfig
from bngan.trainer import Trainer
from tests.benchmarks.rates import Work

LATENT, WIDTH, UNITS = 100, 64, 128
Step = Callable[[Tensor], object]
PRECISION = "bfloat16" if torch.cpu._is_avx512_bf16_supported() else "float32"
"""Ours and the bare loop's: what this processor multiplies fastest."""


def ours(model: ModelConfig, spec: ImageSpec, batch: int, **options: Any) -> Trainer:
    """The library's."""
    settings: dict[str, Any] = {"precision": PRECISION, "beta1": 0.5, "batch_size": batch}
    return Trainer(model, OptimizationConfig(**settings | options), spec, 0)


def our_dcgan(batch: int, **options: Any) -> Trainer:
    """The library's, of the example's networks."""
    norms = GeneratorConfig(WIDTH), DiscriminatorConfig(WIDTH, norm="batch")
    model = ModelConfig("dcgan", LATENT, False, *norms)
    return ours(model, ImageSpec((3, 32, 32)), batch, **options)


def batches(count: int, images: ImageSpec) -> Iterator[Tensor]:
    """Eight of noise, for ever."""
    return cycle(torch.rand(8, count, *images.shape) * 2 - 1)


def work(step: Step, batches: Iterator[Tensor], steps: int) -> Work:
    """So many steps; amount: images."""

    def run() -> float:
        images = 0
        for _ in range(steps):
            real = next(batches)
            step(real)
            images += len(real)
        return float(images)

    return run


def our_mlp(batch: int) -> Trainer:
    """The library's, of the article's listing."""
    body = {"width": UNITS, "depth": 2, "norm": "batch", "norm_place": "after_activation"}
    model = ModelConfig(
        "mlp",
        LATENT,
        False,
        GeneratorConfig(**body),  # type: ignore[arg-type]
        DiscriminatorConfig(**body, norm_first=True, allow_blind=True),  # type: ignore[arg-type]
    )
    return ours(model, ImageSpec((1, 28, 28)), batch)


def works() -> dict[str, Callable[[int], Work]]:
    """By name: network, batch."""
    trainers = {"dcgan64": our_dcgan(64), "mlp128": our_mlp(128), "mlp512": our_mlp(512)}
    return {
        name: partial(work, trainer.step, batches(trainer.config.batch_size, trainer.images))
        for name, trainer in trainers.items()
    }


def main() -> None:
    """Answer until there are no more questions."""
    torch.set_num_threads(1)
    known = works()
    for line in sys.stdin:
        name, steps = line.rsplit(maxsplit=1)
        run = known[name](int(steps))
        started = time.process_time()
        print(run() / (time.process_time() - started), flush=True)


if __name__ == "__main__":
    main()
