"""Exponential moving average of the generator, with its half-life counted in images."""

import copy

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from bngan.networks.norms import iterate_spectral_norms, parametrized
from bngan.numerics.torch_internals import copy_all


class ExponentialMovingAverage:
    """Keep ``module`` = average of the trained network's parameters; buffers are copied.

    The weight of an old value halves with every ``half_life`` images, for any batch size. The
    half-life starts at 5 % of the images seen and grows up to the configured one, so that the
    average forgets the random start early (StyleGAN2-ADA's ramp-up). The copied batch-norm
    statistics belong to the current weights, not to the average: calibrate before use. The average
    has spectral norms of its own. They stay as they are while the network is in evaluation mode, in
    which its weights are not trained.
    """

    def __init__(self, network: nn.Module, half_life: float) -> None:
        self.network, self.half_life = network, half_life
        self.module = copy.deepcopy(network).eval().requires_grad_(False)
        # In small networks the search for these takes longer than their averaging.
        self._parametrized = parametrized(self.module)
        self._averaged = [p.data for p in self.module.parameters()]
        self._current = [p.detach() for p in network.parameters()]
        kept = [name for name, _ in network.named_buffers() if ".parametrizations." not in name]
        pairs = [(self.module.get_buffer(name), network.get_buffer(name)) for name in kept]
        # One kernel copies tensors of one type.
        kinds = {mine.dtype for mine, _ in pairs}
        self._buffers = [
            list(zip(*(pair for pair in pairs if pair[0].dtype == kind), strict=True))
            for kind in sorted(kinds, key=str)
        ]

    @torch.no_grad()
    def update(self, batch_size: int, images_seen: int) -> None:
        """Move towards the trained network after its step of ``batch_size`` images."""
        half_life = min(self.half_life, 0.05 * images_seen)
        decay = 0.5 ** (batch_size / half_life) if half_life > 0 else 0.0
        move = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        move(self._averaged, self._current, None)
        for mine, theirs in self._buffers:
            copy_all(mine, theirs)
        if self.network.training:
            iterate_spectral_norms(self._parametrized)
