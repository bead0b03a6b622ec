"""What a training step is, against the same step written out in plain torch."""

from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import _SpectralNorm

from bngan.batchnorm.layer import SyncBatchNorm
from bngan.data.dataset import ImageSplit, sample_order
from bngan.data.images import from_uint8
from bngan.networks.config import DiscriminatorConfig, GeneratorConfig, ModelConfig
from bngan.networks.factory import build_discriminator, build_generator
from bngan.networks.norms import affine_parameters
from bngan.training.augmentation import augment
from bngan.training.config import OptimizationConfig
from bngan.training.losses import LOSSES
from bngan.training.noise import augmentation_draws, mixture_weights, noise_blocks, training_latents
from bngan.training.penalties import PENALTIES, DiscriminatorOutput
from bngan.training.trainer import Trainer

DATA = ImageSplit(np.random.default_rng(0).integers(0, 256, (30, 9, 9, 1), dtype=np.uint8))
BATCH, SEED, STEPS = 8, 3, 4
ROWS = noise_blocks(np.arange(BATCH))
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


def plain(config: ModelConfig, options: OptimizationConfig) -> tuple[nn.Module, nn.Module]:
    """The textbook loop in torch alone; D's running statistics are those of its own step."""
    torch.manual_seed(SEED)
    g, d = (build(config, DATA.spec).double() for build in (build_generator, build_discriminator))
    rates = (d, options.lr_discriminator or 1e-3), (g, 1e-3)
    optimizers = [torch.optim.Adam(n.parameters(), lr, (0.5, 0.999)) for n, lr in rates]
    joint = config.discriminator.batch_statistics == "joint"
    loss, weight = LOSSES[options.loss], options.penalty_weight * options.penalty_every
    for step in range(STEPS):
        order = sample_order(SEED, step * BATCH + np.arange(BATCH), len(DATA))
        real = from_uint8(DATA.images[order]).double()
        fake = g(training_latents(SEED, step, ROWS, 5).double())
        draws = augmentation_draws(SEED, step, ROWS).double().unbind(1)
        real = augment(real, draws[0], options.augment).requires_grad_()
        detached = augment(fake.detach(), draws[1], options.augment).requires_grad_()
        if joint:
            real_logits, fake_logits = d(torch.cat([real, detached])).split(BATCH)
        else:
            real_logits, fake_logits = d(real), d(detached)
        value = loss.discriminator(real_logits, fake_logits).mean()
        value = value + options.label_smoothing * real_logits.mean()
        buffers = [buffer.clone() for buffer in d.buffers()]
        if step % options.penalty_every == 0:
            if "r1" in options.penalty:
                value = value + weight * 0.5 * gradient_norms(real_logits, real).square().mean()
            if "r2" in options.penalty:
                value = value + weight * 0.5 * gradient_norms(fake_logits, detached).square().mean()
            if options.penalty == "gradient_penalty":
                share = mixture_weights(SEED, step, ROWS).double()
                mixed = (share * real + (1 - share) * detached).detach().requires_grad_()
                value = value + weight * (gradient_norms(d(mixed), mixed) - 1).square().mean()
        optimizers[0].zero_grad()
        value.backward()
        optimizers[0].step()
        if (step + 1) % options.discriminator_steps == 0:
            seen = augment(fake, draws[2], options.augment)
            logits = d(torch.cat([real.detach(), seen]))[BATCH:] if joint else d(seen)
            optimizers[1].zero_grad()
            loss.generator(d(real.detach()), logits).mean().backward()
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
    compare(config, penalty=penalty, penalty_weight=3.0, penalty_every=3)


@pytest.mark.parametrize(
    "options",
    [
        {"loss": "relativistic", "penalty": "r1_and_r2"},
        {"loss": "hinge", "lr_discriminator": 3e-3},
        {"label_smoothing": 0.1},
        {"augment": ["translation", "cutout", "color"], "penalty": "gradient_penalty"},
        {"augment": ["translation"], "loss": "relativistic"},
        {"discriminator_steps": 2, "penalty": "r2", "penalty_every": 2},
    ],
    ids=str,
)
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_so_it_is_with_other_losses_and_more_steps(options: Any, norm: str) -> None:
    compare(model("dcgan", norm=norm), **options)


def compare(config: ModelConfig, **options: Any) -> None:
    trainer = trained(config, **options)
    expected = plain(config, trainer.config)
    for ours, theirs in zip((trainer.generator, trainer.discriminator), expected, strict=True):
        for key, value in theirs.state_dict().items():
            # Where D steps alone, G's batch norms do not count what it makes.
            if trainer.config.discriminator_steps > 1 and ("running" in key or "tracked" in key):
                continue
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
    judged = DiscriminatorOutput(images, (images.flatten(1) * weight).sum(1))
    unused = DiscriminatorOutput(images, torch.zeros(6))
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


def test_only_gamma_and_beta_move_where_only_they_are_trainable() -> None:
    trainer = trained(model("dcgan"), trainable="affine")
    fresh = Trainer(model("dcgan"), trainer.config, DATA.spec, SEED, dtype=torch.float64)
    affine = {id(parameter) for parameter in affine_parameters(trainer.generator)}
    pairs = zip(trainer.generator.named_parameters(), fresh.generator.parameters(), strict=True)
    for (name, now), before in pairs:
        assert torch.equal(now, before) != (id(now) in affine), name
    assert not torch.equal(trainer.discriminator.logit.weight, fresh.discriminator.logit.weight)


def test_bfloat16_is_for_layers_and_float32_for_what_is_kept() -> None:
    optimization = OptimizationConfig(batch_size=BATCH, lr=1e-3, precision="bfloat16")
    config = model("dcgan", norm="batch", weight_norm="spectral")
    trainer = Trainer(config, optimization, DATA.spec, SEED)
    seen, inside = list[torch.dtype](), list[torch.dtype]()
    norm = next(m for m in trainer.generator.modules() if isinstance(m, SyncBatchNorm))
    norm.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].dtype))
    spectral = next(m for m in trainer.discriminator.modules() if isinstance(m, _SpectralNorm))
    spectral.register_forward_hook(lambda module, inputs, output: inside.append(output.dtype))
    exact = Trainer(config, replace(optimization, precision="float32"), DATA.spec, SEED)
    for each in (trainer, exact):
        each.fit(DATA, BATCH)
    assert set(seen) == {torch.bfloat16}
    assert set(inside) == {torch.float32}
    tensors = [*trainer.generator.state_dict().values(), *trainer.ema.module.parameters()]
    assert {t.dtype for t in tensors if t.is_floating_point()} == {torch.float32}
    for ours, theirs in zip(trainer.generator.buffers(), exact.generator.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0.02, atol=0.02)


def test_the_learning_rate_follows_its_schedule() -> None:
    options = {"lr_schedule": "linear", "lr_decay_start": BATCH, "lr_decay_end": 3 * BATCH}
    trainer, rates = trained(model(), **options), list[float]()
    for images in range(BATCH, 5 * BATCH, BATCH):
        trainer.fit(DATA, STEPS * BATCH + images)
        rates.append(trainer.optimizer_g.param_groups[0]["lr"])
    assert rates == [0.0] * 4
    again = Trainer(model(), trainer.config, DATA.spec, SEED)
    for images, rate in ((1, 1e-3), (2, 1e-3), (3, 0.5e-3), (4, 0.0)):
        again.fit(DATA, images * BATCH)
        assert again.optimizer_d.param_groups[0]["lr"] == pytest.approx(rate)


def test_mirrored_images_are_images_of_their_own() -> None:
    split = ImageSplit(DATA.images, np.arange(30), flip=True)
    assert len(split) == 60
    images, labels = split.take(np.array([3, 33]))
    assert labels.tolist() == [3, 3]
    np.testing.assert_array_equal(images[0], DATA.images[3])
    np.testing.assert_array_equal(images[1], DATA.images[3, :, ::-1])
    assert split.spec.shape == (1, 9, 9)


@pytest.mark.parametrize("flushed", [False, True])
def test_a_step_takes_subnormal_numbers_for_zero_and_nothing_else_does(flushed: bool) -> None:
    smallest, seen = torch.tensor([1e-30]), list[float]()
    trainer = trained(model())
    hook = trainer.generator.register_forward_hook(
        lambda *_: seen.append((smallest * 1e-10).item())
    )
    torch.set_flush_denormal(flushed)
    try:
        trainer.fit(DATA, (STEPS + 1) * BATCH)
        assert ((smallest * 1e-10).item() == 0) == flushed
    finally:
        torch.set_flush_denormal(False)
        hook.remove()
    assert seen == [0.0]
