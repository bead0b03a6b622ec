"""Weak scaling to 1,024 workers, as the model of ``scaling_model`` has it: a picture and a table.

``python -m tests.benchmarks.scaling_curves docs/scaling.json docs/images/scaling.png``. For CPUs from
what ``scaling_check`` measured; for GPUs from published figures alone: nothing of it was measured.
"""

import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
import torch.distributed as dist
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from bngan.data.dataset import ImageSpec
from bngan.networks.config import DiscriminatorConfig, GeneratorConfig, ModelConfig
from bngan.training.trainer import Trainer
from tests.benchmarks.our_steps import our_dcgan, ours
from tests.benchmarks.scaling import EACH
from tests.benchmarks.scaling_model import (
    Network,
    Ring,
    Tree,
    Worker,
    messages,
    most_drawn,
    parameters,
    slowest,
)

NODE, SHOWN = 8, (1, 2, 8, 64, 1024)
RATE = 2470 * 3 * 2 * 4.09e9
"""FLOP/s of an A100 that trains ResNet-50 in mixed precision: 2,470 images/s, three times 4.09 GMAC."""
LAUNCH = 10e-6
"""Seconds of the host for an operation that runs a kernel; from 5 to 25 us are told."""
SPREAD = 0.08 / 5.4
"""Standard deviation of the speed of GPUs of one kind. They are told to vary by 8 %: taken as the width
of a box plot between whiskers, which is 5.4 standard deviations of normal numbers."""
INFINIBAND, EFA = Tree(hop_network=5e-6), Tree(hop_network=18e-6)
"""A network hop in NCCL's tuner; and one with which two nodes take 51 us, as was measured of EFA."""
KINDS = {
    "global": "norm_batch: global",
    "in a node": "groups within a node of 8 workers",
    "in a worker": "groups within a worker, without messages",
}


class Kernels(TorchDispatchMode):
    """Counts operations, but for those that only look at memory differently."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not op.is_view and op.namespace == "aten"
        return op(*args, **(kwargs or {}))


@dataclass(frozen=True)
class Training:
    """What a step is made of on one worker, alone and among others, and what it sends.

    Args:
        alone: seconds of compute on one worker.
        worker: among others.
        norms: bytes of the messages of batch norm.
        gradients: of the other ones.
    """

    alone: float
    worker: Worker
    norms: list[int]
    gradients: list[int]

    def parts(self, network: Network, workers: int, kind: str = "global") -> dict[str, float]:
        """Seconds of a step, by what takes them."""
        inside = min(workers, NODE) if kind == "in a node" else workers
        silent = workers == 1 or kind == "in a worker"
        noise = math.hypot(*self.worker.noise) if silent else sum(self.worker.noise)
        return {
            "compute": self.alone,
            "synchronising": 0.0 if silent else self.worker.compute - self.alone,
            "latents": self.worker.drawn * most_drawn(EACH, workers),
            "waiting": slowest(workers) * noise,
            "norms": 0.0 if silent else sum(network.seconds(size, inside) for size in self.norms),
            "gradients": sum(network.seconds(size, workers) for size in self.gradients),
        }

    def efficiency(self, network: Network, workers: int, kind: str) -> float:
        """A worker's images per second, beside those of a worker alone."""
        alone, here = (sum(self.parts(network, n, kind).values()) for n in (1, workers))
        return alone / here


def on_gpus(build: Callable[[int], Trainer], shape: tuple[int, int, int], drawn: float) -> Training:
    """Counted on a CPU with few images. The host launches kernels while the GPU runs them."""
    few = 4

    def kernels(workers: int) -> tuple[Trainer, int]:
        trainer, real = build(few * workers), torch.rand(few, *shape) * 2 - 1
        trainer.step(real)
        with Kernels() as counter:
            trainer.step(real)
        return trainer, counter.count

    trainer, alone = kernels(1)
    with FlopCounterMode(display=False) as flops:
        trainer.step(torch.rand(few, *shape) * 2 - 1)
    dist.init_process_group("fake", rank=0, world_size=2, store=FakeStore())
    _, among = kernels(2)
    dist.destroy_process_group()
    computing = EACH * flops.get_total_flops() / few / RATE
    seconds = [max(computing, count * LAUNCH) for count in (alone, among)]
    print(f"{computing * 1e3:.2f} ms computing, {alone} kernels, {among} among others")
    drawn *= trainer.model.latent_dim / 100
    worker = Worker(seconds[1], [SPREAD * seconds[1]], drawn, EACH)
    return training(trainer, seconds[0], worker)


def training(trainer: Trainer, alone: float, worker: Worker) -> Training:
    """With the messages of its networks."""
    networks = trainer.generator, trainer.discriminator
    gradients = [4 * parameters(network) for network in networks]
    norms = [size for size in messages(*networks) if size not in gradients]
    return Training(alone, worker, norms, gradients)


def resnet(batch: int) -> Trainer:
    """Residual networks at 64x64, batch norm in the generator."""
    model = ModelConfig("resnet", 128, False, GeneratorConfig(64), DiscriminatorConfig(64))
    return ours(model, ImageSpec((3, 64, 64)), batch, precision="bfloat16")


def panels(found: dict[str, Any]) -> dict[str, tuple[Training, Network]]:
    """What is drawn, from what ``scaling_check`` saved."""
    one, two = (found["rows"][n]["worker"] for n in (0, 1))
    worker = Worker(**{**two, "cores": None})
    trainer, drawn = our_dcgan(EACH), worker.drawn
    on_gpu = partial(our_dcgan, precision="bfloat16")
    return {
        "DCGAN 32x32, CPU cores, gloo": (
            training(trainer, one["compute"], worker),
            Ring(**found["ring"]),
        ),
        "DCGAN 32x32, A100, NCCL": (on_gpus(on_gpu, (3, 32, 32), drawn), INFINIBAND),
        "ResNet 64x64, A100, NCCL": (on_gpus(resnet, (3, 64, 64), drawn), INFINIBAND),
    }


def table(shown: dict[str, tuple[Training, Network]]) -> str:
    """Markdown: milliseconds of a step by what takes them, and efficiency."""
    names = list(next(iter(shown.values()))[0].parts(INFINIBAND, 1))
    lines = [f"| workers | {' | '.join(names)} | step, ms | efficiency |"]
    lines.append("| --- " * (len(names) + 3) + "|")
    for title, (one, network) in shown.items():
        for workers in SHOWN:
            parts = one.parts(network, workers)
            cells = [f"{value * 1e3:.3g}" for value in (*parts.values(), sum(parts.values()))]
            lines.append(
                f"| {title}: {workers:,} | {' | '.join(cells)} "
                f"| {one.efficiency(network, workers, 'global'):.0%} |"
            )
    return "\n".join(lines)


def draw(shown: dict[str, tuple[Training, Network]], path: Path) -> None:
    """Efficiency over workers."""
    counts = [2**n for n in range(11)]
    figure, axes = plt.subplots(1, len(shown), figsize=(12, 4), sharey=True, layout="constrained")
    for axis, (title, (one, network)) in zip(axes, shown.items(), strict=True):
        for (kind, label), style in zip(KINDS.items(), ("-", "-.", ":"), strict=True):
            values = [one.efficiency(network, workers, kind) for workers in counts]
            axis.plot(counts, values, style, label=label)
        axis.set(title=title, xlabel="workers, 64 images each", ylim=(0, 1.05))
        axis.set_xscale("log", base=2)
        axis.set_xticks(counts[::2], [f"{count:,}" for count in counts[::2]])
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("efficiency")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    figure.savefig(path, dpi=110)


def main(measured: Path, picture: Path) -> None:
    """Draw, print."""
    shown = panels(json.loads(measured.read_text()))
    draw(shown, picture)
    training_on_efa = {"DCGAN, EFA": (shown["DCGAN 32x32, A100, NCCL"][0], EFA)}
    print(table(shown | training_on_efa))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
