"""What needs a CUDA device; skipped where there is none."""

import copy
import os
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn

from bngan.batchnorm.layer import SyncBatchNorm
from bngan.data.dataset import ImageSplit
from bngan.networks.config import DiscriminatorConfig, GeneratorConfig, ModelConfig
from bngan.training.base import NonFiniteError
from bngan.training.config import DataOnDevice, ExecutionConfig, OptimizationConfig
from bngan.training.trainer import Trainer
from tests.ports import reserve_port

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
DATA = ImageSplit(np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8))


MODEL = ModelConfig("dcgan", 8, False, GeneratorConfig(8), DiscriminatorConfig(8, norm="batch"))


SPECTRAL = ModelConfig(
    "resnet",
    8,
    False,
    GeneratorConfig(8, norm="self_modulated_batch"),
    DiscriminatorConfig(8, weight_norm="spectral", attention=[8]),
)


def trained(
    device: str,
    steps: int,
    execution: ExecutionConfig | None = None,
    model: ModelConfig = MODEL,
    **options: Any,
) -> dict[str, torch.Tensor]:
    settings: dict[str, Any] = {"norm_batch": 4, "penalty": "r1", "batch_size": 8}
    optimization = OptimizationConfig(**settings | options)
    rest = DATA.spec, 1, device, torch.float64
    trainer = Trainer(model, optimization, *rest, execution=execution)
    trainer.fit(DATA, 8 * steps)
    return {key: value.cpu() for key, value in trainer.ema.module.state_dict().items()}


@pytest.mark.parametrize("steps", [1, 5])
def test_training_on_a_gpu_follows_the_cpu(steps: int) -> None:
    expected = trained("cpu", steps)
    for key, value in trained("cuda", steps).items():
        torch.testing.assert_close(value, expected[key], rtol=1e-6, atol=1e-8, msg=key)


@pytest.mark.parametrize("policy", ["always", "never"])
def test_images_take_either_way_to_the_gpu(policy: DataOnDevice) -> None:
    expected = trained("cuda", 20)
    for key, value in trained("cuda", 20, ExecutionConfig(data_on_device=policy)).items():
        assert torch.equal(value, expected[key]), key


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"penalty_every": 3, "discriminator_steps": 2},
        {"micro_batch": 4, "lr_schedule": "linear", "lr_decay_end": 200, "optimizer": "adamw"},
        {"penalty": "gradient_penalty", "augment": ["color", "translation", "cutout"]},
        {"model": SPECTRAL},
    ],
    ids=str,
)
def test_a_captured_training_follows_the_eager_one(options: dict[str, Any]) -> None:
    expected = trained("cuda", 12, **options)
    for key, value in trained("cuda", 12, ExecutionConfig(compile="step"), **options).items():
        torch.testing.assert_close(value, expected[key], rtol=1e-9, atol=1e-9, msg=key)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_captured_steps_resume_and_roll_back(precision: Any) -> None:
    optimization = OptimizationConfig(batch_size=8, precision=precision)
    states = []
    for compile in ("off", "step"):
        execution = ExecutionConfig(compile=compile)  # type: ignore[arg-type]
        trainer = Trainer(MODEL, optimization, DATA.spec, 1, "cuda", execution=execution)
        trainer.fit(DATA, 48)
        state = copy.deepcopy(trainer.state_dict())
        trainer.fit(DATA, 96)
        trainer.roll_back(state)
        trainer.fit(DATA, 104)
        states.append(trainer.ema.module.state_dict())
    for key, value in states[0].items():
        torch.testing.assert_close(states[1][key], value, rtol=1e-3, atol=1e-4, msg=key)


def test_a_step_does_not_wait_for_the_gpu() -> None:
    trainer = Trainer(MODEL, OptimizationConfig(batch_size=8), DATA.spec, seed=1, device="cuda")
    batches = trainer._batches(DATA, 80)
    for _ in range(3):
        trainer.train_on_batch(next(batches))
    torch.cuda.set_sync_debug_mode("error")
    try:
        for batch in batches:
            trainer.train_on_batch(batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert trainer.images_seen == 80


def test_gradients_that_are_not_finite_change_nothing_on_a_gpu() -> None:
    trainer = Trainer(MODEL, OptimizationConfig(batch_size=8), DATA.spec, seed=1, device="cuda")
    trainer.fit(DATA, 24)
    before = [parameter.clone() for parameter in trainer.discriminator.parameters()]
    trainer.step(torch.full((8, 3, 16, 16), torch.nan, device="cuda"))
    assert all(map(torch.equal, before, trainer.discriminator.parameters()))
    with pytest.raises(NonFiniteError, match="gradients are not finite"):
        trainer.fit(DATA, 48)


def test_a_training_in_float32_can_be_repeated_bit_for_bit() -> None:
    def once() -> dict[str, torch.Tensor]:
        model = ModelConfig("dcgan", 8, False, GeneratorConfig(32), DiscriminatorConfig(32))
        trainer = Trainer(model, OptimizationConfig(batch_size=8), DATA.spec, seed=1, device="cuda")
        trainer.fit(DATA, 400)
        return dict(trainer.ema.module.state_dict())

    again = once()
    for key, value in once().items():
        assert torch.equal(value, again[key]), key


def test_synchronised_batch_norm_on_nccl(monkeypatch: pytest.MonkeyPatch) -> None:
    """One process poses as a group of two parts: the synchronised path against torch's on the CPU."""
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(reserve_port()))
    for module in ("batchnorm.layer", "distributed.collectives"):
        monkeypatch.setattr(f"bngan.{module}.world_size", lambda: 2)
    reduced = mock.Mock(side_effect=dist.all_reduce)
    monkeypatch.setattr("bngan.distributed.collectives.dist.all_reduce", reduced)
    dist.init_process_group("nccl", rank=0, world_size=1)
    try:
        x = torch.randn(8, 3, 4, 4) * 2 + 5
        ours, theirs = SyncBatchNorm(3).cuda(), nn.BatchNorm2d(3)
        one, other = x.cuda().requires_grad_(), x.clone().requires_grad_()
        for norm, values in ((ours, one), (theirs, other)):
            output = norm(values)
            (gradient,) = torch.autograd.grad(output.tanh().sum(), values, create_graph=True)
            gradient.square().sum().backward()
            norm.output = output
            norm.first = torch.autograd.grad(norm(values).tanh().sum(), norm.parameters())
        assert reduced.call_count >= 4  # two backwards, and those of the second derivative
        torch.testing.assert_close(ours.output.cpu(), theirs.output, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(one.grad.cpu(), other.grad, rtol=1e-4, atol=1e-5)
        for gradient, expected in zip(ours.first, theirs.first, strict=True):
            torch.testing.assert_close(gradient.cpu(), expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(ours.running_var.cpu(), theirs.running_var)
    finally:
        dist.destroy_process_group()
        os.environ.pop("MASTER_PORT", None)
