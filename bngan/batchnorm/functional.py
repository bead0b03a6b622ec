"""Batch norm of a batch that several workers share: its forward and backward passes."""

from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from bngan.distributed.collectives import all_reduce_sum, sum_in_place
from bngan.numerics.torch_internals import batch_moments, batch_norm_gradients, opaque_operator


class Moments(NamedTuple):
    """Moments of G groups: counts ``(G, 1)``, means and biased variances ``(G, C)``."""

    counts: Tensor
    mean: Tensor
    variance: Tensor


def join_groups(parts: Sequence[Tensor]) -> Tensor:
    """Return the batch that groups make; a single group is not copied."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


class SyncBatchNormFunction(torch.autograd.Function):
    """Batch norm of the joined batch of all workers, group by group.

    With s = 1 / sqrt(variance + eps) and x_hat = (x - mean) * s: y = gamma * x_hat + beta, and dx =
    gamma * s * (dy - sum(dy) / n - x_hat * sum(dy * x_hat) / n), sums over the joined group.
    Torch's kernels make the passes over x. They take statistics from outside, and sum over this
    worker's part only. A backward that must have a graph of its own uses differentiable steps
    instead.
    """

    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        origin: Tensor | None,
        eps: float,
        sizes: list[int],
    ) -> tuple[Tensor, ...]:
        """Return normalised ``(n, C, ...)``, and ``_joint_moments``.

        ``origin`` ``(C,)`` is the same on all workers: sums of squares cancel less if it is near
        the mean.
        """
        ctx.eps, ctx.sizes = eps, sizes
        moments = _joint_moments(input, origin, sizes)
        counts, means, variances, _ = moments
        parts = [
            F.batch_norm(part, mean, variance, weight, bias, False, 0.0, eps)
            for part, mean, variance in zip(
                torch.split(input, sizes), means, variances, strict=True
            )
            if len(part)
        ]
        output = join_groups(parts) if parts else input.clone()
        ctx.save_for_backward(input, weight, counts, means, variances)
        ctx.mark_non_differentiable(*moments)
        ctx.set_materialize_grads(False)  # moments have no gradients
        return output, *moments

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Return gradients of input, weight and bias; the last two are this worker's share."""
        input, weight, *saved = ctx.saved_tensors
        moments, dy = Moments(*saved), gradients[0]
        if dy is None:  # in a backward of a backward, and then on every worker
            dy = torch.zeros_like(input)
        twice = torch.is_grad_enabled() and not torch.compiler.is_compiling()
        backward = differentiable_backward if twice else _backward
        dx, sums = backward(ctx, input, weight, moments, dy)
        if weight is None:
            return dx, None, None, None, None, None
        d_bias, d_weight = sums.sum(1).to(weight.dtype)
        return dx, d_weight, d_bias, None, None, None


def _no_moments(input: Tensor, origin: Tensor | None, sizes: list[int]) -> tuple[Tensor, ...]:
    """Return tensors without values in place of ``_joint_moments``."""
    kind, double = kernel_dtype(input), torch.float64
    columns = (1, double), *[(input.shape[1], each) for each in (kind, kind, double)]
    return tuple(input.new_empty(len(sizes), n, dtype=each) for n, each in columns)


@opaque_operator(
    "joint_moments(Tensor input, Tensor? origin, int[] sizes) -> (Tensor, Tensor, Tensor, Tensor)",
    _no_moments,
)
@torch.no_grad()
def _joint_moments(input: Tensor, origin: Tensor | None, sizes: list[int]) -> tuple[Tensor, ...]:
    """Return the moments of the groups of all workers, which take one message.

    An operator, since a compiled backward pass would compute moments anew from the running mean,
    which has changed by then.

    Returns:
        Counts float64, means and variances as kernels take them, and the variances in float64.
    """
    local, (mean, variance) = _local_counts(input, sizes), _local_moments(input, sizes)
    start = 0.0 if origin is None else origin.double()
    centre = mean - start
    message = torch.cat([local, centre, torch.addcmul(variance, centre, centre)], dim=1)
    message[:, 1:] *= local
    sum_in_place(message)
    counts, centre, variance = _moments(message)
    refuse_single_values(counts, input, sizes)
    kind = kernel_dtype(input)
    return counts.contiguous(), (centre + start).to(kind), variance.to(kind, copy=True), variance


def refuse_single_values(counts: Tensor, input: Tensor, sizes: list[int]) -> None:
    """Raise ``ValueError`` if a group has one value per channel on all workers together.

    A look at counts makes a GPU wait: look only if a part here is that small. All workers look if
    any of them has a reason to raise. A step that is captured cannot look; an earlier one did.
    """
    small = min(sizes) * input.shape[2:].numel() <= 1
    captured = counts.is_cuda and torch.cuda.is_current_stream_capturing()
    if small and not captured and (counts <= 1).any():
        raise ValueError("batch norm needs more than one value per channel in every group")


def _moments(message: Tensor) -> Moments:
    """Return the moments of groups from n and the sums of x and of x^2, ``(G, 1 + 2C)``."""
    count = message[:, :1].detach()
    mean, square = (message[:, 1:] / count).chunk(2, dim=1)
    return Moments(count, mean, torch.addcmul(square, mean, mean, value=-1).clamp_min(0))


def _backward(
    ctx: Any, input: Tensor, weight: Tensor | None, moments: Moments, dy: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the input's gradient, and this worker's sums of dy and of dy * x_hat.

    The sums are ``(2, G, C)`` float64. The kernel's gradient has the means of this worker's part
    alone; a map of x makes up for that.
    """
    _, means, variances = moments
    inverses = (variances + ctx.eps).rsqrt()
    gamma = torch.ones_like(means[0]) if weight is None else weight
    inputs, gradients = torch.split(input, ctx.sizes), torch.split(dy, ctx.sizes)
    own_gradients = [
        _own_gradients(*own, gamma, ctx.eps)
        for own in zip(inputs, gradients, means, inverses, strict=True)
    ]
    parts, *sums = zip(*own_gradients, strict=True)
    mine = torch.stack(list(chain(*sums))).double().view(2, *means.shape)
    lacking = mine / _local_counts(input, ctx.sizes).clamp_min(1)
    lacking -= all_reduce_sum(mine) / moments.counts
    shifts, slopes = (lacking * (inverses * gamma)).to(means.dtype)
    maps = zip(inputs, means, variances, slopes, shifts, strict=True)
    for dx, (x, mean, variance, slope, shift) in zip(parts, maps, strict=True):
        if len(x):
            dx += F.batch_norm(x, mean, variance, slope, shift, False, 0.0, ctx.eps)
    return join_groups(parts), mine


def _own_gradients(
    x: Tensor, dy: Tensor, mean: Tensor, inverse: Tensor, weight: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of a group that is this worker's part alone.

    Normalisation uses the joint statistics. The gradients are that of x, and the sums of dy and of
    dy * x_hat, ``(C,)``.
    """
    if not len(x):
        return x, torch.zeros_like(mean), torch.zeros_like(mean)
    dx, sum_dy_x, sum_dy = batch_norm_gradients(dy, x, weight, mean, inverse, eps)
    return dx, sum_dy, sum_dy_x


def differentiable_backward(
    ctx: Any, input: Tensor, weight: Tensor | None, joint: Moments, dy: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the results of ``_backward`` as functions of input, weight and dy.

    The moments are computed anew, from distances to the mean as a constant: sums of float32 data
    far from zero would cancel.
    """
    kind = kernel_dtype(input)
    sizes, values, gradient = ctx.sizes, input.to(kind), dy.to(kind)
    centred = values - _spread(joint.mean, sizes, values)
    first, second = _sums(centred, sizes), _sums(centred.square(), sizes)
    message = torch.cat([_local_counts(values, sizes), first, second], dim=1)
    moments = _moments(all_reduce_sum(message))
    inverse = (moments.variance + ctx.eps).rsqrt()
    offset = moments.mean * inverse
    sum_dy = _sums(gradient, sizes)
    sum_dy_x = _sums(gradient * centred, sizes) * inverse - sum_dy * offset
    sums = torch.stack([sum_dy, sum_dy_x])
    means = all_reduce_sum(sums) / moments.counts
    scale = inverse if weight is None else inverse * weight
    slope = -scale * inverse * means[1]
    constant = scale * (offset * means[1] - means[0])
    dx = _spread(constant, sizes, values) + gradient * _spread(scale, sizes, values)
    dx = dx + centred * _spread(slope, sizes, values)
    return dx.to(input.dtype), sums


def _local_moments(input: Tensor, sizes: list[int]) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance of groups' local parts, ``(G, C)`` float64; 0 if empty."""
    kind = kernel_dtype(input)
    nothing = input.new_zeros(2, input.shape[1], dtype=kind)
    parts = torch.split(input, sizes)
    moments = [batch_moments(part, kind) if len(part) else nothing for part in parts]
    mean, variance = (torch.stack(column) for column in zip(*moments, strict=True))
    return mean.double(), variance.double()


def kernel_dtype(values: Tensor) -> torch.dtype:
    """Return the type of kernels' statistics for these values: float64 or float32."""
    return torch.float64 if values.dtype == torch.float64 else torch.float32


def _local_counts(values: Tensor, sizes: list[int]) -> Tensor:
    """Return the number of values per channel in each group's local part, ``(G, 1)`` float64.

    A list that becomes a tensor on a GPU would make the step wait.
    """
    counts, rows = [size * values.shape[2:].numel() for size in sizes], 1
    if len(set(counts)) == 1:
        counts, rows = counts[:1], len(counts)
    return join_groups([values.new_full((rows, 1), n, dtype=torch.float64) for n in counts])


def _sums(values: Tensor, sizes: list[int]) -> Tensor:
    """Return sums over each group's local part of ``(n, C, ...)``, ``(G, C)`` in float64."""
    if values.dim() > 2:
        values = values.sum(tuple(range(2, values.dim())))
    return torch.stack([part.sum(0, dtype=torch.float64) for part in torch.split(values, sizes)])


def _spread(per_group: Tensor, sizes: list[int], values: Tensor) -> Tensor:
    """Repeat ``(G, C)`` for each sample, in a shape and dtype to broadcast with ``values``."""
    if len(sizes) > 1:
        rows = zip(per_group, sizes, strict=True)
        per_group = torch.cat([row.expand(size, -1) for row, size in rows])
    return per_group.to(values.dtype).view(*per_group.shape, *[1] * (values.dim() - 2))
