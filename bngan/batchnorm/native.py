"""Synchronised batch norm by torch's own CUDA kernels: a dozen launches for each layer and pass."""

from functools import reduce
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from bngan.batchnorm.functional import (
    Moments,
    differentiable_backward,
    join_groups,
    kernel_dtype,
)
from bngan.distributed.collectives import rank, sum_in_place, world_size

_NOTHING = 1e-30
"""Count of an empty part: the kernel divides by the sum of the first counts, which must not be 0.
It adds counts as whole numbers, so that this one does not count."""


def takes(input: Tensor) -> bool:
    """Return whether torch's kernels normalise this input; the same on all workers.

    A compiler cannot trace them, and fuses the other function's steps itself.
    """
    return input.is_cuda and not torch.compiler.is_compiling()


class NativeSyncBatchNormFunction(torch.autograd.Function):
    """``SyncBatchNormFunction`` by kernels that exist on CUDA devices only.

    Statistics are float64 for float64 input, otherwise float32. Workers join means and deviations,
    not sums, so that nothing cancels.
    """

    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        running: tuple[Tensor | None, Tensor | None],
        momentum: float,
        eps: float,
        sizes: list[int],
    ) -> Tensor:
        """Return normalised ``(n, C, ...)``, and move ``running`` mean and variance if given.

        ``input`` is ``in_layout``.
        """
        ctx.eps, ctx.sizes = eps, sizes
        counts, means, inverses = _joint_statistics(input, *running, momentum, eps, sizes)
        parts = [
            torch.batch_norm_elemt(part, weight, bias, mean, inverse, eps)
            for part, mean, inverse in zip(torch.split(input, sizes), means, inverses, strict=True)
            if len(part)
        ]
        ctx.save_for_backward(input, weight, counts, means, inverses)
        return join_groups(parts) if parts else input.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Return gradients of input, weight and bias; the last two are this worker's share."""
        input, weight, counts, means, inverses = ctx.saved_tensors
        (dy,) = gradients
        if torch.is_grad_enabled():
            moments = Moments(counts, means, inverses)  # of which only the means matter
            dx, sums = differentiable_backward(ctx, input, weight, moments, dy)
            d_bias, d_weight = sums.sum(1)
        else:
            columns = (torch.split(values, ctx.sizes) for values in (in_layout(dy), input))
            groups = list(zip(*columns, means, inverses, strict=True))
            dx, d_bias, d_weight = _backward(groups, weight, counts)
        if weight is None:
            return dx, None, None, None, None, None, None
        return dx, d_weight.to(weight.dtype), d_bias.to(weight.dtype), None, None, None, None


def _backward(
    groups: list[tuple[Tensor, Tensor, Tensor, Tensor]], weight: Tensor | None, counts: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of input, bias and weight; the last two are this worker's share.

    ``groups`` have dy, x ``(n, C, ...)``, mean and inverse deviation ``(C,)``.
    """
    nothing, affine = torch.zeros_like(groups[0][2]), weight is not None
    local: list[Tensor] = []
    biases, weights = [], []
    for group in groups:
        if not len(group[0]):
            local += [nothing, nothing]
            continue
        *sums, d_weight, d_bias = torch.batch_norm_backward_reduce(
            *group, weight, True, affine, affine
        )
        local += sums
        weights.append(d_weight)
        biases.append(d_bias)
    joint = torch.cat(local)
    sum_in_place(joint)
    parts = [
        torch.batch_norm_backward_elemt(*group, weight, sum_dy, sum_dy_x, count)
        for group, (sum_dy, sum_dy_x), count in zip(
            groups, joint.view(len(groups), 2, -1), counts, strict=True
        )
        if len(group[0])
    ]
    if not parts:
        return groups[0][0].clone(), nothing, nothing
    if not affine:
        return join_groups(parts), nothing, nothing
    return join_groups(parts), reduce(torch.add, biases), reduce(torch.add, weights)


@torch.no_grad()
def _joint_statistics(
    input: Tensor,
    mean: Tensor | None,
    variance: Tensor | None,
    momentum: float,
    eps: float,
    sizes: list[int],
) -> tuple[Tensor, Tensor, Tensor]:
    """Return counts ``(G, workers)`` int32, means and inverse deviations ``(G, C)``.

    It takes one message, and moves the running ``mean`` and ``variance`` by each group in order.
    """
    channels, pixels, kind = input.shape[1], input.shape[2:].numel(), kernel_dtype(input)
    local: list[Tensor] = []
    for part in torch.split(input, sizes):
        if len(part):
            local += torch.batch_norm_stats(part, eps)
        else:
            local += [input.new_full((channels,), n, dtype=kind) for n in (0, 1)]
        count = len(part) * pixels or _NOTHING
        local.append(input.new_full((1,), count, dtype=kind))
    everyone = _gather(torch.cat(local)).view(-1, len(sizes), 2 * channels + 1)
    counts = everyone[..., -1].mT.contiguous()
    # A look at counts makes a GPU wait: do it only for shards so small that a count may be 1.
    if input.numel() <= channels and (counts.sum(1) <= 1).any():
        raise ValueError("batch norm needs more than one value per channel in every group")
    joint = []
    for group, count in zip(everyone.unbind(1), counts, strict=True):
        means, inverses = group[:, :channels], group[:, channels:-1]
        # The first argument gives the type of counts alone, if there are no running statistics.
        settings = mean, variance, momentum, eps, count
        joint.append(torch.batch_norm_gather_stats_with_counts(means, means, inverses, *settings))
    means, inverses = (torch.stack(column) for column in zip(*joint, strict=True))
    return counts.int(), means, inverses


def _gather(local: Tensor) -> Tensor:
    """Return the ``(n,)`` tensors of all workers, ``(workers, n)``; a collective."""
    everyone = local.new_zeros(world_size(), len(local))
    if local.is_cuda:
        gather = getattr(dist, "all_gather_single", dist.all_gather_into_tensor)  # its new name
        gather(everyone, local)
    else:
        everyone[rank()] = local
        sum_in_place(everyone)  # sums with zeros are exact
    return everyone


def in_layout(values: Tensor) -> Tensor:
    """Return ``values`` in a layout that the kernels take: channels last, or contiguous.

    Call it outside of ``apply``: a copy inside would not be a part of the graph that a second
    derivative goes through.
    """
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(values.dim())
    if last is not None and values.is_contiguous(memory_format=last):
        return values
    return values.contiguous()
