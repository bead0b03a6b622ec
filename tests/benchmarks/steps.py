"""A training step on one core, beside loops that others write: DCGAN, and the article's MLP.

``python -m tests.benchmarks.steps``. The example is the loop of PyTorch's DCGAN example: float32, real
and fake images backward one after the other, gradients of D computed in G's step as well. The bare loop
is the best that is usually written by hand: bfloat16, channels last, D frozen in G's step, fused Adam.
All are in float32 where the processor does not multiply bfloat16. Ours are in a process of their own
(``our_steps.py``), with the environment of Ray's workers; so is Keras (``keras_peer.py``), where
``KERAS_PYTHON`` names an interpreter that has it.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bngan.data import ImageSpec
from pipeline.environment import workers_defaults
from tests.benchmarks.our_steps import (
    LATENT,
    PRECISION,
    UNITS,
    WIDTH,
    Step,
    batches,
    our_dcgan,
    work,
)
from tests.benchmarks.rates import Row, Work, rates, table

Ask = Callable[[str, int], float]
KERAS = {"float32": "Keras, tf.function"}
if PRECISION == "bfloat16":
    KERAS["mixed_bfloat16"] = "Keras, tf.function, bfloat16"
_MATRIX = 1024


def dcgan(channels: int = 3) -> tuple[nn.Module, nn.Module]:
    """Networks of PyTorch's example at 32x32 pixels."""

    def up(before: int, after: int) -> list[nn.Module]:
        layer = nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False)
        return [layer, nn.BatchNorm2d(after), nn.ReLU(True)]

    def down(before: int, after: int) -> list[nn.Module]:
        layer = nn.Conv2d(before, after, 4, 2, 1, bias=False)
        return [layer, nn.BatchNorm2d(after), nn.LeakyReLU(0.2, True)]

    first = nn.ConvTranspose2d(LATENT, 4 * WIDTH, 4, 1, 0, bias=False)
    generator = nn.Sequential(
        nn.Unflatten(1, (LATENT, 1, 1)),
        *(first, nn.BatchNorm2d(4 * WIDTH), nn.ReLU(True)),
        *up(4 * WIDTH, 2 * WIDTH),
        *up(2 * WIDTH, WIDTH),
        *(nn.ConvTranspose2d(WIDTH, channels, 4, 2, 1, bias=False), nn.Tanh()),
    )
    discriminator = nn.Sequential(
        *(nn.Conv2d(channels, WIDTH, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, True)),
        *down(WIDTH, 2 * WIDTH),
        *down(2 * WIDTH, 4 * WIDTH),
        *(nn.Conv2d(4 * WIDTH, 1, 4, 1, 0, bias=False), nn.Flatten(0)),
    )
    return generator, discriminator


def mlp() -> tuple[nn.Module, nn.Module]:
    """Networks of the article's listing."""

    def body(features: int) -> list[nn.Module]:
        sizes = ((features, UNITS), (UNITS, UNITS))
        return [m for a, b in sizes for m in (nn.Linear(a, b), nn.ReLU(), nn.BatchNorm1d(b))]

    pixels = nn.Sequential(nn.Linear(UNITS, 784), nn.Tanh(), nn.Unflatten(1, (1, 28, 28)))
    generator = nn.Sequential(*body(LATENT), *pixels)
    return generator, nn.Sequential(nn.Flatten(), *body(784), nn.Linear(UNITS, 1), nn.Flatten(0))


def example(networks: tuple[nn.Module, nn.Module]) -> Step:
    """Float32, and more backward than is needed."""
    generator, discriminator = networks
    g, d = (torch.optim.Adam(n.parameters(), 2e-4, (0.5, 0.999)) for n in networks)

    def step(real: Tensor) -> None:
        one, zero = torch.ones(len(real)), torch.zeros(len(real))
        discriminator.zero_grad()
        loss = F.binary_cross_entropy(discriminator(real).sigmoid(), one)
        loss.backward()
        fake = generator(torch.randn(len(real), LATENT))
        other = F.binary_cross_entropy(discriminator(fake.detach()).sigmoid(), zero)
        other.backward()
        d.step()
        generator.zero_grad()
        F.binary_cross_entropy(discriminator(fake).sigmoid(), one).backward()
        g.step()
        (loss + other).item()

    return step


def bare(networks: tuple[nn.Module, nn.Module]) -> Step:
    """Channels last, D frozen in G's step, fused Adam."""
    for network in networks:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    generator, discriminator = networks
    g, d = (torch.optim.Adam(n.parameters(), 2e-4, (0.5, 0.999), fused=True) for n in networks)
    precision = torch.autocast("cpu", torch.bfloat16, enabled=PRECISION == "bfloat16")

    def step(real: Tensor) -> None:
        real = real.contiguous(memory_format=torch.channels_last)
        with precision:
            fake = generator(torch.randn(len(real), LATENT))
            loss = F.softplus(-discriminator(real)) + F.softplus(discriminator(fake.detach()))
        loss.mean().backward()
        d.step()
        d.zero_grad()
        discriminator.requires_grad_(False)
        with precision:
            loss = F.softplus(-discriminator(fake))
        loss.mean().backward()
        g.step()
        g.zero_grad()
        discriminator.requires_grad_(True)

    return step


@contextmanager
def answering(command: list[str], environment: dict[str, str]) -> Iterator[Ask]:
    """A process that takes so many steps of what is asked for, and tells images per CPU-second."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, text=True, bufsize=1, env=os.environ | environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def ask(name: str, steps: int) -> float:
            print(name, steps, file=process.stdin, flush=True)
            return float(process.stdout.readline())  # type: ignore[union-attr]

        yield ask
        process.stdin.close()


@contextmanager
def others(networks: str, steps: int) -> Iterator[dict[str, Work]]:
    """Ours, in an environment as workers have it, and Keras' where there is Keras."""
    with ExitStack() as stack:
        command = [sys.executable, "-m", "tests.benchmarks.our_steps"]
        ask = stack.enter_context(answering(command, workers_defaults()))
        found: dict[str, Work] = {"ours": partial(ask, networks, steps)}
        if interpreter := os.environ.get("KERAS_PYTHON"):
            command = [interpreter, str(Path(__file__).with_name("keras_peer.py"))]
            quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
            ask = stack.enter_context(answering(command, quiet))
            found |= {kind: partial(ask, f"{networks} {kind}", steps) for kind in KERAS}
        yield found


def _matrix_product() -> Work:
    one, other = (torch.randn(_MATRIX, _MATRIX, dtype=getattr(torch, PRECISION)) for _ in range(2))

    def run() -> float:
        for _ in range(40):
            one @ other
        return 40 * 2 * _MATRIX**3

    return run


def _operations(step: Step, real: Tensor) -> float:
    with FlopCounterMode(display=False) as counter:
        step(real)
    return counter.get_total_flops() / len(real)


def dcgan_rows(batch: int = 64) -> list[Row]:
    """DCGAN at 32x32, width 64."""
    trainer = our_dcgan(batch)
    real = batches(batch, trainer.images)
    operations = _operations(trainer.step, next(real))
    works = {kind.__name__: work(kind(dcgan()), real, 10) for kind in (example, bare)}
    with others(f"dcgan{batch}", 10) as peers:
        found = rates(works | {"ceiling": _matrix_product()}, others=peers)
    share = found["ours"] * operations / found["ceiling"]
    what = f"DCGAN 32x32, width {WIDTH}, batch {batch}, one core"
    return [
        _row(what, found, "example", "PyTorch's example, float32", 2.4),
        _row(what, found, "bare", f"bare loop, {PRECISION}", 1.15),
        *_keras_rows(what, found, 1.15),
        Row(f"the same, of the core's {PRECISION} matrix product", share, "", least=0.65),
    ]


def mlp_rows(batch: int) -> list[Row]:
    """The article's listing."""
    real = batches(batch, ImageSpec((1, 28, 28)))
    works = {kind.__name__: work(kind(mlp()), real, 50) for kind in (example, bare)}
    with others(f"mlp{batch}", 50) as peers:
        found = rates(works, others=peers)
    what = f"the listing's MLP, batch {batch}, one core"
    return [
        _row(what, found, "example", "plain loop, float32", None),
        _row(what, found, "bare", f"bare loop, {PRECISION}", None),
        *_keras_rows(what, found, 1.5),
    ]


def _row(what: str, found: dict[str, float], beside: str, name: str, least: float | None) -> Row:
    return Row(what, found["ours"], "images/s", name, found[beside], least)


def _keras_rows(what: str, found: dict[str, float], least: float) -> list[Row]:
    return [_row(what, found, kind, name, least) for kind, name in KERAS.items() if kind in found]


def rows() -> list[Row]:
    """All of it."""
    torch.set_num_threads(1)
    return [*dcgan_rows(), *mlp_rows(128), *mlp_rows(512)]


if __name__ == "__main__":
    print(table(rows()))
