"""The number of workers is not a hyper-parameter."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bngan.data import ImageSplit
from bngan.distributed import assert_replicas_equal
from bngan.networks import DiscriminatorConfig, GeneratorConfig, ModelConfig
from bngan.trainer import OptimizationConfig, Trainer
from tests.conftest import run_workers

STEPS = 20
MLP = ModelConfig("mlp", 8, GeneratorConfig(16, 2), DiscriminatorConfig(16, 2))
DCGAN = ModelConfig("dcgan", 8, GeneratorConfig(4), DiscriminatorConfig(4))


def prepared(folder: Path) -> Path:
    random = np.random.default_rng(0)
    np.save(folder / "train_images.npy", random.integers(0, 256, (37, 9, 9, 1), dtype=np.uint8))
    np.save(folder / "train_labels.npy", np.zeros(37, np.int64))
    return folder


def train(folder: Path, model: ModelConfig, batch: int, dtype: torch.dtype, steps: int) -> Any:
    data = ImageSplit(folder, "train")
    optimization = OptimizationConfig(batch_size=batch, lr=1e-3, ema_half_life=50)
    trainer = Trainer(model, optimization, data.image_shape, seed=3, dtype=dtype)
    records = list(trainer.fit(data, steps * batch, 5 * batch))
    assert_replicas_equal(trainer.generator, "generator")
    assert_replicas_equal(trainer.discriminator, "discriminator")
    state = trainer.state_dict()
    tensors = {
        **{
            f"{name}.{k}": v
            for name in ("generator", "discriminator", "ema")
            for k, v in state[name].items()
        },
        **{
            f"{name}.{i}.{k}": v
            for name in ("optimizer_g", "optimizer_d")
            for i, values in state[name]["state"].items()
            for k, v in values.items()
        },
    }
    return {key: value.detach().clone() for key, value in tensors.items()}, records


@pytest.mark.parametrize(
    ("workers", "model", "batch"),
    [(2, MLP, 16), (2, DCGAN, 16), (3, MLP, 10), (4, DCGAN, 10)],
    ids=["2-mlp", "2-dcgan", "3-mlp-uneven", "4-dcgan-uneven"],
)
def test_workers_follow_the_trajectory_of_one(
    workers: int, model: ModelConfig, batch: int, tmp_path: Path
) -> None:
    folder = prepared(tmp_path)
    expected, expected_records = train(folder, model, batch, torch.float64, STEPS)
    for tensors, records in run_workers(workers, train, folder, model, batch, torch.float64, STEPS):
        assert tensors.keys() == expected.keys()
        for key, value in expected.items():
            torch.testing.assert_close(tensors[key], value, rtol=0, atol=1e-9, msg=key)
        for ours, theirs in zip(records, expected_records, strict=True):
            assert ours == pytest.approx(theirs, abs=1e-9)


def test_one_float32_step_agrees(tmp_path: Path) -> None:
    folder = prepared(tmp_path)
    expected, _ = train(folder, DCGAN, 16, torch.float32, 1)
    for tensors, _ in run_workers(2, train, folder, DCGAN, 16, torch.float32, 1):
        for key, value in expected.items():
            if "optimizer" not in key:  # a first Adam step is lr * sign(gradient): scale-free
                torch.testing.assert_close(tensors[key], value, rtol=1e-4, atol=1e-5, msg=key)


def disagree() -> str:
    network = torch.nn.Linear(2, 2)
    with torch.no_grad():
        network.weight.fill_(1.0 if torch.distributed.get_rank() < 2 else 1.5)
        network.bias.zero_()
    try:
        assert_replicas_equal(network, "generator")
    except RuntimeError as error:
        return str(error)
    return ""


def test_replicas_that_differ_are_named_on_every_worker() -> None:
    for message in run_workers(3, disagree):
        assert "generator.weight" in message
