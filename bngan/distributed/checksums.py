"""Checksums that find altered bits in messages, and in tensors that all workers share."""

from ctypes import c_uint8
from zlib import crc32

import numpy as np
import torch
from torch import Tensor

_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_FACTOR = -7046029254386353131
"""2^64 over the golden ratio, as an odd int64."""
_MANY = 1 << 16
"""Bytes from which on a sum takes less time than a CRC."""
_PART = 1 << 18
"""Elements that are multiplied at once."""


class CorruptionError(RuntimeError):
    """Report bits that changed in a worker's memory or in a message; all workers raise it."""


def checksum(data: memoryview) -> int:
    """Return a checksum of 64 bits that any one changed bit of ``data`` (bytes) changes.

    It is a CRC of few bytes. The sum of many takes a tenth of the time: of their 64-bit words,
    modulo 2^64.
    """
    if len(data) < _MANY:
        return crc32(data)
    whole = len(data) & -8
    words = np.frombuffer(data, np.uint64, whole // 8)
    return (int(words.sum()) + int.from_bytes(data[whole:], "little")) % (1 << 64)


def checksum_of(tensor: Tensor) -> int:
    """Return the checksum of the bytes of a contiguous tensor on the CPU, without an operator."""
    return checksum(memoryview((c_uint8 * tensor.nbytes).from_address(tensor.data_ptr())))


@torch.no_grad()
def digest(tensor: Tensor) -> Tensor:
    """Return 64 bits, ``()`` int64 on the tensor's device, that any one changed bit changes.

    Words have weights by their place, so that changes of several words do not cancel. All NaN are
    the same.
    """
    flat = tensor.detach().reshape(-1)
    if flat.is_floating_point():
        largest = torch.finfo(flat.dtype).max
        flat = flat.nan_to_num(largest, torch.inf, -torch.inf)
    words = flat.view(_INTEGERS[flat.element_size()])
    places = torch.arange(min(len(words), _PART), device=words.device) * _FACTOR | 1
    total = places.new_zeros(())
    for part in torch.split(words, _PART):
        total = total * _FACTOR + (part * places[: len(part)]).sum()
    return total
