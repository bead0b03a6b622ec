"""Batch normalisation that means the same on any device and for any number of workers.

``torch.nn.SyncBatchNorm`` refuses CPU tensors and cannot be differentiated twice. ``BatchNorm`` here
has the same state-dict keys as ``torch.nn.BatchNorm1d/2d/3d``, needs one all-reduce forward and one
backward, weighs workers by their number of samples (zero included), and is torch's own kernel for
one worker and in evaluation. Networks are built with torch's classes; ``synchronize`` swaps them for
training, so a trained state dict loads into plain torch modules.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bngan.distributed import all_reduce_sum, world_size


class BatchNorm(_BatchNorm):
    """Batch norm over dimension 1 of ``(N, C, ...)`` input, 2D to 5D, across all workers.

    Statistics are those of the joined batch: mean, biased variance for normalising, unbiased
    variance for ``running_var`` (Ioffe & Szegedy 2015, algorithms 1 and 2). In training with several
    workers every call is a collective. Raises ``ValueError`` for other shapes and for a joined batch
    with a single value per channel.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if not 2 <= input.dim() <= 5:
            raise ValueError(f"batch norm takes 2D to 5D input, got {input.dim()}D")

    def forward(self, input: Tensor) -> Tensor:
        """Normalise ``(N, C, ...)``, N >= 0; float32 statistics for half-precision input."""
        if not self.training or world_size() == 1:
            return super().forward(input)
        self._check_input_dim(input)
        shape = [1, -1] + [1] * (input.dim() - 2)
        values = input if input.dtype == torch.float64 else input.float()
        # Centring on the local mean, a constant, keeps float32 sums from cancelling later.
        anchor = _local_mean(values.detach())
        centred = values - anchor.view(shape)
        count, mean, variance = _joint_moments(centred, anchor)
        if self.track_running_stats:
            self._update_running_statistics(count, mean.detach(), variance.detach())
        offset = (mean - anchor).to(values.dtype).view(shape)
        scale = (variance + self.eps).rsqrt().to(values.dtype)
        if self.affine:
            scale = scale * self.weight
        output = (centred - offset) * scale.view(shape)
        if self.affine:
            output = output + self.bias.view(shape)
        return output.to(input.dtype)

    @torch.no_grad()
    def _update_running_statistics(self, count: Tensor, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        weight = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        unbiased = variance * count / (count - 1)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), weight)
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), weight)


def _reduced_dims(values: Tensor) -> list[int]:
    return [dim for dim in range(values.dim()) if dim != 1]


def _local_mean(values: Tensor) -> Tensor:
    """``(C,)`` mean of the local shard, zeros for an empty one."""
    if values.numel() == 0:
        return values.new_zeros(values.shape[1])
    return values.mean(_reduced_dims(values))


def _joint_moments(centred: Tensor, anchor: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Count (scalar), mean and biased variance ``(C,)`` of the joined batch, in float64.

    ``centred + anchor`` is the local shard. One message: ``[n, sum x, sum x^2]``, put together in
    float64 from sums over the centred shard, in which float32 data cannot cancel.
    """
    dims, channels = _reduced_dims(centred), centred.shape[1]
    local_count = centred.new_full((1,), centred.numel() / channels, dtype=torch.float64)
    centre = anchor.double()
    first = centred.sum(dims).double()
    second = centred.square().sum(dims).double()
    total = first + local_count * centre
    total_squares = second + 2 * centre * first + local_count * centre.square()
    message = all_reduce_sum(torch.cat([local_count, total, total_squares]))
    count = message[0].detach()
    total, total_squares = message[1:].view(2, channels)
    # Looked at only where the shard is so small that it may be: on a GPU, looking means waiting.
    if centred.numel() <= channels and count <= 1:
        raise ValueError("batch norm needs more than one value per channel in the joined batch")
    mean = total / count
    return count, mean, (total_squares / count - mean.square()).clamp_min(0)


def synchronize(module: nn.Module) -> nn.Module:
    """Swap every torch batch norm in ``module`` for ``BatchNorm``, sharing parameters and buffers."""
    for name, child in module.named_children():
        setattr(module, name, synchronize(child))
    if not isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
        return module
    norm = BatchNorm(
        module.num_features, module.eps, module.momentum, module.affine, module.track_running_stats
    )
    norm._parameters, norm._buffers = module._parameters, module._buffers
    return norm.train(module.training)


class _Reached(Exception):
    """Ends a forward pass at the layer whose input was wanted."""


class _Moments:
    """Running count, mean and sum of squared deviations, merged after Chan et al. 1979 in float64."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: Tensor | float = 0.0
        self.deviations: Tensor | float = 0.0

    def collect(self, norm: nn.Module, inputs: tuple[Any, ...]) -> None:
        values = inputs[0].double()
        dims = _reduced_dims(values)
        count = values.numel() // values.shape[1]
        mean = values.mean(dims)
        deviations = values.var(dims, correction=0) * count
        total = self.count + count
        delta = mean - self.mean
        self.deviations = self.deviations + deviations + delta**2 * (self.count * count / total)
        self.mean = self.mean + delta * (count / total)
        self.count = total
        raise _Reached


@torch.no_grad()
def calibrate(generator: nn.Module, latents: Callable[[], Iterable[Tensor]]) -> None:
    """Set running statistics to the population's, layer by layer in execution order.

    Each layer's statistics are taken over its inputs while all layers before it already run in
    evaluation mode with their new statistics, which gives the generator that an infinite batch
    would. (Averaging per-batch variances does not: it loses the variance of the batch means.)
    Leaves the generator in evaluation mode.

    Args:
        generator: a network whose forward takes one batch of latents.
        latents: called several times; yields the same batches ``(n, latent_dim)`` every time.
    """
    generator.eval()
    for norm in _execution_order(generator, next(iter(latents()))):
        moments = _Moments()
        with norm.register_forward_pre_hook(moments.collect):
            for batch in latents():
                try:
                    generator(batch)
                except _Reached:
                    continue
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.copy_(moments.mean)  # type: ignore[arg-type]
        norm.running_var.copy_(moments.deviations / (moments.count - 1))  # type: ignore[arg-type]


def _execution_order(generator: nn.Module, batch: Tensor) -> list[_BatchNorm]:
    """Batch norms that keep running statistics, in the order a forward pass reaches them."""
    reached: list[_BatchNorm] = []
    norms = [m for m in generator.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    hooks = [
        norm.register_forward_pre_hook(lambda module, _: reached.append(module)) for norm in norms
    ]
    generator(batch)
    for hook in hooks:
        hook.remove()
    return list(dict.fromkeys(reached))
