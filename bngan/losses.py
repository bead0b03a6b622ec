"""Adversarial losses per sample, as functions of the discriminator's logits.

With D = sigmoid(logits), ``minimax`` is V(D, G) = E[log D(x)] + E[log(1 - D(G(z)))] of Goodfellow et
al. 2014, eq. 1: D ascends it, G descends its second term. ``non_saturating`` (ibid., section 3)
keeps D's part and lets G ascend E[log D(G(z))], whose gradient does not vanish when D wins.
All are written with softplus, so no logarithm of zero can occur.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch.nn.functional as F
from torch import Tensor

LossName = Literal["non_saturating", "minimax"]


class Loss(NamedTuple):
    """Losses to be *minimised*; logits and results have shape ``(N,)``."""

    discriminator_real: Callable[[Tensor], Tensor]
    discriminator_fake: Callable[[Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]


def _minus_log_probability(logits: Tensor) -> Tensor:
    return F.softplus(-logits)


def _minus_log_complement(logits: Tensor) -> Tensor:
    return F.softplus(logits)


def _log_complement(logits: Tensor) -> Tensor:
    return -F.softplus(logits)


LOSSES: dict[LossName, Loss] = {
    "non_saturating": Loss(_minus_log_probability, _minus_log_complement, _minus_log_probability),
    "minimax": Loss(_minus_log_probability, _minus_log_complement, _log_complement),
}
