"""The model of ``scaling_model`` beside measured steps of one to four processes.

``python -m tests.benchmarks.scaling_check docs/scaling.json``. Nothing is fitted to the steps: each run
measures, in turns and in the same processes, (1) steps, (2) single sums that all workers enter at the
same moment, training's and gloo's, which workers on several machines have, (3) segments of compute of
workers that send nothing and wait for nobody. Turns in which others used the machine are left out; how
long a step took has no say in that.
"""

import copy
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import torch.distributed as dist

from bngan.distributed import collectives as distributed
from bngan.distributed.collectives import all_reduce_sum, broadcast_from_rank0, rank, world_size
from bngan.training.noise import noise_blocks, training_latents
from bngan.training.trainer import Trainer
from pipeline.core.environment import workers_defaults
from tests.benchmarks.loops import LATENT, PRECISION
from tests.benchmarks.our_steps import our_dcgan
from tests.benchmarks.rates import occasion
from tests.benchmarks.scaling import EACH, seconds
from tests.benchmarks.scaling_model import Line, Ring, Worker, drawn_by, messages, step_seconds
from tests.workers import run_workers

STEPS, TURNS, MOST, CORES = 5, 5, 4, 2
SIZES = (4 * 2**10, 2 * 2**20, 4 * 2**20)
"""Bytes of the sums that are measured by themselves."""
OTHER_BATCHES = (32, 96)
"""Images of the steps that tell what one of 64 takes on one worker."""
REPEATS, PACE = 12, 0.03
"""Sums of each size in a turn, and seconds from one to the next."""
OTHERS = 0.05
"""Share of the cores' time that others may have in a turn that counts."""
Turn = dict[str, Any]


def steps(trainer: Trainer) -> float:
    """Seconds for a step, with all others; of the process's time, if it is alone."""
    clock = time.process_time if world_size() == 1 else time.perf_counter
    return seconds(trainer, STEPS, clock)


def segments(trainer: Trainer) -> np.ndarray:
    """Seconds ``(steps, messages)`` from one message to the next, of a worker that sends none."""
    marks: list[float] = []

    def unsent(tensor: torch.Tensor) -> None:
        marks.append(time.perf_counter())

    before = copy.deepcopy(trainer.state_dict())
    with patch.object(distributed, "sum_in_place", unsent):
        steps(trainer)
    trainer.load_state_dict(before)  # what one learns alone, the others do not have
    sent = len(marks) // STEPS
    return np.diff(marks)[: (STEPS - 1) * sent].reshape(STEPS - 1, sent)


def sums(total: Callable[[torch.Tensor], Any]) -> np.ndarray:
    """Seconds ``(repeats, sizes)`` from the moment that all workers enter until this one is through."""
    (start,) = broadcast_from_rank0(
        time.perf_counter() + PACE
    )  # all processes of a machine have one clock
    matrix, found = torch.rand(256, 256), []
    for number in range(REPEATS * len(SIZES)):
        tensor = torch.zeros(SIZES[number % len(SIZES)] // 4)
        deadline = start + (number + 1) * PACE
        while time.perf_counter() < deadline - PACE / 5:
            matrix @ matrix  # as in training, something else has been in the caches
        while time.perf_counter() < deadline:
            pass
        total(tensor)
        found.append(time.perf_counter() - deadline)
    return np.array(found).reshape(REPEATS, len(SIZES))


def _busy() -> float:
    """Seconds that all cores together have been in use; of any process."""
    ticks = [int(value) for value in Path("/proc/stat").read_text().split("\n")[0].split()[1:]]
    return (sum(ticks[:3]) + sum(ticks[5:8])) / 100


def turn(trainer: Trainer, *others: Trainer) -> Turn:
    """On every worker, once all that is measured; ``others``: their share of the cores' time."""
    began, used, busy = time.perf_counter(), time.process_time(), _busy()
    found: Turn = {"steps": steps(trainer)}
    if world_size() > 1:
        found["training's"] = sums(distributed.sum_in_place)
        found["gloo's"] = sums(dist.all_reduce)
        dist.barrier()
        if rank() < CORES:
            found["segments"] = segments(trainer)
        dist.barrier()
    else:
        small, large = (steps(other) for other in others)
        share = (EACH - OTHER_BATCHES[0]) / (OTHER_BATCHES[1] - OTHER_BATCHES[0])
        found["segments"] = np.array([[small + share * (large - small)]])
    ours = all_reduce_sum(torch.tensor(time.process_time() - used)).item()
    found["others"] = (_busy() - busy - ours) / (time.perf_counter() - began) / CORES
    return found


def together() -> list[Turn]:
    """On every worker, its turns."""
    torch.set_num_threads(1)
    batches = [EACH, *OTHER_BATCHES] if world_size() == 1 else [EACH * world_size()]
    trainers = [our_dcgan(batch) for batch in batches]
    for trainer in trainers:
        steps(trainer)
    return [turn(*trainers) for _ in range(TURNS)]


def quiet(everyone: Sequence[list[Turn]]) -> list[list[Turn]]:
    """Of every worker the turns that count; the two most quiet ones, if others never were.

    One worker's are in its own time, and all count.
    """
    if len(everyone) == 1:
        return list(everyone)
    shares = [one["others"] for one in everyone[0]]
    limit = max(OTHERS, sorted(shares)[1])
    chosen = [number for number, share in enumerate(shares) if share <= limit]
    return [[turns[number] for number in chosen] for turns in everyone]


def line(everyone: Sequence[list[Turn]], whose: str) -> Line:
    """Alpha and beta: medians until the last worker is through, least squares over sizes."""
    last = np.max([np.concatenate([t[whose] for t in one]) for one in everyone], axis=0)
    per_byte, latency = np.polyfit(SIZES, np.median(last, axis=0), 1, w=1 / np.sqrt(SIZES))
    return Line(float(latency), float(per_byte))


def ring(two: Line) -> Ring:
    """What gloo's two workers say about more of such: all that they take, they take for hops.

    Three and four processes on two cores say nothing about it: theirs wait for cores.
    """
    return Ring(two.latency / 2, two.per_byte)


def latents_seconds() -> float:
    """For the latents of one image."""
    count, found = 4096, []
    rows = noise_blocks(np.arange(count))
    for step in range(9):
        started = time.perf_counter()
        training_latents(0, step, rows, LATENT)
        found.append((time.perf_counter() - started) / count)
    return statistics.median(found)


def worker(everyone: Sequence[list[Turn]], drawn: float) -> Worker:
    """Compute and noise. Sigma of a segment is such that the later of two is as late as was seen."""
    active = everyone[:CORES]
    parts = [np.concatenate([turn["segments"] for turn in turns]) for turns in active]
    noise = np.zeros(parts[0].shape[1])
    if len(parts) > 1:
        noise = np.sqrt(np.pi) * np.abs(parts[0] - parts[1]).mean(0) / 2
    compute = float(np.mean([part.sum(1).mean() for part in parts]))
    compute -= drawn * float(np.mean([drawn_by(number, EACH) for number in range(len(active))]))
    return Worker(compute, noise.tolist(), drawn, EACH, CORES)


def report(runs: dict[int, list[list[Turn]]], drawn: float) -> dict[str, Any]:
    """Measured and predicted, and all that predicts."""
    runs = {workers: quiet(run) for workers, run in runs.items()}
    lines = {workers: line(run, "training's") for workers, run in runs.items() if workers > 1}
    models = {workers: worker(run, drawn) for workers, run in runs.items()}
    trainer = our_dcgan(EACH)
    sizes, rows = messages(trainer.generator, trainer.discriminator), []
    for workers, run in runs.items():
        network = lines.get(workers, Line(0, 0))
        row = {
            "workers": workers,
            "measured": statistics.median(one["steps"] for one in run[0]),
            "predicted": step_seconds(models[workers], sizes, network, workers),
            "network": asdict(network),
            "worker": asdict(models[workers]),
            "others": [one["others"] for one in run[0]],
        }
        rows.append(row)
    hops = ring(line(runs[2], "gloo's"))
    return {"rows": rows, "ring": asdict(hops), "sizes": sizes, "precision": PRECISION}


def main(path: Path) -> None:
    """Measure, predict, print, save."""
    drawn = latents_seconds()
    with patch.dict(os.environ, workers_defaults()):
        runs = {workers: run_workers(workers, together) for workers in range(1, MOST + 1)}
    found = report(runs, drawn)
    for row in found["rows"]:
        error = row["predicted"] / row["measured"] - 1
        print(f"{row['workers']}: {row['measured']:.4f} s, {row['predicted']:.4f} s, {error:+.1%}")
    path.write_text(json.dumps(found | occasion(), indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
