"""Two workers of one core each, beside the same processes when they know nothing of each other.

``python -m tests.benchmarks.scaling``: DCGAN at 32x32, 64 images a worker (weak scaling).
"""

import os
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
import torch.distributed as dist

from bngan.distributed import collectives as distributed
from bngan.distributed.collectives import world_size
from bngan.training.trainer import Trainer
from pipeline.core.environment import workers_defaults
from tests.benchmarks.our_steps import our_dcgan
from tests.benchmarks.rates import Row, table
from tests.workers import run_workers

EACH, STEPS, TURNS = 64, 6, 7


def seconds(trainer: Trainer, steps: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """For a step, with all other workers."""
    real = torch.rand(trainer.config.batch_size // world_size(), 3, 32, 32) * 2 - 1
    started = clock()
    for _ in range(steps):
        trainer.step(real)
    return (clock() - started) / steps


def alone() -> AbstractContextManager[Any]:
    """Within it, this process is the only worker there is."""
    return patch.object(distributed, "_initialized", lambda: False)


class Kind(NamedTuple):
    """A training, and where it takes place."""

    trainer: Trainer
    place: Callable[[], AbstractContextManager[Any]]


def kinds() -> dict[str, Kind]:
    """What takes turns."""
    batch = EACH * world_size()
    found = {
        name: Kind(our_dcgan(batch, norm_batch=norm), nullcontext)
        for name, norm in (("synchronised", "global"), ("per worker", EACH))
    }
    with alone():
        return found | {"independent": Kind(our_dcgan(EACH), alone)}


def together() -> dict[str, float]:
    """On every worker, by kind: seconds for a step."""
    torch.set_num_threads(1)
    trained = kinds()
    found: dict[str, list[float]] = {name: [] for name in trained}
    for _ in range(TURNS + 1):
        for name, (trainer, place) in trained.items():
            dist.barrier()  # all compute at once
            with place():
                found[name].append(seconds(trainer, STEPS))
    return {name: statistics.median(values[1:]) for name, values in found.items()}


def rows(workers: int = 2) -> list[Row]:
    """Efficiency, and what synchronising costs beside statistics per worker."""
    with patch.dict(os.environ, workers_defaults()):
        everyone = run_workers(workers, together)
    found = {name: statistics.mean(one[name] for one in everyone) for name in everyone[0]}
    images = EACH * workers
    what = f"{workers} workers of one core, DCGAN, global batch {images}"
    rates = {name: images / each for name, each in found.items()}
    independent = f"{workers} independent processes", rates["independent"]
    return [
        Row(what, rates["synchronised"], "images/s", *independent, least=0.9),
        Row(
            f"{what}, step",
            found["synchronised"],
            "s",
            "statistics per worker",
            found["per worker"],
            most=1.1,
        ),
    ]


if __name__ == "__main__":
    print(table(rows()))
