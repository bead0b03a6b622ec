"""Batches of training steps: images, labels and random numbers, prepared ahead of a GPU."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from bngan.data.dataset import ImageSplit
from bngan.data.images import from_uint8
from bngan.training.config import DataOnDevice

_AHEAD = 4
"""Number of batches that a thread prepares ahead of a GPU."""
_FREE_SHARE = 0.25
_CHUNK = 1 << 28
"""Bytes that move to a device at a time."""
_Argument = TypeVar("_Argument")
_Result = TypeVar("_Result")


class Batch(NamedTuple):
    """This worker's slice of a global batch, on the device.

    Attributes:
        indices: positions of the images in the data set, ``(n,)`` int64.
        real: images ``(n, C, H, W)`` in [-1, 1].
        labels: classes ``(n,)`` int64; None for a model without classes.
        noise: random numbers of the step, as the trainer's ``draw_noise`` returns them.
    """

    indices: Tensor
    real: Tensor
    labels: Tensor | None
    noise: tuple[Tensor, ...]


class HostBatch(NamedTuple):
    """A batch before its way to the device; ``images`` are None if they lie there already."""

    indices: Tensor
    images: Tensor | None
    labels: Tensor
    noise: tuple[Tensor, ...]


class BatchLoader:
    """Load batches of ``data`` to a device.

    Args:
        data: the training images.
        device: device of the batches.
        dtype: type of images and noise.
        policy: whether all images are copied to the device once; see ``ExecutionConfig``.
    """

    def __init__(
        self, data: ImageSplit, device: torch.device, dtype: torch.dtype, policy: DataOnDevice
    ) -> None:
        self.data, self.device, self.dtype = data, device, dtype
        self._pinned = device.type == "cuda"
        self._levels = _copied(data.images, device) if _fits(data, device, policy) else None

    def batches(
        self, prepare: Callable[[int], HostBatch], starts: Iterable[int]
    ) -> Iterator[Batch]:
        """Yield the batches of ``prepare`` on the device; a thread prepares them ahead of a GPU."""
        if self.device.type != "cuda":
            yield from (self.load(prepare(start)) for start in starts)
            return
        # Memory is pinned for the thread's own device, which by default is the first one.
        here = torch.empty(0, device=self.device).device
        for batch in prefetched(prepare, starts, _AHEAD, partial(torch.cuda.set_device, here)):
            yield self.load(batch)

    def prepare(self, indices: np.ndarray, noise: tuple[Tensor, ...]) -> HostBatch:
        """Gather a batch on the CPU; any thread may call this."""
        if self._levels is None:
            levels, labels = self.data.take(indices)
            images = self._pin(torch.from_numpy(levels))
        else:
            images, labels = None, self.data.labels_of(indices)
        columns = (self._pin(torch.from_numpy(column)) for column in (indices, labels))
        return HostBatch(next(columns), images, next(columns), tuple(map(self._pin, noise)))

    def load(self, batch: HostBatch) -> Batch:
        """Return the batch on the device; the caller does not wait for the copies."""
        indices, labels = self._move(batch.indices), self._move(batch.labels)
        if self._levels is None:
            assert batch.images is not None  # noqa: S101 (for the type checker)
            images = self._move(batch.images)
        else:
            images = self._levels[indices % len(self._levels)]
            if self.data.flip:
                mirrored = (indices >= len(self._levels)).view(-1, 1, 1, 1)
                images = torch.where(mirrored, images.flip(2), images)
        noise = tuple(self._move(values).to(self.dtype) for values in batch.noise)
        return Batch(indices, from_uint8(images).to(self.dtype), labels, noise)

    def _pin(self, tensor: Tensor) -> Tensor:
        return tensor.pin_memory() if self._pinned else tensor

    def _move(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device, non_blocking=True)


def _fits(data: ImageSplit, device: torch.device, policy: DataOnDevice) -> bool:
    if policy != "auto" or device.type != "cuda":
        return policy == "always"
    free, _ = torch.cuda.mem_get_info(device)
    return data.images.nbytes <= _FREE_SHARE * free


def _copied(images: np.ndarray, device: torch.device) -> Tensor:
    """Return all images on the device, without a second copy of them in memory."""
    copy = torch.empty(images.shape, dtype=torch.uint8, device=device)
    rows = max(_CHUNK // max(images[:1].nbytes, 1), 1)
    for start in range(0, len(images), rows):
        copy[start : start + rows] = torch.from_numpy(np.array(images[start : start + rows]))
    return copy


def prefetched(
    make: Callable[[_Argument], _Result],
    arguments: Iterable[_Argument],
    ahead: int,
    prepare_thread: Callable[[], object] | None = None,
) -> Iterator[_Result]:
    """Yield ``make(argument)`` of each argument, in order.

    A thread makes up to ``ahead`` results before they are needed; 0: there is no thread.

    Args:
        prepare_thread: called once in the thread.
    """
    if not ahead:
        yield from map(make, arguments)
        return
    waiting = deque[Future[_Result]]()
    with ThreadPoolExecutor(1, "batches", prepare_thread) as pool:
        try:
            for argument in arguments:
                waiting.append(pool.submit(make, argument))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
