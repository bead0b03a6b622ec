"""A training step on one core, beside loops that others write: DCGAN, and the article's MLP.

``python -m tests.benchmarks.steps``. The example is the loop of PyTorch's DCGAN example: float32, real
and fake images backward one after the other, gradients of D computed in G's step as well. The bare loop
is the best that is usually written by hand: bfloat16, channels last, D frozen in G's step, fused Adam.
All are in float32 where the processor does not multiply bfloat16. Keras takes part where
``KERAS_PYTHON`` names an interpreter that has it; ``keras_peer.py`` is its side.
"""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bngan.data import ImageSpec
from bngan.networks import DiscriminatorConfig, GeneratorConfig, ModelConfig
from bngan.optimization import OptimizationConfig
from bngan.trainer import Trainer
from tests.benchmarks.rates import Row, Work, rates, table

LATENT, WIDTH, UNITS = 100, 64, 128
Step = Callable[[Tensor], object]
PRECISION = "bfloat16" if torch.cpu._is_avx512_bf16_supported() else "float32"
"""Ours and the bare loop's: what this processor multiplies fastest."""
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


def ours(model: ModelConfig, spec: ImageSpec, batch: int, **options: Any) -> Trainer:
    """The library's."""
    settings: dict[str, Any] = {"precision": PRECISION, "beta1": 0.5, "batch_size": batch}
    return Trainer(model, OptimizationConfig(**settings | options), spec, 0)


def our_dcgan(batch: int, **options: Any) -> Trainer:
    """The library's, of the example's networks."""
    norms = GeneratorConfig(WIDTH), DiscriminatorConfig(WIDTH, norm="batch")
    model = ModelConfig("dcgan", LATENT, False, *norms)
    return ours(model, ImageSpec((3, 32, 32)), batch, **options)


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


@contextmanager
def keras() -> Iterator[Callable[[str, int], dict[str, Work]]]:
    """From networks and a number of steps to Keras' works, each of a variant; none without Keras."""
    interpreter = os.environ.get("KERAS_PYTHON")
    if not interpreter:
        yield lambda networks, steps: {}
        return
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    command, pipe = [interpreter, str(Path(__file__).with_name("keras_peer.py"))], subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, text=True, bufsize=1, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def ask(name: str, steps: int) -> float:
            print(name, steps, file=process.stdin, flush=True)
            return float(process.stdout.readline())  # type: ignore[union-attr]

        def works(networks: str, steps: int) -> dict[str, Work]:
            return {kind: partial(ask, f"{networks} {kind}", steps) for kind in KERAS}

        yield works
        process.stdin.close()


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
    batches = cycle(torch.rand(8, batch, 3, 32, 32) * 2 - 1)
    steps: dict[str, Step] = {
        "example": example(dcgan()),
        "bare": bare(dcgan()),
        "ours": our_dcgan(batch).step,
    }
    operations = _operations(steps["ours"], next(batches))
    works = {name: work(step, batches, 10) for name, step in steps.items()}
    with keras() as peers:
        found = rates(works | {"ceiling": _matrix_product()}, others=peers("dcgan", 10))
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
    body = {"width": UNITS, "depth": 2, "norm": "batch", "norm_place": "after_activation"}
    model = ModelConfig(
        "mlp",
        LATENT,
        False,
        GeneratorConfig(**body),  # type: ignore[arg-type]
        DiscriminatorConfig(**body, norm_first=True, allow_blind=True),  # type: ignore[arg-type]
    )
    batches, spec = cycle(torch.rand(8, batch, 1, 28, 28) * 2 - 1), ImageSpec((1, 28, 28))
    steps: dict[str, Step] = {
        "example": example(mlp()),
        "bare": bare(mlp()),
        "ours": ours(model, spec, batch).step,
    }
    works = {name: work(step, batches, 50) for name, step in steps.items()}
    with keras() as peers:
        found = rates(works, others=peers(f"mlp{batch}", 50))
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
