"""Losses, noise, order, averaging, checkpoints: the small parts of training."""

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from bngan.data.dataset import ImageSplit
from bngan.networks.config import DiscriminatorConfig, GeneratorConfig, ModelConfig
from bngan.serialization.checkpoint import load_checkpoint, save_checkpoint
from bngan.training.base import NonFiniteError
from bngan.training.config import OptimizationConfig
from bngan.training.trainer import Trainer

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


def test_a_bad_step_of_the_caller_is_reported_by_the_next_fit() -> None:
    trainer = tiny_trainer()
    trainer.fit(DATA, 12)
    before = copy.deepcopy(dict(trainer.discriminator.named_parameters()))
    trainer.step(torch.full((6, 1, 4, 4), torch.nan))
    assert_equal(dict(trainer.discriminator.named_parameters()), before)
    with pytest.raises(NonFiniteError, match="gradients are not finite"):
        trainer.fit(DATA, 24)


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
