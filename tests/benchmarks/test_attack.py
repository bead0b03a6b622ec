"""The loss of an attack is the distance that scores are made of, and training lowers it."""

import numpy as np
import pytest
import torch

from bngan.data.dataset import ImageSpec
from bngan.generation.sampler import Sampler
from bngan.metrics.classifier import untrained_extractor
from bngan.metrics.fid import frechet_distance
from bngan.networks.config import ModelConfig
from bngan.networks.factory import build_generator
from tests.benchmarks.attack import FrechetLoss, Strength, attack, restart

SPEC = ImageSpec((1, 8, 8))


def test_the_loss_is_the_frechet_distance() -> None:
    random = np.random.default_rng(0)
    real, fake = random.normal(size=(300, 5)), random.normal(0.5, 2, (200, 5))
    loss = FrechetLoss(real, memory=200)
    loss(torch.from_numpy(fake[100:]))
    found = loss(torch.from_numpy(fake[:100]))
    assert found.item() == pytest.approx(frechet_distance(fake, real), rel=1e-9)


def test_an_attack_lowers_the_distance() -> None:
    model, extractor = ModelConfig(network="mlp"), untrained_extractor(SPEC.shape)
    sampler = Sampler(model, SPEC, build_generator(model, SPEC).state_dict())
    restart(sampler, seed=1)
    real = extractor(np.random.default_rng(0).integers(0, 256, (300, 8, 8, 1), np.uint8)).features

    def distance() -> float:
        return frechet_distance(extractor(sampler.images(0, range(300))).features, real)

    before = distance()
    attack(sampler, {extractor: real}, Strength(steps=30, lr=1e-3, batch=64, memory=128))
    assert distance() < 0.7 * before
