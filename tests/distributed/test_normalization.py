"""Batch norm over gloo workers against torch's own, group by group, on the joined batch."""

import itertools
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from bngan.batchnorm.layer import SyncBatchNorm, batch_layout, group_sizes
from tests.distributed.native_kernels import native_kernels_on_cpu
from tests.workers import run_workers

SHARDS = [[5, 3], [7, 0, 5], [1, 8, 0, 3], [0, 4], [8, 4]]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"momentum": None},
    {"affine": False},
    {"track_running_stats": False},
]
DTYPE = torch.float64
TRAILING: list[tuple[int, ...]] = [(), (5,), (2, 3), (2, 1, 2)]
PLAIN = (nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def batches(total: int, parts: int, trailing: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Inputs and weights of a loss, ``(parts, total, 3, ...)``."""
    random = torch.Generator().manual_seed(0)
    shape = (parts, total, 3, *trailing)
    x = torch.randn(shape, generator=random, dtype=DTYPE) * 2 + 5
    return x, torch.randn(shape, generator=random, dtype=DTYPE)


def in_other_layout(x: Tensor) -> Tensor:
    """As tokens and convolutions hand them on: channels come last in memory, not in shape."""
    if x.dim() == 3:
        return x.mT.contiguous().mT
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


def measure(norm: Any, x: Tensor, weight: Tensor, parameters: list[Tensor]) -> dict[str, Tensor]:
    """Output, gradients, and the gradients of a gradient penalty, for one worker's ``(parts, n)``."""
    x = x.clone().requires_grad_()
    output = norm(in_other_layout(x.flatten(0, 1))).reshape(x.shape)
    (gradient,) = torch.autograd.grad((output.tanh() * weight).sum(), x, create_graph=True)
    loss = (output.tanh() * weight).sum()
    first = torch.autograd.grad(loss, parameters, retain_graph=True) if parameters else ()
    second, *second_parameters = torch.autograd.grad(gradient.square().sum(), [x, *parameters[:1]])
    return {
        "output": output.detach(),
        "gradient": gradient.detach(),
        "second": second.detach(),
        **{f"sum parameter {i}": g for i, g in enumerate(first)},
        **{f"sum second parameter {i}": g for i, g in enumerate(second_parameters)},
    }


def prepared(norm: nn.Module) -> list[Tensor]:
    norm.double()
    if norm.affine:
        with torch.no_grad():
            norm.weight.copy_(torch.tensor([0.5, 1.0, 2.0]))
            norm.bias.copy_(torch.tensor([0.1, 0.0, -1.0]))
    return list(norm.parameters())


CASES = [
    (group, parts, trailing, options)
    for group, parts in ((None, 1), (4, 1), (None, 2), (4, 2))
    for trailing in TRAILING
    for options in OPTIONS
]


def on_workers(sizes: list[int]) -> list[dict[str, Tensor]]:
    rank, results = dist.get_rank(), []
    starts = [0, *itertools.accumulate(sizes)]
    for group, parts, trailing, options in CASES:
        x, weight = (b.split(sizes, dim=1)[rank] for b in batches(sum(sizes), parts, trailing))
        norm = SyncBatchNorm(3, **options)
        parameters = prepared(norm)
        own = group_sizes(range(starts[rank], starts[rank + 1]), sum(sizes), group or "global")
        whole = all(sizes) and all(start % (group or sum(sizes)) == 0 for start in starts)
        with batch_layout(own * parts, whole=whole):
            result = measure(norm, x, weight, parameters)
        results.append(result | {k: v.clone() for k, v in norm.state_dict().items()})
    return results


def on_workers_natively(sizes: list[int]) -> list[dict[str, Tensor]]:
    with native_kernels_on_cpu():
        return on_workers(sizes)


def alone(total: int, case: Any) -> dict[str, Tensor]:
    """Torch's own batch norm, one forward per group and part, on the joined batch."""
    group, parts, trailing, options = case
    x, weight = batches(total, parts, trailing)
    norm = PLAIN[len(trailing)](3, **options)
    parameters = prepared(norm)
    result = measure(
        lambda joined: torch.cat([norm(part) for part in joined.split(group or total)]),
        x,
        weight,
        parameters,
    )
    return result | norm.state_dict()


@pytest.mark.parametrize("run", [on_workers, on_workers_natively])
@pytest.mark.parametrize("sizes", SHARDS, ids=str)
def test_workers_together_equal_one_process(sizes: list[int], run: Any) -> None:
    everyone = run_workers(len(sizes), run, sizes)
    for number, case in enumerate(CASES):
        results = [worker[number] for worker in everyone]
        for key, expected in alone(sum(sizes), case).items():
            ours = [result[key] for result in results]
            if key in ("output", "gradient", "second"):
                ours = [torch.cat(ours, dim=1)]
            elif key.startswith("sum"):
                ours = [torch.stack(ours).sum(0)]
            for value in ours:
                scale = max(1.0, expected.abs().max().item())
                torch.testing.assert_close(
                    value, expected, rtol=0, atol=1e-12 * scale, msg=f"{case} {key}"
                )


def slope_penalty(norm: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients by input and gamma of a loss that knows only how the output follows the input."""
    torch.manual_seed(0)
    layers = nn.Sequential(norm, nn.Conv2d(3, 2, 3)).double()
    x.requires_grad_()
    (slope,) = torch.autograd.grad(layers(x).sum(), x, create_graph=True)
    slope.square().sum().backward()
    assert isinstance(x.grad, Tensor)
    assert isinstance(norm.weight, Tensor)
    assert norm.weight.grad is not None
    return x.grad, norm.weight.grad


def slope_penalty_of(parts: list[Tensor]) -> tuple[Tensor, Tensor]:
    return slope_penalty(SyncBatchNorm(3), parts[dist.get_rank()])


def test_a_penalty_on_slopes_alone_is_that_of_one_process() -> None:
    whole = torch.randn(8, 3, 5, 5, generator=torch.Generator().manual_seed(0)).double()
    gradients = run_workers(2, slope_penalty_of, [whole[:3], whole[3:]])
    by_input, by_gamma = slope_penalty(nn.BatchNorm2d(3), whole.clone())
    torch.testing.assert_close(torch.cat([by_x for by_x, _ in gradients]), by_input)
    torch.testing.assert_close(gradients[0][1] + gradients[1][1], by_gamma)


def far_from_zero() -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(dist.get_rank())
    x = torch.randn(2000, 3, generator=random) * 1e-2 + 1e4
    fresh = SyncBatchNorm(3, momentum=1.0)
    fresh(x)
    assert fresh.running_var is not None
    return fresh.running_var, SyncBatchNorm(3, track_running_stats=False)(x).detach()


def test_the_first_batch_far_from_zero_does_not_cancel() -> None:
    parts = [
        torch.randn(2000, 3, generator=torch.Generator().manual_seed(rank)) * 1e-2 + 1e4
        for rank in range(2)
    ]
    exact = torch.cat(parts).double().var(0).float()
    results = run_workers(2, far_from_zero)
    for variance, _ in results:
        torch.testing.assert_close(variance, exact, rtol=0.01, atol=0)
    # The output tells the variance that normalised it, eps = 1e-5 included.
    spread = torch.cat([output for _, output in results]).var(0)
    torch.testing.assert_close(spread, exact / (exact + 1e-5), rtol=0.01, atol=0)


def far_in_float64() -> Tensor:
    x = torch.randn(500, 3, generator=torch.Generator().manual_seed(dist.get_rank())).double()
    norm = SyncBatchNorm(3).double()
    norm.running_mean.fill_(1000.01)  # type: ignore[union-attr]
    return norm(x * 1e-2 + 1e3).detach()


def test_running_means_keep_float64_exact_far_from_zero() -> None:
    parts = [torch.randn(500, 3, generator=torch.Generator().manual_seed(r)) for r in range(2)]
    expected = nn.BatchNorm1d(3).double()(torch.cat(parts).double() * 1e-2 + 1e3).detach()
    torch.testing.assert_close(
        torch.cat(run_workers(2, far_in_float64)), expected, rtol=0, atol=1e-9
    )


def half_precision() -> tuple[torch.dtype, Tensor, Tensor]:
    random = torch.Generator().manual_seed(dist.get_rank())
    x = torch.randn(64, 8, generator=random) + 100
    linear, norm = nn.Linear(8, 3), SyncBatchNorm(3, momentum=1.0)
    with torch.no_grad():
        linear.weight.fill_(0.1)
        linear.bias.zero_()
    with torch.autocast("cpu", torch.bfloat16):
        hidden = linear(x)
        output = norm(hidden)
    output.float().square().sum().backward()
    assert norm.running_var is not None
    return output.dtype, hidden.detach(), norm.running_var


def test_statistics_are_float32_under_autocast() -> None:
    results = run_workers(2, half_precision)
    hidden = torch.cat([hidden for _, hidden, _ in results])
    assert hidden.dtype == torch.bfloat16
    for dtype, _, variance in results:
        assert dtype == torch.bfloat16
        torch.testing.assert_close(variance, hidden.float().var(0), rtol=1e-5, atol=0)


def single_value() -> list[str]:
    messages = []
    for layout in (None, [2, 1] if dist.get_rank() == 0 else [0, 0]):
        rows = sum(layout) if layout else 1 - dist.get_rank()
        try:
            with batch_layout(layout):
                SyncBatchNorm(3)(torch.zeros(rows, 3))
        except ValueError as error:
            messages.append(str(error))
    return messages


def test_one_value_per_channel_is_refused_by_every_worker() -> None:
    for messages in run_workers(2, single_value):
        assert len(messages) == 2
        assert all("more than one value" in message for message in messages)


def without_tracking() -> list[Tensor]:
    norm = SyncBatchNorm(3)
    with batch_layout(track=False):
        norm(torch.randn(4, 3))
    return list(norm.buffers())


def test_running_statistics_can_be_left_alone() -> None:
    for mean, variance, batches in run_workers(2, without_tracking):
        assert (mean.sum(), variance.sum(), batches) == (0, 3, 0)
