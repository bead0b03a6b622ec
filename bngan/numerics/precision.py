"""How numbers are added and multiplied: the same way every time, and no less exactly than is said."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

_SUBNORMAL = 5e-324
"""Equal to zero in a thread that takes such numbers for zero."""


@contextmanager
def exact_convolutions() -> Iterator[None]:
    """Convolutions on a GPU repeat their sums in the same order, and float32 is not rounded to TF32.

    By default torch lets cuDNN choose kernels of which neither is true: a training could not be
    repeated, and an extractor's features would depend on the processor.
    """
    kept = {"enabled": torch.backends.cudnn.enabled, "benchmark": False}
    with torch.backends.cudnn.flags(**kept, deterministic=True, allow_tf32=False):
        yield


@contextmanager
def flushing_subnormals() -> Iterator[None]:
    """Takes float32 numbers below 1.2e-38 for zero in this thread and those that it starts.

    Gradients come to that where a discriminator is sure, and Intel's processors then take 100 times
    as long for a matrix product.
    """
    before = _SUBNORMAL == 0.0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)
