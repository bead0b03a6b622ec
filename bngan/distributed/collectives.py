"""Data parallelism without DistributedDataParallel, exact for uneven and empty shards.

The rule everywhere: a worker's loss is the *sum* over its own samples divided by the *global*
batch, and gradients are summed over workers. That is the gradient of the global mean, for any
shards. Without a process group every function works as for one worker.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import pairwise
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.distributed as dist
from torch import Tensor, nn

from bngan.distributed import shared_memory
from bngan.distributed.checksums import checksum_of
from bngan.numerics.torch_internals import copy_all, opaque_operator


def world_size() -> int:
    """Return the number of workers; 1 without a process group."""
    return dist.get_world_size() if _initialized() else 1


def rank() -> int:
    """Return this worker's number; 0 without a process group."""
    return dist.get_rank() if _initialized() else 0


_alone: ContextVar[bool] = ContextVar("without workers", default=False)


@contextmanager
def without_workers() -> Iterator[None]:
    """Let this worker act alone in the block: ``world_size`` is 1, and nothing sends a message."""
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


def _initialized() -> bool:
    return dist.is_available() and dist.is_initialized() and not _alone.get()


def shard_slices(count: int) -> list[slice]:
    """Return each worker's consecutive slice of ``range(count)``; lengths differ by at most one."""
    workers = world_size()
    bounds = [count * worker // workers for worker in range(workers + 1)]
    return [slice(start, stop) for start, stop in pairwise(bounds)]


def shard_slice(count: int) -> slice:
    """Return this worker's slice of ``range(count)``."""
    return shard_slices(count)[rank()]


_memories = WeakKeyDictionary[Any, shared_memory.SharedMemory | None]()
"""Shared memory by process group; None if its workers are not all on one machine."""
_received = WeakKeyDictionary[Any, int]()
"""Checksum of the sums on CPUs that this worker has received lately, by process group."""


def _shared_memory() -> shared_memory.SharedMemory | None:
    group = dist.group.WORLD
    if group not in _memories:
        _memories[group] = shared_memory.connect() if dist.get_backend() == "gloo" else None
    return _memories[group]


def take_received() -> int:
    """Return a checksum of all sums on CPUs since the last call; equal sums have equal ones."""
    return _received.pop(dist.group.WORLD, 0)


@opaque_operator("sum_in_place(Tensor(a!) tensor) -> ()", lambda tensor: None)
def sum_in_place(tensor: Tensor) -> None:
    """Replace contiguous ``tensor`` by its sum over workers; a collective.

    Workers of gloo that are all on one machine sum through memory, with the same bits on every
    worker.
    """
    memory = _shared_memory() if tensor.is_cpu else None
    if memory is None:
        dist.all_reduce(tensor)
    else:
        memory.sum(tensor)
    if tensor.is_cpu:
        group = dist.group.WORLD
        _received[group] = hash((_received.get(group, 0), checksum_of(tensor)))


@opaque_operator(
    "sum_over_workers(Tensor tensor) -> Tensor",
    lambda tensor: torch.empty_like(tensor, memory_format=torch.contiguous_format),
)
def _sum_over_workers(tensor: Tensor) -> Tensor:
    total = tensor.clone(memory_format=torch.contiguous_format)
    sum_in_place(total)
    return total


class _AllReduceSum(torch.autograd.Function):
    """Sum over workers. Its adjoint is itself, so it can be differentiated any number of times."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total: Tensor = _sum_over_workers(tensor)
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        return _AllReduceSum.apply(grad_outputs[0])


def all_reduce_sum(tensor: Tensor) -> Tensor:
    """Return the sum of ``tensor`` over workers, differentiable in every worker's input.

    A collective: every worker has to call it (and run its backward), with equal shapes.
    """
    if world_size() == 1:
        return tensor
    summed = _AllReduceSum.apply if torch.is_grad_enabled() else _sum_over_workers
    total: Tensor = summed(tensor)
    return total


def gather_shards(local: Tensor, count: int) -> Tensor:
    """Join the workers' slices ``shard_slice(count)`` into ``(count, ...)`` on every worker."""
    if world_size() == 1:
        return local
    whole = local.new_zeros(count, *local.shape[1:])
    whole[shard_slice(count)] = local
    sum_in_place(whole)  # sums with zeros are exact
    return whole


def broadcast_from_rank0(*values: float) -> list[float]:
    """Return worker 0's values on every worker, for decisions that all workers must share.

    A collective.
    """
    if world_size() == 1:
        return list(values)
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    message = torch.tensor(values, dtype=torch.float64, device=device)
    dist.broadcast(message, src=0)
    return message.tolist()


def max_over_workers(value: int) -> int:
    """Return the greatest of the workers' values; a collective."""
    if world_size() == 1:
        return value
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    message = torch.tensor(value, device=device)
    dist.all_reduce(message, dist.ReduceOp.MAX)
    return int(message)


def broadcast_flag(flag: bool) -> bool:
    """Return worker 0's ``flag`` on every worker; a collective."""
    return broadcast_from_rank0(flag) == [1.0]


@torch.no_grad()
def broadcast_module(module: nn.Module) -> None:
    """Overwrite parameters and buffers with worker 0's."""
    if world_size() > 1:
        for tensor in module.state_dict().values():
            dist.broadcast(tensor, src=0)


@torch.no_grad()
def sum_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Replace every gradient by its sum over workers, in one flat all-reduce of fixed order.

    A parameter that no local sample reached counts as zero, so all workers send the same layout.
    """
    if world_size() == 1:
        return
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    gradients = [_as_in_memory(p.grad, p) for p in parameters if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    sum_in_place(flat)
    parts = torch.split(flat, [gradient.numel() for gradient in gradients])
    views = [part.view_as(g) for g, part in zip(gradients, parts, strict=True)]
    copy_all(gradients, views)


def _as_in_memory(tensor: Tensor, like: Tensor) -> Tensor:
    """Return a view with its dimensions in the order in which those of ``like`` lie in memory.

    A copy in the order of memory is several times as fast as one across it.
    """
    return tensor.permute(sorted(range(like.dim()), key=like.stride, reverse=True))
