"""The library's training steps: to be compared with others' in turns, in a process of their own.

``steps.py`` runs it, with memory as Ray's workers have it, and the bare loop as well. It reads lines of
a name and a number of steps, and answers each with images per CPU-second, of one thread.
"""

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from bngan.data.dataset import ImageSpec
from bngan.networks.config import DiscriminatorConfig, GeneratorConfig, ModelConfig
from bngan.training.config import ExecutionConfig, OptimizationConfig
from bngan.training.trainer import Trainer
from pipeline.core.environment import set_defaults
from tests.benchmarks.loops import LATENT, PRECISION, UNITS, WIDTH, bare, batches, dcgan, mlp, work
from tests.benchmarks.rates import Work

_UNTIMED = 4
"""Steps before those that are timed, in which ``compile: step`` compiles."""


def ours(model: ModelConfig, spec: ImageSpec, batch: int, **options: Any) -> Trainer:
    """The library's."""
    execution = ExecutionConfig(compile=options.pop("compile", "off"))
    settings: dict[str, Any] = {"precision": PRECISION, "beta1": 0.5, "batch_size": batch}
    return Trainer(model, OptimizationConfig(**settings | options), spec, 0, execution=execution)


def our_dcgan(batch: int, **options: Any) -> Trainer:
    """The library's, of the example's networks."""
    norms = GeneratorConfig(WIDTH), DiscriminatorConfig(WIDTH, norm="batch")
    model = ModelConfig("dcgan", LATENT, False, *norms)
    return ours(model, ImageSpec((3, 32, 32)), batch, **options)


def our_mlp(batch: int, **options: Any) -> Trainer:
    """The library's, of the article's listing."""
    body = {"width": UNITS, "depth": 2, "norm": "batch", "norm_place": "after_activation"}
    model = ModelConfig(
        "mlp",
        LATENT,
        False,
        GeneratorConfig(**body),  # type: ignore[arg-type]
        DiscriminatorConfig(**body, norm_first=True, allow_blind=True),  # type: ignore[arg-type]
    )
    return ours(model, ImageSpec((1, 28, 28)), batch, **options)


def works() -> dict[str, Callable[[int], Work]]:
    """By name: network, batch, whose."""
    trainers = {"dcgan64": our_dcgan(64), "mlp128": our_mlp(128), "mlp512": our_mlp(512)}
    bare_loops = {"dcgan64": bare(dcgan()), "mlp128": bare(mlp()), "mlp512": bare(mlp())}
    found = {}
    for name, trainer in trainers.items():
        for kind, step in {"ours": trainer.step, "bare": bare_loops[name]}.items():
            reals = batches(trainer.config.batch_size, trainer.images)
            found[f"{name} {kind}"] = partial(work, step, reals)
    for batch in (128, 512):
        step = our_mlp(batch, compile="step").step
        found[f"mlp{batch} compiled"] = partial(work, step, batches(batch, ImageSpec((1, 28, 28))))
    return found


def main() -> None:
    """Answer until there are no more questions."""
    set_defaults()
    torch.set_num_threads(1)
    known, begun = works(), set[str]()
    for line in sys.stdin:
        name, steps = line.rsplit(maxsplit=1)
        if name not in begun:
            known[name](_UNTIMED)()
            begun.add(name)
        run = known[name](int(steps))
        started = time.process_time()
        print(run() / (time.process_time() - started), flush=True)


if __name__ == "__main__":
    main()
