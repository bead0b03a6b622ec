"""Exponential moving average of the generator, with its half-life counted in images."""

import copy

import torch
from torch import nn

from bngan.networks.norms import iterate_spectral_norms


class ExponentialMovingAverage:
    """Keeps ``module`` = average of the trained network's parameters; buffers are copied.

    An old value's weight halves with every ``half_life`` images, whatever the batch size. The
    half-life starts at 5 % of the images seen and grows up to the configured one, so that the random
    start is forgotten early (StyleGAN2-ADA's ramp-up). The copied batch-norm statistics belong to
    the current weights, not to the average: calibrate before use. Spectral norms are the average's own;
    of a network in evaluation mode, whose weights are not trained, they stay.
    """

    def __init__(self, network: nn.Module, half_life: float) -> None:
        self.module = copy.deepcopy(network).eval().requires_grad_(False)
        self.half_life = half_life

    @torch.no_grad()
    def update(self, network: nn.Module, batch_size: int, images_seen: int) -> None:
        """Move towards ``network`` after a step of ``batch_size`` images."""
        half_life = min(self.half_life, 0.05 * images_seen)
        decay = 0.5 ** (batch_size / half_life) if half_life > 0 else 0.0
        averaged = [p.data for p in self.module.parameters()]
        current = [p.detach() for p in network.parameters()]
        torch._foreach_lerp_(averaged, current, 1 - decay)
        buffers = zip(self.module.named_buffers(), network.buffers(), strict=True)
        for (name, mine), theirs in buffers:
            if ".parametrizations." not in name:
                mine.copy_(theirs)
        if network.training:
            iterate_spectral_norms(self.module)
