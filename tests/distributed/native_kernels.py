"""CPU stand-ins for the CUDA kernels of synchronised batch norm, with the semantics of torch's own."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import torch
from torch import Tensor

from bngan.batchnorm import native


def _dims(values: Tensor) -> list[int]:
    return [0, *range(2, values.dim())]


def _channels(statistic: Tensor, values: Tensor) -> Tensor:
    return statistic.view(1, -1, *[1] * (values.dim() - 2))


def batch_norm_stats(input: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    mean, variance = input.mean(_dims(input)), input.var(_dims(input), correction=0)
    return mean, (variance + eps).rsqrt()


def batch_norm_gather_stats_with_counts(
    input: Tensor,
    mean: Tensor,
    invstd: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    momentum: float,
    eps: float,
    counts: Tensor,
) -> tuple[Tensor, Tensor]:
    """Join pairwise, as the kernel does: it keeps the number of samples as a whole number."""
    assert counts.dtype == (input if running_mean is None else running_mean).dtype
    average, spread, n = torch.zeros_like(mean[0]), torch.zeros_like(mean[0]), 0
    for m, s, count in zip(mean, invstd, counts, strict=True):
        variance = (s.reciprocal().square() - eps) * count
        factor = 1.0 / (n + count)
        spread = spread + variance + (average - m).square() * n * count * factor
        average = n * factor * average + count * factor * m
        n = int(n + count)
    if running_mean is not None and running_var is not None:
        running_mean.mul_(1 - momentum).add_(momentum * average)
        running_var.mul_(1 - momentum).add_(momentum * spread / (n - 1))
    return average, (spread / n + eps).rsqrt()


def batch_norm_elemt(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor,
    invstd: Tensor,
    eps: float,
) -> Tensor:
    output = (input - _channels(mean, input)) * _channels(invstd, input)
    if weight is not None and bias is not None:
        output = output * _channels(weight, input) + _channels(bias, input)
    return output


def batch_norm_backward_reduce(
    grad_out: Tensor,
    input: Tensor,
    mean: Tensor,
    invstd: Tensor,
    weight: Tensor | None,
    input_g: bool,
    weight_g: bool,
    bias_g: bool,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Return sums of dy and of dy * (x - mean), and the gradients of weight and bias."""
    assert input_g
    assert weight_g == bias_g == (weight is not None)
    sum_dy = grad_out.sum(_dims(input))
    sum_dy_xmu = (grad_out * (input - _channels(mean, input))).sum(_dims(input))
    if weight is None:
        return sum_dy, sum_dy_xmu, None, None
    return sum_dy, sum_dy_xmu, sum_dy_xmu * invstd, sum_dy.clone()


def batch_norm_backward_elemt(
    grad_out: Tensor,
    input: Tensor,
    mean: Tensor,
    invstd: Tensor,
    weight: Tensor | None,
    sum_dy: Tensor,
    sum_dy_xmu: Tensor,
    count: Tensor,
) -> Tensor:
    assert count.dtype == torch.int32
    total = int(count.sum())
    scale = invstd if weight is None else invstd * weight
    slope = invstd.square() * sum_dy_xmu / total
    centred = input - _channels(mean, input)
    inner = grad_out - _channels(sum_dy / total, input) - centred * _channels(slope, input)
    return inner * _channels(scale, input)


KERNELS = (
    batch_norm_stats,
    batch_norm_gather_stats_with_counts,
    batch_norm_elemt,
    batch_norm_backward_reduce,
    batch_norm_backward_elemt,
)


@contextmanager
def native_kernels_on_cpu() -> Iterator[None]:
    """Let ``SyncBatchNorm`` call the kernels' stand-ins for every tensor."""
    library = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]
    for kernel in KERNELS:
        library.impl(kernel.__name__, kernel, "CPU")  # type: ignore[no-untyped-call]
    try:
        with patch.object(native, "takes", lambda input: True):
            yield
    finally:
        library._destroy()  # type: ignore[no-untyped-call]
