"""Adversarial losses per sample, as functions of the discriminator's logits.

With D = sigmoid(logits), ``minimax`` is V(D, G) = E[log D(x)] + E[log(1 - D(G(z)))] of Goodfellow
et al. 2014, eq. 1: D ascends V, G descends its second term. ``non_saturating`` (same paper, section
3) keeps D's part and lets G ascend E[log D(G(z))], whose gradient does not vanish when D wins. The
code uses softplus, so no logarithm of zero can occur.

Other losses take logits as they are: ``hinge`` (Lim & Ye 2017), ``wasserstein`` (Arjovsky et al.
2017; it needs a penalty or spectral norm), ``least_squares`` with targets 1 and 0 (Mao et al.
2017), and ``relativistic``, which judges each fake image by the real one that it is paired with
(Jolicoeur-Martineau 2019; as RpGAN in Huang et al. 2024). ``inverted_minimax`` has both signs of
``minimax`` wrong, as the article's listing prints them; it serves to study that.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch.nn.functional as F
from torch import Tensor

LossName = Literal[
    "non_saturating",
    "minimax",
    "hinge",
    "wasserstein",
    "least_squares",
    "relativistic",
    "inverted_minimax",
]


class Loss(NamedTuple):
    """Losses to *minimise*, as functions of real and fake images' logits; shapes are ``(N,)``."""

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor, Tensor], Tensor]
    smoothing: Callable[[Tensor, float], Tensor] | None = None
    """Term that a real image's target of 1 - s adds to D's loss (Salimans et al. 2016), as a
    function of the image's logit and s; None for losses without targets."""
    paired: bool = False
    """True if the generator's loss uses real images too."""


def _cross_entropy(real: Tensor, fake: Tensor) -> Tensor:
    return F.softplus(-real) + F.softplus(fake)


def _logit_share(real: Tensor, smoothing: float) -> Tensor:
    return smoothing * real


LOSSES: dict[LossName, Loss] = {
    "non_saturating": Loss(_cross_entropy, lambda real, fake: F.softplus(-fake), _logit_share),
    "minimax": Loss(_cross_entropy, lambda real, fake: -F.softplus(fake), _logit_share),
    "hinge": Loss(lambda real, fake: F.relu(1 - real) + F.relu(1 + fake), lambda real, fake: -fake),
    "wasserstein": Loss(lambda real, fake: fake - real, lambda real, fake: -fake),
    "least_squares": Loss(
        lambda real, fake: ((real - 1).square() + fake.square()) / 2,
        lambda real, fake: (fake - 1).square() / 2,
        lambda real, smoothing: smoothing * (real - 1) + smoothing**2 / 2,
    ),
    "relativistic": Loss(
        lambda real, fake: F.softplus(fake - real),
        lambda real, fake: F.softplus(real - fake),
        paired=True,
    ),
    "inverted_minimax": Loss(
        lambda real, fake: -_cross_entropy(real, fake), lambda real, fake: F.softplus(fake)
    ),
}
