"""Calibration of a generator's batch norms with population statistics, to evaluate or serve it."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from bngan.batchnorm.layer import running_statistics
from bngan.distributed.collectives import all_reduce_sum
from bngan.numerics.precision import exact_convolutions
from bngan.numerics.torch_internals import BatchNormBase

Batches = Callable[[], Iterable[tuple[Any, ...]]]
"""Function that yields the same batches of a generator's arguments every time it is called."""


class _Reached(Exception):
    """Stop a forward pass at the layer whose input is wanted."""


def channel_moments(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance ``(C,)`` of ``(n, C, ...)``, in float64; n > 0."""
    values, dims = values.double(), [dim for dim in range(values.dim()) if dim != 1]
    return values.mean(dims), values.var(dims, correction=0)


class PopulationMoments:
    """Mean and variance per channel of a stream ``(n, C, ...)``, merged as in Chan et al. 1979."""

    def __init__(self) -> None:
        self.count = 0
        self._mean: Tensor | float = 0.0
        self._deviations: Tensor | float = 0.0

    def add(self, values: Tensor) -> None:
        """Add a batch ``(n, C, ...)``, n >= 0; the sums are float64."""
        count = values.numel() // values.shape[1]
        if count == 0:
            values = values.new_zeros(1, values.shape[1])
        mean, variance = channel_moments(values)
        deviations = variance * count
        total = max(self.count + count, 1)
        delta = mean - self._mean
        self._deviations = self._deviations + deviations + delta**2 * (self.count * count / total)
        self._mean = self._mean + delta * (count / total)
        self.count += count

    def joined(self) -> tuple[Tensor, Tensor, float]:
        """Return mean and biased variance ``(C,)`` float64, and count; a collective."""
        own, deviations = torch.as_tensor(self._mean), torch.as_tensor(self._deviations)
        message = torch.cat([own * self.count, own.new_full((1,), self.count)])
        *_, count = message = all_reduce_sum(message)
        mean = message[:-1] / count
        deviations = all_reduce_sum(deviations + (own - mean).square() * self.count)
        return mean, deviations / count, float(count)


@exact_convolutions()
@torch.no_grad()
def calibrate(generator: nn.Module, batches: Batches) -> None:
    """Set running statistics to the population's, layer by layer in execution order.

    The statistics of a layer are those of its inputs while all layers before it already run in
    evaluation mode with their new statistics. That gives the generator that an infinite batch would
    give. (An average of per-batch variances does not: it loses the variance of the batch means.)
    The generator stays in evaluation mode. With several workers this is a collective, and each
    worker brings its share of every batch. Memory is bounded by one batch.

    Args:
        generator: a network; every batch norm that keeps running statistics is set.
        batches: the arguments of the generator's forward, such as ``(latents,)`` or
            ``(latents, labels)``.
    """
    generator.eval()
    for norm in execution_order(generator, next(iter(batches()))).values():
        moments = PopulationMoments()

        def collect(module: nn.Module, inputs: tuple[Any, ...], into: Any = moments) -> None:
            into.add(inputs[0])
            raise _Reached

        with norm.register_forward_pre_hook(collect):
            for batch in batches():
                try:
                    generator(*batch)
                except _Reached:
                    continue
        mean, variance, count = moments.joined()
        running_mean, running_var, _ = running_statistics(norm)
        running_mean.copy_(mean)
        running_var.copy_(variance * (count / max(count - 1, 1)))


@torch.no_grad()
def execution_order(network: nn.Module, batch: tuple[Any, ...]) -> dict[str, BatchNormBase]:
    """Return batch norms that keep running statistics, in the order a forward pass reaches them.

    Their names are the sizes of the maps that they normalise: ``8x8``, then ``8x8_2`` for the
    second one of this size; ``1x1`` for vectors ``(N, C)``, ``64_tokens`` for tokens
    ``(N, C, 64)``.

    Args:
        network: in evaluation mode; in training mode this pass would change its running statistics.
        batch: the arguments of the network's forward.
    """
    reached = dict[BatchNormBase, str]()

    def note(module: BatchNormBase, inputs: tuple[Tensor, ...]) -> None:
        reached.setdefault(module, _map_size(inputs[0]))

    norms = [m for m in network.modules() if isinstance(m, BatchNormBase) and m.track_running_stats]
    hooks = [norm.register_forward_pre_hook(note) for norm in norms]
    network(*batch)
    for hook in hooks:
        hook.remove()
    counts, norms_by_size = Counter[str](), dict[str, BatchNormBase]()
    for norm, size in reached.items():
        counts[size] += 1
        norms_by_size[size if counts[size] == 1 else f"{size}_{counts[size]}"] = norm
    return norms_by_size


def _map_size(values: Tensor) -> str:
    if values.dim() == 3:
        return f"{values.shape[2]}_tokens"
    return "x".join(map(str, values.shape[2:])) or "1x1"
