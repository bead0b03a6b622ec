"""Private parts of torch mean what the library takes them for, in the torch that is installed."""

import subprocess
import sys
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bngan.numerics.torch_internals import (
    BatchNormBase,
    NormBase,
    UncheckedBatchNorm,
    batch_moments,
    batch_norm_gradients,
    skip_initialization,
    without_compiler,
)

SHAPES = [(6, 3), (6, 3, 5), (6, 3, 4, 4), (2, 3, 2, 2, 2)]


def test_base_classes_have_the_layers_that_they_stand_for() -> None:
    batch = nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm
    instance = nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d
    assert all(issubclass(kind, BatchNormBase) for kind in batch)
    assert all(issubclass(kind, NormBase) for kind in batch + instance)
    others = nn.LayerNorm, nn.GroupNorm
    assert not any(issubclass(kind, BatchNormBase) for kind in instance + others)
    assert not any(issubclass(kind, NormBase) for kind in others)


@pytest.mark.parametrize("shape", [*SHAPES, (2, 3, 1, 2, 1, 2)])
def test_a_batch_norm_without_a_check_takes_any_number_of_dimensions(
    shape: tuple[int, ...],
) -> None:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    expected = F.batch_norm(values, torch.zeros(3), torch.ones(3), training=True)
    assert torch.equal(UncheckedBatchNorm(3)(values), expected)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_moments_are_those_of_each_channel(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    values = (torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 3 + 2).to(dtype)
    exact = torch.float64 if dtype == torch.float64 else torch.float32
    found = batch_moments(values, exact)
    dims = [dim for dim in range(len(shape)) if dim != 1]
    variance, mean = torch.var_mean(values.double(), dims, correction=0)
    for ours, theirs in zip(found, (mean, variance), strict=True):
        assert ours.dtype == exact
        torch.testing.assert_close(ours, theirs.to(exact))


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_are_autograds(shape: tuple[int, ...]) -> None:
    source = torch.Generator().manual_seed(0)
    values, gradient = (torch.randn(shape, dtype=torch.float64, generator=source) for _ in "ab")
    weight, bias = (torch.randn(3, dtype=torch.float64, generator=source) for _ in "ab")
    inputs = [part.requires_grad_() for part in (values, weight, bias)]
    output = F.batch_norm(values, None, None, weight, bias, training=True, eps=1e-3)
    expected = torch.autograd.grad(output, inputs, gradient)
    mean, variance = batch_moments(values.detach(), torch.float64)
    inverse = (variance + 1e-3).rsqrt()
    found = batch_norm_gradients(
        gradient, values.detach(), weight.detach(), mean, inverse, eps=1e-3
    )
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
@pytest.mark.parametrize("fused", [False, True])
def test_an_optimizer_without_wrappers_takes_the_same_steps(
    kind: type[torch.optim.Optimizer], fused: bool
) -> None:
    ours = without_compiler(kind)
    assert issubclass(ours, kind)
    assert ours is not kind

    def trained(used: Any) -> torch.Tensor:
        torch.manual_seed(0)
        weight = nn.Parameter(torch.randn(5, 3))
        optimizer = used([weight], lr=0.1, weight_decay=0.01, fused=fused)
        for _ in range(3):
            weight.grad = torch.randn(5, 3)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            optimizer.load_state_dict(optimizer.state_dict())
        assert weight.requires_grad
        assert weight.grad is None
        return weight.detach()

    assert torch.equal(trained(ours), trained(kind))


def test_an_optimizer_that_torch_does_not_wrap_is_left_alone() -> None:
    class Plain(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            pass

    assert without_compiler(Plain) is Plain


STEP = """
import sys
import torch
from bngan.numerics.torch_internals import without_compiler
def use(kind):
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = kind([weight], fused=True)
    optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(2))]})
    weight.grad = torch.ones(3)
    optimizer.step()
    optimizer.zero_grad()
    optimizer.load_state_dict(optimizer.state_dict())
use(without_compiler(torch.optim.Adam))
assert "torch._dynamo" not in sys.modules, "the compiler is imported all the same"
use(torch.optim.Adam)
assert "torch._dynamo" in sys.modules, "torch's own optimisers do without: so can without_compiler"
"""
DRAW = """
import sys
import torch
from bngan.numerics.torch_internals import skip_initialization
def imported():
    before = set(sys.modules)
    torch.nn.Linear(3, 2), torch.nn.Embedding(3, 2), torch.nn.BatchNorm2d(3)
    torch.nn.init.normal_(torch.nn.Conv2d(3, 2, 3).weight, 1.0, 0.02)
    return set(sys.modules) - before
with torch.device("meta"):
    with skip_initialization():
        assert not imported(), "draws are not skipped"
    assert len(imported()) > 100, "torch draws without imports: skip_initialization can go"
"""


@pytest.mark.parametrize("code", [STEP, DRAW], ids=["step", "draw"])
def test_what_is_slow_to_import_is_not_imported(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_initial_values_are_skipped_inside_the_block_alone() -> None:
    weight = torch.zeros(4)
    with skip_initialization():
        assert nn.init.normal_(weight) is weight
        assert nn.init.constant_(weight, 1.0) is weight
        assert torch.equal(weight.uniform_(), torch.zeros(4))
        assert torch.equal(torch.ones(2) + 1, torch.full((2,), 2.0))
    assert not torch.equal(nn.init.normal_(weight), torch.zeros(4))


def test_a_compiler_calls_an_opaque_operator_and_a_process_without_one_loads_none() -> None:
    script = """
import sys
import torch
from bngan.numerics.torch_internals import opaque_operator

calls = []

@opaque_operator("double(Tensor x) -> Tensor", torch.empty_like)
def double(x):
    calls.append(x)
    return 2 * x

assert double(torch.ones(3)).tolist() == [2, 2, 2] and len(calls) == 1
assert "torch._dynamo" not in sys.modules and "sympy" not in sys.modules
compiled = torch.compile(lambda x: double(x + 1), fullgraph=True, backend="aot_eager")
assert compiled(torch.ones(3)).tolist() == [4, 4, 4] and len(calls) == 2
assert compiled(torch.ones(3)).tolist() == [4, 4, 4] and len(calls) == 3
"""
    subprocess.run([sys.executable, "-c", script], check=True)
