"""Synchronised batch norm under ``torch.compile``, without a graph break."""

import copy

import pytest
import torch
from torch import Tensor, nn

from bngan.batchnorm.layer import batch_layout, synchronize
from bngan.distributed.collectives import rank
from tests.workers import run_workers

SIZES = [[3], [2, 4]], [[5], [1, 0]]
"""Each worker's samples per group, of two passes."""


def network() -> nn.Module:
    layers = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.BatchNorm2d(4)
    return synchronize(nn.Sequential(*layers)).double()


def step(forward: nn.Module, sizes: list[int]) -> list[Tensor]:
    """Output, gradients and buffers after a step without an optimiser."""
    images = torch.randn(sum(sizes), 3, 8, 8, dtype=torch.float64).requires_grad_()
    with batch_layout(sizes):
        output = forward(images)
    forward.zero_grad()
    output.pow(3).sum().backward()
    gradients = [parameter.grad for parameter in [images, *forward.parameters()]]
    return [output, *(g for g in gradients if g is not None), *forward.buffers()]


def differences(backend: str) -> list[float]:
    """Greatest differences between eager and compiled steps, by tensor."""
    torch.manual_seed(0)
    eager = network()
    module = copy.deepcopy(eager)
    compiled = torch.compile(module, fullgraph=True, dynamic=False, backend=backend)
    found = []
    for number, sizes in enumerate(SIZES[rank()]):
        torch.manual_seed(10 * rank() + number)
        expected = step(eager, sizes)
        torch.manual_seed(10 * rank() + number)
        tensors = zip(step(compiled, sizes), expected, strict=True)
        found += [float((a - b).detach().abs().max()) for a, b in tensors]
    return found


@pytest.mark.parametrize(
    "backend",
    ["aot_eager_decomp_partition", pytest.param("inductor", marks=pytest.mark.full)],
)
def test_two_workers_compile_the_whole_network(backend: str) -> None:
    for found in run_workers(2, differences, backend):
        assert len(found) == 2 * 16  # output, 9 gradients, 6 buffers
        assert max(found) < 1e-9
