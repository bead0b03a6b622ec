"""Batch normalisation with the same meaning on any device and for any number of workers.

``torch.nn.SyncBatchNorm`` refuses CPU tensors and cannot be differentiated twice. The
``SyncBatchNorm`` here has the state-dict keys of ``torch.nn.BatchNorm1d/2d/3d``, needs one
all-reduce forward and one backward, and weighs workers by their number of samples (zero included).
It is ``F.batch_norm`` for one worker, for groups that lie within one worker, and in evaluation.
Networks are built with torch's classes: ``synchronize`` swaps them for training, ``desynchronize``
swaps them back.

The batch, not the layer, determines which samples share statistics: ``batch_layout`` sets it for
the forward passes in its block.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bngan.batchnorm import native
from bngan.batchnorm.functional import SyncBatchNormFunction, join_groups
from bngan.distributed.collectives import all_reduce_sum, shard_slices, world_size
from bngan.numerics.torch_internals import BatchNormBase, UncheckedBatchNorm

NormBatch = Literal["global"] | int
"""Consecutive global indices that share statistics: the whole batch, or groups of this size."""


@dataclass(frozen=True)
class _Layout:
    sizes: list[int] | None = None
    track: bool = True
    whole: bool = False


_layout: ContextVar[_Layout] = ContextVar("batch layout", default=_Layout())  # noqa: B039 (frozen)


@contextmanager
def batch_layout(
    sizes: Sequence[int] | None = None, track: bool = True, whole: bool = False
) -> Iterator[None]:
    """Set the groups of samples that share statistics, for the forward passes in the block.

    Args:
        sizes: number of this worker's samples in each group of the joined batch, in order. It is 0
            for a group of other workers' samples, so that all workers give equally many sizes.
            None: one group.
        track: whether to update running statistics, once per group, in order.
        whole: whether each group's samples are all of one worker, for every group and worker. Then
            only running statistics need a message.
    """
    sizes = None if sizes is None else list(sizes)
    token = _layout.set(_Layout(sizes, track, whole))
    try:
        yield
    finally:
        _layout.reset(token)


def group_size(batch: int, norm_batch: NormBatch) -> int:
    """Return the number of samples of a global ``batch`` that share statistics."""
    return batch if norm_batch == "global" else norm_batch


def group_sizes(local: range, batch: int, norm_batch: NormBatch) -> list[int]:
    """Return the number of ``local`` indices of a global ``batch`` in each group.

    Raises:
        ValueError: if ``batch`` is not made of whole groups.
    """
    size = group_size(batch, norm_batch)
    if batch % size:
        raise ValueError(f"a batch of {batch} is not made of whole groups of {size}")
    starts = range(0, batch, size)
    return [max(0, min(local.stop, s + size) - max(local.start, s)) for s in starts]


def groups_are_whole(batch: int, norm_batch: NormBatch) -> bool:
    """Return whether each group of a global ``batch`` lies within one worker's part of it."""
    size = group_size(batch, norm_batch)
    return all(part.start % size == 0 for part in shard_slices(batch))


class SyncBatchNorm(UncheckedBatchNorm):
    """Batch norm over dimension 1 of ``(N, C, ...)`` input, 2D to 5D, across all workers.

    Statistics are those of each group of the joined batch: mean, biased variance for normalising,
    unbiased variance for ``running_var`` (Ioffe & Szegedy 2015, algorithms 1 and 2). In training
    with several workers every forward and every backward is a collective. Twice differentiable.

    Raises ``ValueError`` for other shapes, for a group with a single value per channel, and for a
    batch that the current layout does not cover.
    """

    plain: type[BatchNormBase] | None = None
    """Torch's class that ``synchronize`` replaced."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise ``(N, C, ...)``, N >= 0; float32 statistics for half-precision input."""
        if not 2 <= input.dim() <= 5:
            raise ValueError(f"batch norm takes 2D to 5D input, got {input.dim()}D")
        if not self.training:
            return super().forward(input)
        layout = _layout.get()
        sizes = layout.sizes or [len(input)]
        alone = world_size() == 1
        if alone and not len(input):
            raise ValueError("batch norm needs more than one value per channel")
        if sum(sizes) != len(input):
            raise ValueError(f"batch layout {sizes} does not cover a batch of {len(input)}")
        track = layout.track and self.track_running_stats
        if alone:
            parts = [self._alone(part, track) for part in torch.split(input, sizes) if len(part)]
            return join_groups(parts)
        if layout.whole:
            return self._whole(input, sizes, track)
        if self.momentum is not None and native.takes(input):
            return self._native(input, sizes, track)
        output, *moments = SyncBatchNormFunction.apply(  # type: ignore[no-untyped-call]
            input, self.weight, self.bias, self.running_mean, self.eps, sizes
        )
        if track:
            counts, mean, _, variance = moments
            self._follow(mean, variance * (counts / (counts - 1)))
        normalised: Tensor = output
        return normalised

    def _native(self, input: Tensor, sizes: list[int], track: bool) -> Tensor:
        running: tuple[Tensor | None, Tensor | None] = None, None
        if track:
            mean, variance, batches = running_statistics(self)
            batches.add_(len(sizes))
            running = mean, variance
        affine, settings = (self.weight, self.bias), (self.momentum, self.eps, sizes)
        output: Tensor = native.NativeSyncBatchNormFunction.apply(  # type: ignore[no-untyped-call]
            native.in_layout(input), *affine, running, *settings
        )
        return output

    def _whole(self, input: Tensor, sizes: list[int], track: bool) -> Tensor:
        """Normalise this worker's groups; running statistics take one message from all workers."""
        pairs: list[tuple[Tensor | None, Tensor | None]] = [(None, None)] * len(sizes)
        if track:
            mean, _, _ = running_statistics(self)
            moments = mean.new_zeros(2, len(sizes), self.num_features)
            pairs = list(zip(*moments, strict=True))
        parts = [  # with momentum 1, running statistics become the batch's
            F.batch_norm(part, *pair, self.weight, self.bias, True, 1.0, self.eps)
            for part, pair in zip(torch.split(input, sizes), pairs, strict=True)
            if len(part)
        ]
        if track:
            self._follow(*all_reduce_sum(moments))
        return join_groups(parts)

    def _alone(self, group: Tensor, track: bool) -> Tensor:
        if track:
            return super().forward(group)
        return F.batch_norm(group, None, None, self.weight, self.bias, True, 0.0, self.eps)

    @torch.no_grad()
    def _follow(self, means: Tensor, variances: Tensor) -> None:
        """Update running statistics by each group's mean and unbiased variance ``(G, C)``."""
        running_mean, running_var, batches = running_statistics(self)
        for mean, variance in zip(means, variances, strict=True):
            batches.add_(1)
            weight: Any = self.momentum
            if weight is None:  # a tensor: a number would make a GPU wait
                weight = batches.to(running_mean.dtype).reciprocal()
            running_mean.lerp_(mean.to(running_mean.dtype), weight)
            running_var.lerp_(variance.to(running_var.dtype), weight)


def running_statistics(norm: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
    """Return a batch norm's running mean ``(C,)``, running variance ``(C,)`` and batch counter.

    Raises:
        ValueError: if the layer keeps no running statistics.
    """
    buffers = dict(norm.named_buffers(recurse=False))
    try:
        return buffers["running_mean"], buffers["running_var"], buffers["num_batches_tracked"]
    except KeyError as error:
        raise ValueError(f"{norm} keeps no running statistics") from error


def synchronize(module: nn.Module) -> nn.Module:
    """Replace torch's batch norms in ``module`` by ``SyncBatchNorm`` with the same tensors."""
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    return _swap(module, kinds, lambda norm: SyncBatchNorm, {})


def desynchronize(module: nn.Module) -> nn.Module:
    """Undo ``synchronize``: plain torch again, for export.

    Raises:
        ValueError: for a ``SyncBatchNorm`` that was not made by ``synchronize``.
    """
    return _swap(module, (SyncBatchNorm,), lambda norm: norm.plain, {})


def _swap(
    module: nn.Module, kinds: tuple[type, ...], successor: Any, swapped: dict[nn.Module, nn.Module]
) -> nn.Module:
    """Return ``module`` with its norms replaced; a norm that occurs twice stays one norm."""
    if module in swapped:
        return swapped[module]
    # Unlike named_children, named_modules can list a child under each of its names.
    below = list(module.named_modules(remove_duplicate=False))
    for name, child in below:
        if name and "." not in name:
            setattr(module, name, _swap(child, kinds, successor, swapped))
    if not isinstance(module, kinds):
        swapped[module] = module
        return module
    if (kind := successor(module)) is None:
        raise ValueError("this BatchNorm was not made by synchronize: torch's class is not known")
    options = ("num_features", "eps", "momentum", "affine", "track_running_stats")
    norm: nn.Module = kind(**{name: getattr(module, name) for name in options})
    for name, parameter in module.named_parameters(recurse=False):
        norm.register_parameter(name, parameter)
    for name, buffer in module.named_buffers(recurse=False):
        norm.register_buffer(name, buffer)
    if isinstance(norm, SyncBatchNorm):
        norm.plain = type(module)  # type: ignore[assignment]
    swapped[module] = norm.train(module.training)
    return norm
