"""Two workers of one core each, beside two processes that know nothing of each other (weak scaling).

``python -m tests.benchmarks.scaling``: DCGAN at 32x32, 64 images a worker. In bfloat16; in float32
with ``PRECISION=float32``, for processors that bfloat16 makes slower.
"""

import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.multiprocessing as multiprocessing

from bngan.distributed import world_size
from bngan.trainer import Trainer
from tests.benchmarks.rates import Row, table
from tests.benchmarks.steps import our_dcgan
from tests.conftest import run_workers

EACH, STEPS, TURNS = 64, 6, 5
PRECISION = os.environ.get("PRECISION", "bfloat16")
KINDS: dict[str, Any] = {"synchronised": "global", "per worker": EACH}


def seconds(trainer: Trainer, steps: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """For a step, with all other workers."""
    real = torch.rand(trainer.config.batch_size // world_size(), 3, 32, 32) * 2 - 1
    started = clock()
    for _ in range(steps):
        trainer.step(real)
    return (clock() - started) / steps


def together() -> dict[str, float]:
    """On every worker, by kind: seconds for a step of the global batch; kinds take turns."""
    torch.set_num_threads(1)
    trainers = {
        name: our_dcgan(EACH * world_size(), norm_batch=norm, precision=PRECISION)
        for name, norm in KINDS.items()
    }
    found: dict[str, list[float]] = {name: [] for name in KINDS}
    for _ in range(TURNS):
        for name, trainer in trainers.items():
            found[name].append(seconds(trainer, STEPS))
    return {name: statistics.median(values[1:]) for name, values in found.items()}


def _alone(number: int, results: Any, start: Any) -> None:
    torch.set_num_threads(1)
    trainer = our_dcgan(EACH, precision=PRECISION)
    seconds(trainer, 2)
    start.wait()  # all compute at once, as they do together
    results.put(statistics.median(seconds(trainer, STEPS) for _ in range(TURNS)))


def apart(workers: int) -> float:
    """Seconds for a step of processes that only share the machine."""
    context = multiprocessing.get_context("spawn")
    results, start = context.SimpleQueue(), context.Barrier(workers)
    processes = [context.Process(target=_alone, args=(n, results, start)) for n in range(workers)]
    for process in processes:
        process.start()
    found = [results.get() for _ in processes]
    for process in processes:
        process.join()
    return statistics.median(found)


def rows(workers: int = 2) -> list[Row]:
    """Efficiency, and what synchronising costs beside statistics per worker."""
    before = apart(workers)
    found = run_workers(workers, together)[0]
    alone = statistics.mean([before, apart(workers)])
    images = EACH * workers
    what = f"{workers} workers of one core, DCGAN, global batch {images}"
    ours, local = found["synchronised"], found["per worker"]
    independent = f"{workers} independent processes"
    return [
        Row(what, images / ours, "images/s", independent, images / alone, least=0.9),
        Row(f"{what}, step", ours, "s", "statistics per worker", local, most=1.1),
    ]


if __name__ == "__main__":
    print(table(rows()))
