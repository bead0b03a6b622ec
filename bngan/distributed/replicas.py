"""Compare the state of the workers, which must stay identical, bit for bit."""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from bngan.distributed.checksums import CorruptionError, digest
from bngan.distributed.collectives import gather_shards, take_received, world_size


@torch.no_grad()
def assert_replicas_equal(state: Mapping[str, Any]) -> None:
    """Check that all workers hold the same bits in ``state``, and have received the same sums.

    A collective.

    Args:
        state: tensors and numbers in nested dicts and lists, with equal keys on all workers.

    Raises:
        CorruptionError: on every worker, naming the first tensor that differs, and the workers.
    """
    if world_size() == 1:
        return
    names, digests = zip(("sums received", take_received()), *_digests(state, ""), strict=True)
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    everyone = gather_shards(torch.tensor([digests], device=device), world_size()).tolist()
    columns = dict(zip(names, zip(*everyone, strict=True), strict=True))
    if differing := [name for name, column in columns.items() if len(set(column)) > 1]:
        first, more = differing[0], len(differing) - 1
        others = f" and {more} more" if more else ""
        raise CorruptionError(f"workers {_sides(columns[first])} differ in {first}{others}")


def _digests(value: Any, name: str) -> Iterator[tuple[str, int]]:
    """Yield a digest of every tensor and number in ``value``, by name."""
    if isinstance(value, Mapping | list | tuple):
        parts = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, part in parts:
            yield from _digests(part, f"{name}.{key}" if name else str(key))
    elif isinstance(value, Tensor):
        yield name, int(digest(value))
    else:
        content = hashlib.sha256(repr(value).encode()).digest()[:8]
        yield name, int.from_bytes(content, "little", signed=True)


def _sides(column: tuple[int, ...]) -> str:
    """Return the workers with equal digests side by side, such as ``0, 2 and 1``."""
    ranks = {each: [str(r) for r, own in enumerate(column) if own == each] for each in column}
    return " and ".join(", ".join(side) for side in ranks.values())
