"""What a training step is, against the same step written out in plain torch."""

from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import _SpectralNorm

from bngan.data import ImageSplit, sample_order
from bngan.images import from_uint8
from bngan.latents import mixture_weights, training_latents
from bngan.networks import (
    DiscriminatorConfig,
    GeneratorConfig,
    ModelConfig,
    build_discriminator,
    build_generator,
)
from bngan.optimization import OptimizationConfig
from bngan.penalties import PENALTIES, Judged
from bngan.trainer import Trainer

DATA = ImageSplit(np.random.default_rng(0).integers(0, 256, (30, 9, 9, 1), dtype=np.uint8))
BATCH, SEED, STEPS = 8, 3, 4
_power = _SpectralNorm._power_method


def model(network: Any = "mlp", **discriminator: Any) -> ModelConfig:
    part = DiscriminatorConfig(8, 2, **discriminator)
    return ModelConfig(network, 5, False, GeneratorConfig(8), part)


def trained(config: ModelConfig, **options: Any) -> Trainer:
    optimization = OptimizationConfig(batch_size=BATCH, lr=1e-3, **options)
    trainer = Trainer(config, optimization, DATA.spec, SEED, dtype=torch.float64)
    trainer.fit(DATA, STEPS * BATCH)
    return trainer


def gradient_norms(logits: Tensor, images: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.flatten(1).norm(dim=1)


def plain(config: ModelConfig, penalty: str, every: int) -> tuple[nn.Module, nn.Module]:
    """The textbook loop in torch alone; D's running statistics are those of its own step."""
    torch.manual_seed(SEED)
    g, d = (build(config, DATA.spec).double() for build in (build_generator, build_discriminator))
    optimizers = [torch.optim.Adam(n.parameters(), 1e-3, (0.5, 0.999)) for n in (d, g)]
    joint = config.discriminator.batch_statistics == "joint"
    for step in range(STEPS):
        order = sample_order(SEED, step * BATCH, BATCH, len(DATA))
        real = from_uint8(DATA.images[order]).double().requires_grad_()
        fake = g(training_latents(SEED, step, BATCH, 5).double())
        detached = fake.detach()
        if joint:
            real_logits, fake_logits = d(torch.cat([real, detached])).split(BATCH)
        else:
            real_logits, fake_logits = d(real), d(detached)
        loss = F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()
        buffers = [buffer.clone() for buffer in d.buffers()]
        if step % every == 0 and penalty == "r1":
            loss = loss + 3 * every * 0.5 * gradient_norms(real_logits, real).square().mean()
        if step % every == 0 and penalty == "gradient_penalty":
            weights = mixture_weights(SEED, step, BATCH).double()
            mixed = (weights * real.detach() + (1 - weights) * detached).requires_grad_()
            loss = loss + 3 * every * (gradient_norms(d(mixed), mixed) - 1).square().mean()
        optimizers[0].zero_grad()
        loss.backward()
        optimizers[0].step()
        logits = d(torch.cat([real.detach(), fake]))[BATCH:] if joint else d(fake)
        optimizers[1].zero_grad()
        F.softplus(-logits).mean().backward()
        optimizers[1].step()
        for buffer, before in zip(d.buffers(), buffers, strict=True):
            buffer.data.copy_(before)
    return g, d


@pytest.mark.parametrize("network", ["mlp", "dcgan"])
@pytest.mark.parametrize("penalty", ["none", "r1", "gradient_penalty"])
@pytest.mark.parametrize(
    "discriminator", [{}, {"norm": "batch"}, {"norm": "batch", "batch_statistics": "joint"}]
)
def test_a_step_is_the_textbooks(network: str, penalty: Any, discriminator: Any) -> None:
    config = model(network, **discriminator)
    trainer = trained(config, penalty=penalty, penalty_weight=3.0, penalty_every=3)
    for ours, theirs in zip(
        (trainer.generator, trainer.discriminator), plain(config, penalty, 3), strict=True
    ):
        for key, value in theirs.state_dict().items():
            torch.testing.assert_close(ours.state_dict()[key], value, rtol=0, atol=1e-10, msg=key)


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_accumulation_does_not_change_the_weights(norm: Any) -> None:
    config = model(norm=norm, weight_norm="spectral")
    options = {"norm_batch": 4, "penalty": "gradient_penalty"}
    at_once, accumulated = (trained(config, micro_batch=m, **options) for m in (None, 4))
    for part in ("generator", "discriminator"):
        ours, theirs = (getattr(t, part).named_parameters() for t in (accumulated, at_once))
        for (name, value), (_, expected) in zip(ours, theirs, strict=True):
            torch.testing.assert_close(value, expected, rtol=0, atol=1e-10, msg=name)
    for ours, theirs in zip(
        accumulated.generator.buffers(), at_once.generator.buffers(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


@pytest.mark.parametrize("options", [{}, {"micro_batch": 4, "norm_batch": 4}])
@pytest.mark.parametrize("penalty", ["r1", "gradient_penalty"])
def test_spectral_norm_iterates_once_a_step(penalty: Any, options: Any) -> None:
    trainer = trained(model(weight_norm="spectral"), penalty=penalty, **options)
    norms = sum(isinstance(m, _SpectralNorm) for m in trainer.discriminator.modules())
    with mock.patch.object(_SpectralNorm, "_power_method", autospec=True) as iterate:
        iterate.side_effect = _power
        trainer.fit(DATA, trainer.images_seen + 5 * BATCH)
    assert norms == 3
    assert [call.args[2] for call in iterate.call_args_list] == [1] * 5 * norms


def test_penalties_of_a_linear_discriminator_are_known() -> None:
    weight = torch.tensor([3.0, 4.0])
    images = torch.zeros(6, 2, 1, 1, requires_grad=True)
    judged = Judged(images, (images.flatten(1) * weight).sum(1))
    unused = Judged(images, torch.zeros(6))
    assert PENALTIES["r1"](judged, unused, lambda: unused).tolist() == [12.5] * 6
    assert PENALTIES["r2"](unused, judged, lambda: unused).tolist() == [12.5] * 6
    assert PENALTIES["gradient_penalty"](unused, unused, lambda: judged).tolist() == [16.0] * 6


def test_means_are_over_the_steps_that_had_a_value() -> None:
    trainer = trained(model(), penalty="r1", penalty_every=4)
    lazily = [trainer.fit(DATA, trainer.images_seen + BATCH) for _ in range(4)]
    assert ["penalty" in means for means in lazily] == [True, False, False, False]
    again = trained(model(), penalty="r1", penalty_every=4)
    assert again.fit(DATA, again.images_seen + 4 * BATCH)["penalty"] == pytest.approx(
        lazily[0]["penalty"]
    )
