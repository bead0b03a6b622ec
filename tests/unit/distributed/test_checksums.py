"""Checksums that any one bit changes."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bngan.distributed.checksums import checksum, checksum_of, digest

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8)


def bytes_of(tensor: torch.Tensor) -> np.ndarray:
    """The bytes themselves."""
    return tensor.view(-1).view(torch.uint8).numpy()


@given(data=st.data(), dtype=st.sampled_from(DTYPES), length=st.integers(1, 70))
def test_any_one_bit_changes_them(data: st.DataObject, dtype: torch.dtype, length: int) -> None:
    tensor = torch.arange(length).to(dtype)
    before = checksum_of(tensor), int(digest(tensor))
    position = data.draw(st.integers(0, tensor.nbytes - 1))
    bytes_of(tensor)[position] ^= 1 << data.draw(st.integers(0, 7))
    assert checksum_of(tensor) != before[0]
    assert int(digest(tensor)) != before[1]


@pytest.mark.parametrize("size", [1, 100, (1 << 16) - 1, 1 << 16, (1 << 16) + 5, 3 << 20])
def test_every_part_of_a_message_counts(size: int) -> None:
    message = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    before = checksum(message.data)
    for position in (0, size // 2, size - 1):
        message[position] ^= 16
        assert checksum(message.data) != before
        message[position] ^= 16
    assert checksum(message.data) == before


def test_every_part_of_a_tensor_counts() -> None:
    tensor = torch.zeros(700_001)
    seen = {int(digest(tensor))}
    for position in (0, 1 << 18, (1 << 19) - 1, 700_000):
        tensor[position] = 1.0
        seen.add(int(digest(tensor)))
    assert len(seen) == 5


def test_changes_of_two_elements_do_not_cancel() -> None:
    tensor = torch.ones(100)
    words = tensor.view(torch.int32)
    before = int(digest(tensor))
    words[3] += 1
    words[60] -= 1
    assert int(digest(tensor)) != before


def test_the_layout_in_memory_does_not_count_and_all_nan_are_one() -> None:
    images = torch.randn(2, 3, 4, 5)
    assert digest(images) == digest(images.to(memory_format=torch.channels_last))
    quiet, other = torch.tensor([0x7FC00000, 0x7FC00001], dtype=torch.int32).view(torch.float32)
    assert digest(quiet) == digest(other) != digest(torch.tensor(torch.inf))
    assert digest(torch.tensor(-0.0)) != digest(torch.tensor(0.0))
