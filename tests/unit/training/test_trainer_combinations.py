"""What the configuration allows, two settings at a time: each pair of them trains somewhere."""

from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

from bngan.batchnorm.calibration import calibrate
from bngan.batchnorm.layer import batch_layout
from bngan.generation.sampler import Sampler
from bngan.training.trainer import Trainer
from tests.unit.training.combinations import (
    AXES,
    BATCH,
    DATA,
    NORMS,
    Choice,
    all_pairs,
    configured,
    covering,
    pairs,
    stored,
)
from tests.unit.training.waits import NoWaits

STEPS = 4
STORED_AXES, CASES = stored()
REFUSED = {
    ("discriminator.attention=[5]", "network=mlp"),
    ("discriminator.attention=[5]", "network=transformer"),
    ("discriminator.batch_statistics=joint", "discriminator.norm=group"),
    ("discriminator.batch_statistics=joint", "discriminator.norm=instance"),
    ("discriminator.batch_statistics=joint", "discriminator.norm=layer"),
    ("discriminator.batch_statistics=joint", "discriminator.norm=none"),
    ("discriminator.batch_statistics=joint", "train.micro_batch=4"),
    ("discriminator.norm=instance", "network=mlp"),
    ("generator.attention=[5]", "network=mlp"),
    ("generator.attention=[5]", "network=transformer"),
    *(("generator.mapping=1", f"generator.norm={norm}") for norm in NORMS),
    ("generator.norm=instance", "network=mlp"),
    ("generator.norm_place=after_activation", "network=transformer"),
    ("train.label_smoothing=0.1", "train.loss=hinge"),
    ("train.label_smoothing=0.1", "train.loss=inverted_minimax"),
    ("train.label_smoothing=0.1", "train.loss=relativistic"),
    ("train.label_smoothing=0.1", "train.loss=wasserstein"),
}
"""Pairs of values that no configuration may have."""


def without_waits(update: Callable[..., Any]) -> Callable[..., Any]:
    def run(*arguments: Any) -> Any:
        with NoWaits():
            return update(*arguments)

    return run


def value(setting: tuple[str, int]) -> str:
    return f"{setting[0]}={AXES[setting[0]][setting[1]]}"


def test_every_pair_that_can_be_is_in_a_case() -> None:
    assert STORED_AXES == AXES, "run python -m tests.unit.training.combinations"
    missing = all_pairs().difference(*map(pairs, CASES))
    assert {(value(one), value(other)) for one, other in missing} == REFUSED


@pytest.mark.full
def test_the_cases_are_those_that_a_search_finds_today() -> None:
    found, refused = covering()
    assert found == CASES
    assert {(value(one), value(other)) for one, other in refused} == REFUSED


@pytest.mark.parametrize("choice", CASES, ids=range(len(CASES)))
def test_what_is_allowed_trains_and_can_be_sampled(choice: Choice) -> None:
    model, train = configured(choice)
    trainer = Trainer(model, train, DATA.spec, seed=1)
    before = {
        name: parameter.detach().clone()
        for network in (trainer.generator, trainer.discriminator)
        for name, parameter in network.named_parameters(prefix=type(network).__name__)
    }
    with mock.patch.object(trainer, "_update", without_waits(trainer._update)):
        means = trainer.fit(DATA, STEPS * BATCH)
    assert np.isfinite(list(means.values())).all()
    for network in (trainer.generator, trainer.discriminator):
        changed = set[bool]()
        for name, parameter in network.named_parameters(prefix=type(network).__name__):
            assert parameter.isfinite().all(), name
            moved = (parameter - before[name]).abs().max() > 1e-4
            changed.add(bool(moved))
            assert parameter.requires_grad or not moved, name
        assert True in changed
    labels = torch.from_numpy(DATA.labels[:BATCH]) if model.conditional else None
    with torch.no_grad(), batch_layout([BATCH], track=False):
        logits = trainer.discriminator(torch.randn(BATCH, 3, 9, 9), labels)
        images = trainer.generator(torch.randn(BATCH, 6), labels)
    assert logits.std() > 1e-4
    assert images.std(dim=0).max() > 1e-4
    sampler = Sampler(model, DATA.spec, trainer.ema.module.state_dict())
    calibrate(sampler.generator, lambda: sampler.calibration_batches(200))
    images = sampler.images(0, range(5))
    assert images.shape == (5, 9, 9, 3)
    difference = images[3].astype(int) - sampler.images(0, [3])[0]
    assert np.abs(difference).max() <= 1
