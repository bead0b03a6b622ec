"""What the network families share."""

from collections.abc import Iterator
from typing import Literal

from torch import nn

NormName = Literal["batch", "none"]


def normalization(name: NormName, features: int, spatial: bool) -> Iterator[nn.Module]:
    """No layer, or a batch norm over ``features`` channels with gamma ~ N(1, 0.02), beta = 0.

    That initialisation is DCGAN's (Radford et al. 2015).
    """
    if name == "batch":
        norm = nn.BatchNorm2d(features) if spatial else nn.BatchNorm1d(features)
        nn.init.normal_(norm.weight, 1.0, 0.02)
        yield norm


def needs_bias(norm: NormName) -> bool:
    """A bias in front of a batch norm is cancelled by it: its gradient would be pure rounding."""
    return norm == "none"
