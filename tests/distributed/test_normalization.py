"""Batch norm over gloo workers against torch's own on the joined batch."""

from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from bngan.normalization import BatchNorm
from tests.conftest import run_workers

SHARDS = [[5, 3], [5, 0, 4], [1, 6, 0, 2]]


def data(total: int, spatial: bool, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    shape = (total, 3, 2, 2) if spatial else (total, 3)
    x = torch.randn(shape, generator=random, dtype=dtype) * 2 + 5
    return x, torch.randn(shape, generator=random, dtype=dtype)


def measure(norm: nn.Module, x: Tensor, weight: Tensor) -> dict[str, Tensor]:
    """Output, gradients, buffers and the gradients of a gradient penalty, for one shard."""
    x = x.clone().requires_grad_()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.5, 1.0, 2.0]))
    output = norm(x)
    loss = (output.tanh() * weight).sum()
    (gradient,) = torch.autograd.grad(loss, x, create_graph=True)
    penalty = gradient.square().sum()
    second = torch.autograd.grad(penalty, [x, norm.weight])
    return {
        "output": output.detach(),
        "gradient": gradient.detach(),
        "second": second[0].detach(),
        "second_weight": second[1].detach(),
        **{key: value.clone() for key, value in norm.state_dict().items()},
    }


CASES: list[tuple[bool, dict[str, Any]]] = [
    (spatial, options) for spatial in (False, True) for options in ({}, {"momentum": None})
]


def shard_worker(sizes: list[int]) -> list[dict[str, Tensor]]:
    rank = dist.get_rank()
    results = []
    for spatial, options in CASES:
        parts = [part.split(sizes)[rank] for part in data(sum(sizes), spatial, torch.float64)]
        results.append(measure(BatchNorm(3, **options).double(), *parts))
    return results


@pytest.mark.parametrize("sizes", SHARDS, ids=str)
def test_workers_together_equal_one_process(sizes: list[int]) -> None:
    everyone = run_workers(len(sizes), shard_worker, sizes)
    for case, (spatial, options) in enumerate(CASES):
        results = [worker[case] for worker in everyone]
        x, weight = data(sum(sizes), spatial, torch.float64)
        reference = (nn.BatchNorm2d if spatial else nn.BatchNorm1d)(3, **options).double()
        expected = measure(reference, x, weight)
        for key in ("output", "gradient", "second"):
            joined = torch.cat([result[key] for result in results])
            torch.testing.assert_close(joined, expected[key], rtol=0, atol=1e-12)
        summed = torch.stack([result["second_weight"] for result in results]).sum(0)
        torch.testing.assert_close(summed, expected["second_weight"], rtol=0, atol=1e-11)
        for key in ("running_mean", "running_var", "num_batches_tracked"):
            for result in results:
                torch.testing.assert_close(result[key], expected[key], rtol=0, atol=1e-12)


def far_from_zero() -> tuple[float, float]:
    random = torch.Generator().manual_seed(dist.get_rank())
    x = torch.randn(2000, 3, generator=random) * 1e-2 + 1e4
    norm = BatchNorm(3, momentum=1.0)
    output = norm(x)
    assert norm.running_var is not None
    return norm.running_var.mean().item(), output.std().item()


def test_the_first_batch_far_from_zero_does_not_cancel() -> None:
    parts = [
        torch.randn(2000, 3, generator=torch.Generator().manual_seed(rank)) * 1e-2 + 1e4
        for rank in range(2)
    ]
    exact = torch.cat(parts).double().var(0).mean().item()
    for variance, _ in run_workers(2, far_from_zero):
        assert variance == pytest.approx(exact, rel=0.01)


def single_value() -> str:
    try:
        BatchNorm(3)(torch.zeros(1 if dist.get_rank() == 0 else 0, 3))
    except ValueError as error:
        return str(error)
    return ""


def test_one_value_per_channel_is_refused_by_every_worker() -> None:
    for message in run_workers(2, single_value):
        assert "more than one value" in message
