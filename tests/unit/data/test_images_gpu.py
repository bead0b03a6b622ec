"""Images on a CUDA device; skipped where there is none."""

import numpy as np
import pytest
import torch

from bngan.data.images import from_uint8

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def test_a_gpu_gets_the_bits_that_a_cpu_gets() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    assert torch.equal(from_uint8(levels, "cuda").cpu(), from_uint8(levels))
