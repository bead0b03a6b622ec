"""Deterministic arithmetic: fixed convolution algorithms, no TF32, subnormal numbers as zero."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

_SUBNORMAL = 5e-324
"""Number that equals zero in a thread that flushes subnormals."""


@contextmanager
def exact_convolutions() -> Iterator[None]:
    """Fix the order of sums in convolutions on a GPU, and do not round float32 to TF32.

    By default torch lets cuDNN choose other kernels: a training could not be repeated, and an
    extractor's features would depend on the processor.
    """
    kept = {"enabled": torch.backends.cudnn.enabled, "benchmark": False}
    with torch.backends.cudnn.flags(**kept, deterministic=True, allow_tf32=False):
        yield


@contextmanager
def flushing_subnormals() -> Iterator[None]:
    """Treat float32 numbers below 1.2e-38 as zero, in this thread and in those that it starts.

    Gradients get that small when a discriminator is sure, and Intel's processors then take 100
    times as long for a matrix product.
    """
    before = _SUBNORMAL == 0.0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)
