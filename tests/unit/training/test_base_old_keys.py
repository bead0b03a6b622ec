"""Trainings that earlier code began go on: their checkpoints call weights by position."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from bngan.data.dataset import ImageSplit
from bngan.training.config import OptimizationConfig
from bngan.training.supervised import SupervisedConfig, SupervisedTrainer
from bngan.training.trainer import Trainer
from tests.unit.networks.golden import SPEC, configured, with_old_keys

_random = np.random.default_rng(0)
DATA = ImageSplit(_random.integers(0, 256, (20, 16, 16, 1), dtype=np.uint8), np.arange(20) % 2)
BATCH = 4
OLD = {"generator": "generator", "discriminator": "discriminator", "ema": "generator"}
"""Networks in a state, and the part of the configuration that describes each."""


def adversarial(case: str) -> Trainer:
    return Trainer(configured(case), OptimizationConfig(batch_size=BATCH), SPEC, seed=1)


def supervised(case: str) -> SupervisedTrainer:
    model, options = configured(case), OptimizationConfig(batch_size=BATCH)
    initial = Trainer(model, options, SPEC, seed=1).generator.state_dict()
    weights = SupervisedConfig(feature_weight=0)
    return SupervisedTrainer(model, options, weights, DATA, 1, initial, torch.Tensor.detach)


def as_old(state: dict[str, Any], case: str) -> dict[str, Any]:
    parts = {name: part for name, part in OLD.items() if name in state}
    return state | {name: with_old_keys(state[name], case, part) for name, part in parts.items()}


@pytest.mark.parametrize("build", [adversarial, supervised])
@pytest.mark.parametrize(
    "case",
    [
        "mlp with a mapping network and weight norm",
        "dcgan by class with attention and spectral norm",
        "resnet with norms after activations",
        "transformer by class with spectral norm",
    ],
)
def test_an_old_state_goes_on_as_if_nothing_had_been(
    case: str, build: Callable[[str], Any]
) -> None:
    whole, first, resumed = (build(case) for _ in range(3))
    whole.fit(DATA, 6 * BATCH)
    first.fit(DATA, 3 * BATCH)
    old = as_old(copy.deepcopy(first.state_dict()), case)
    assert old["ema"].keys() != first.state_dict()["ema"].keys()
    resumed.load_state_dict(old)
    resumed.fit(DATA, 6 * BATCH)
    expected, found = whole.state_dict(), resumed.state_dict()
    for name in OLD.keys() & expected.keys():
        assert list(found[name]) == list(expected[name])
        for key, value in expected[name].items():
            assert torch.equal(found[name][key], value), (name, key)


@pytest.mark.parametrize("build", [adversarial, supervised])
def test_an_old_state_of_another_network_is_refused(build: Callable[[str], Any]) -> None:
    case = "mlp by class, norms after activations"
    other, trainer = build(case), build("mlp")
    with pytest.raises(RuntimeError, match="state_dict"):
        trainer.load_state_dict(as_old(other.state_dict(), case))
