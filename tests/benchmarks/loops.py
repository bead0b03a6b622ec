"""Training steps as others write them with torch: DCGAN's networks, the article's, and two loops."""

from collections.abc import Callable, Iterator
from itertools import cycle, pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bngan.data.dataset import ImageSpec
from tests.benchmarks.rates import Work

LATENT, WIDTH, UNITS = 100, 64, 128
Step = Callable[[Tensor], object]
PRECISION = "bfloat16" if torch.cpu._is_avx512_bf16_supported() else "float32"
"""Ours and the bare loop's: bfloat16 where an x86 processor multiplies it."""


def dcgan(channels: int = 3, side: int = 32, width: int = WIDTH) -> tuple[nn.Module, nn.Module]:
    """Networks of PyTorch's example, at 32x32 pixels or another power of two from 8 on."""
    widths = [width * 2**level for level in range(side.bit_length() - 3)]

    def up(before: int, after: int) -> list[nn.Module]:
        layer = nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False)
        return [layer, nn.BatchNorm2d(after), nn.ReLU(True)]

    def down(before: int, after: int) -> list[nn.Module]:
        layer = nn.Conv2d(before, after, 4, 2, 1, bias=False)
        return [layer, nn.BatchNorm2d(after), nn.LeakyReLU(0.2, True)]

    first = nn.ConvTranspose2d(LATENT, widths[-1], 4, 1, 0, bias=False)
    generator = nn.Sequential(
        nn.Unflatten(1, (LATENT, 1, 1)),
        *(first, nn.BatchNorm2d(widths[-1]), nn.ReLU(True)),
        *(layer for after, before in reversed([*pairwise(widths)]) for layer in up(before, after)),
        *(nn.ConvTranspose2d(width, channels, 4, 2, 1, bias=False), nn.Tanh()),
    )
    discriminator = nn.Sequential(
        *(nn.Conv2d(channels, width, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, True)),
        *(layer for before, after in pairwise(widths) for layer in down(before, after)),
        *(nn.Conv2d(widths[-1], 1, 4, 1, 0, bias=False), nn.Flatten(0)),
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
        one, zero = real.new_ones(len(real)), real.new_zeros(len(real))
        discriminator.zero_grad()
        loss = F.binary_cross_entropy(discriminator(real).sigmoid(), one)
        loss.backward()
        fake = generator(torch.randn(len(real), LATENT, device=real.device))
        other = F.binary_cross_entropy(discriminator(fake.detach()).sigmoid(), zero)
        other.backward()
        d.step()
        generator.zero_grad()
        F.binary_cross_entropy(discriminator(fake).sigmoid(), one).backward()
        g.step()
        (loss + other).item()

    return step


def bare(
    networks: tuple[nn.Module, nn.Module], precision: str = PRECISION, capturable: bool = False
) -> Step:
    """Channels last, D frozen in G's step, fused Adam."""
    for network in networks:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    generator, discriminator = networks
    options: dict[str, Any] = {"fused": True, "capturable": capturable}
    g, d = (torch.optim.Adam(n.parameters(), 2e-4, (0.5, 0.999), **options) for n in networks)
    device = next(generator.parameters()).device
    enabled = precision == "bfloat16"
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=enabled)

    def step(real: Tensor) -> None:
        real = real.contiguous(memory_format=torch.channels_last)
        with autocast:
            fake = generator(torch.randn(len(real), LATENT, device=device))
            loss = F.softplus(-discriminator(real)) + F.softplus(discriminator(fake.detach()))
        loss.mean().backward()
        d.step()
        d.zero_grad()
        discriminator.requires_grad_(False)
        with autocast:
            loss = F.softplus(-discriminator(fake))
        loss.mean().backward()
        g.step()
        g.zero_grad()
        discriminator.requires_grad_(True)

    return step


def batches(count: int, images: ImageSpec) -> Iterator[Tensor]:
    """Eight of noise, for ever."""
    return cycle(torch.rand(8, count, *images.shape) * 2 - 1)


def work(step: Step, reals: Iterator[Tensor], steps: int) -> Work:
    """So many steps; amount: images."""

    def run() -> float:
        images = 0
        for _ in range(steps):
            real = next(reals)
            step(real)
            images += len(real)
        return float(images)

    return run
