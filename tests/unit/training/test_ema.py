"""The averaged generator."""

import pytest
import torch
from torch import nn

from bngan.training.ema import ExponentialMovingAverage


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
