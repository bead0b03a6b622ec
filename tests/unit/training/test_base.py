"""Losses, noise, order, averaging, checkpoints: the small parts of training."""

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bngan.data.dataset import ImageSplit, sample_order
from bngan.generation.latents import calibration_batches, indexed_latents
from bngan.networks.config import DiscriminatorConfig, GeneratorConfig, ModelConfig
from bngan.serialization.checkpoint import load_checkpoint, save_checkpoint
from bngan.training.base import NonFiniteError
from bngan.training.config import OptimizationConfig
from bngan.training.ema import ExponentialMovingAverage
from bngan.training.noise import noise_blocks, training_latents
from bngan.training.trainer import Trainer


def test_latents_depend_on_seed_and_index_only() -> None:
    alone = indexed_latents(5, [1234], 16)
    among = indexed_latents(5, range(1230, 1240), 16)
    assert torch.equal(alone[0], among[4])
    assert not torch.equal(alone, indexed_latents(6, [1234], 16))
    assert torch.equal(
        indexed_latents(5, [3], 16, truncation=0.5), 0.5 * indexed_latents(5, [3], 16)
    )
    assert indexed_latents(5, [], 16).shape == (0, 16)
    assert torch.equal(indexed_latents(-1, [2**63], 4), indexed_latents(2**64 - 1, [2**63], 4))


def test_latents_are_standard_normal_and_streams_are_disjoint() -> None:
    sampled = indexed_latents(0, range(2000), 32)
    assert abs(sampled.mean()) < 0.02
    assert abs(sampled.std() - 1) < 0.02
    trained = training_latents(0, 0, noise_blocks(np.arange(2000)), 32)
    calibrated = torch.cat([latents for (latents,) in calibration_batches(32, (), 2000)])
    pools = [set(x.flatten().tolist()) for x in (sampled, trained, calibrated)]
    for one, other in ((0, 1), (1, 2), (0, 2)):  # float32 normals meet by chance now and then
        assert len(pools[one] & pools[other]) < 0.05 * len(pools[one])


def test_an_epoch_visits_every_image_once_in_an_order_of_its_own() -> None:
    first, second = sample_order(0, np.arange(10), 10), sample_order(0, np.arange(10, 20), 10)
    assert sorted(first) == sorted(second) == list(range(10))
    assert list(first) != list(second)
    pieces = [sample_order(0, start + np.arange(7), 10) for start in range(0, 21, 7)]
    np.testing.assert_array_equal(np.concatenate(pieces), sample_order(0, np.arange(21), 10))
    with pytest.raises(ValueError, match="empty"):
        sample_order(0, np.arange(1), 0)


def test_the_average_halves_old_weights_every_half_life() -> None:
    network = nn.Linear(1, 1, bias=False)
    network.register_buffer("counter", torch.zeros(1))
    nn.init.zeros_(network.weight)
    average = ExponentialMovingAverage(network, half_life=100)
    nn.init.ones_(network.weight)
    network.counter += 3
    for _ in range(4):  # long after the ramp-up: 100 images in four steps
        average.update(25, images_seen=10_000)
    assert average.module.weight.item() == pytest.approx(0.5)
    assert average.module.counter.item() == 3
    early = ExponentialMovingAverage(network, half_life=1e9)
    nn.init.zeros_(network.weight)
    early.update(25, images_seen=25)
    assert early.module.weight.item() < 1e-5


DATA = ImageSplit(np.random.default_rng(0).integers(0, 256, (20, 4, 4, 1), dtype=np.uint8))
COLOURED = ImageSplit(np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), dtype=np.uint8))


def tiny_trainer(network="mlp", data=DATA, **options) -> Trainer:
    model = ModelConfig(network, 4, False, GeneratorConfig(8), DiscriminatorConfig(8))
    return Trainer(
        model, OptimizationConfig(batch_size=6, ema_half_life=20, **options), data.spec, seed=1
    )


@pytest.mark.parametrize(("network", "data"), [("mlp", DATA), ("dcgan", COLOURED)])
def test_interrupted_training_continues_bit_for_bit(network, data, tmp_path) -> None:
    """Files keep no memory layout, and Adam's kernel goes by it: convolutions lie channels last."""
    whole, first, second = (tiny_trainer(network, data) for _ in range(3))
    whole.fit(data, 60)
    means = whole.fit(data, 120)
    first.fit(data, 60)
    save_checkpoint(tmp_path / "middle", first.state_dict())
    second.load_state_dict(load_checkpoint(tmp_path / "middle"))
    assert second.fit(data, 120) == means
    save_checkpoint(tmp_path / "a", whole.state_dict())
    save_checkpoint(tmp_path / "b", second.state_dict())
    for name in ("state.safetensors", "state.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_training_goes_to_the_first_step_past_its_goal_and_no_further() -> None:
    trainer = tiny_trainer()
    trainer.fit(DATA, 7)
    assert trainer.images_seen == 12
    assert trainer.fit(DATA, 12) == {}


@pytest.mark.parametrize("network", ["generator", "discriminator"])
def test_gradients_that_are_not_finite_stop_before_the_step_and_can_be_rolled_back(network) -> None:
    trainer = tiny_trainer(rollback_lr_factor=0.5)
    trainer.fit(DATA, 12)
    saved = copy.deepcopy(trainer.state_dict())
    part = getattr(trainer, network)
    hook = part.register_forward_hook(lambda module, inputs, output: output * float("nan"))
    with pytest.raises(NonFiniteError, match=r"gradients of the \w+ are not finite"):
        trainer.fit(DATA, 18)
    hook.remove()
    # Batch norm has seen the batch: the state is spoilt, not the parameters alone.
    trainer.roll_back(saved)
    assert trainer.rollbacks == 1
    for part in ("generator", "discriminator", "ema"):
        state = trainer.state_dict()[part]
        assert all(torch.equal(state[key], value) for key, value in saved[part].items())
    trainer.fit(DATA, 18)
    assert trainer.optimizer_g.param_groups[0]["lr"] == pytest.approx(0.5 * 2e-4)
    again = tiny_trainer()
    again.load_state_dict(saved)
    again.fit(DATA, 18)
    ours, theirs = trainer.state_dict()["generator"], again.state_dict()["generator"]
    assert any(not torch.equal(ours[key], theirs[key]) for key in ours)  # other noise
    resumed = tiny_trainer(rollback_lr_factor=0.5)
    resumed.load_state_dict(trainer.state_dict())
    assert resumed.rollbacks == 1


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_a_state_can_be_loaded_and_rolled_back_to_twice(optimizer) -> None:
    """Nothing that training moves may be shared with the state, Adam's step counter included."""
    trainer = tiny_trainer(optimizer=optimizer)
    trainer.fit(DATA, 30)
    state = trainer.state_dict()
    kept = copy.deepcopy(state)
    expected = tiny_trainer(optimizer=optimizer)
    expected.load_state_dict(copy.deepcopy(kept))
    expected.fit(DATA, 120)
    first, second = tiny_trainer(optimizer=optimizer), tiny_trainer(optimizer=optimizer)
    first.load_state_dict(state)
    second.load_state_dict(state)
    first.fit(DATA, 120)
    assert_equal(state, kept)
    second.fit(DATA, 120)
    assert_equal(first.state_dict(), expected.state_dict())
    assert_equal(second.state_dict(), expected.state_dict())
    once = []
    for _ in range(2):
        second.rollbacks = 0
        second.roll_back(state)
        second.fit(DATA, 60)
        once.append(copy.deepcopy(second.state_dict()))
    assert_equal(*once)
    assert_equal(state, kept)


def assert_equal(ours: Any, theirs: Any) -> None:
    """Compare nested dictionaries and lists, and tensors bit by bit."""
    if isinstance(ours, Mapping):
        assert ours.keys() == theirs.keys()
        ours, theirs = list(ours.values()), list(theirs.values())
    if isinstance(ours, list | tuple):
        for one, other in zip(ours, theirs, strict=True):
            assert_equal(one, other)
    elif isinstance(ours, torch.Tensor):
        assert torch.equal(ours, theirs)
    else:
        assert ours == theirs


def test_training_does_not_touch_the_global_random_state() -> None:
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    tiny_trainer().fit(DATA, 12)
    assert torch.equal(before, torch.random.get_rng_state())
