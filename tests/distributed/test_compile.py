"""Synchronised batch norm under ``torch.compile``, without a graph break."""

import copy
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bngan.batchnorm.layer import batch_layout, synchronize
from bngan.data.dataset import ImageSplit
from bngan.distributed.collectives import rank
from bngan.networks.config import DiscriminatorConfig, GeneratorConfig, ModelConfig
from bngan.numerics import torch_internals
from bngan.training.config import ExecutionConfig, OptimizationConfig
from bngan.training.trainer import Trainer
from tests.workers import run_workers

DTYPE = torch.float64
SIZES = [[3], [2, 4]], [[5], [1, 0]]
"""Each worker's samples per group, of two passes."""


def network() -> nn.Module:
    layers = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.BatchNorm2d(4)
    return synchronize(nn.Sequential(*layers)).double()


def step(forward: nn.Module, sizes: list[int]) -> list[Tensor]:
    """Output, gradients and buffers after a step without an optimiser."""
    images = torch.randn(sum(sizes), 3, 8, 8, dtype=DTYPE).requires_grad_()
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


def messages() -> list[bool]:
    """Return for each message of a recorded step if it waits for the one before it."""
    programs: list[torch.fx.GraphModule] = []

    def keep(program: torch.fx.GraphModule, **options: Any) -> torch.fx.GraphModule:
        programs.append(program)
        return program

    with mock.patch.object(torch_internals.torch, "compile", keep):
        trained("step", batch_size=8, penalty="r1")
    nodes = (node for node in programs[0].graph.nodes if str(node.target).startswith("bngan."))
    return ["after" in node.kwargs for node in nodes]


def trained(compile: Any, **options: Any) -> dict[str, Any]:
    model = ModelConfig("dcgan", 8, False, GeneratorConfig(4), DiscriminatorConfig(4, norm="batch"))
    data = ImageSplit(np.random.default_rng(0).integers(0, 256, (20, 16, 16, 1), dtype=np.uint8))
    execution, optimization = ExecutionConfig(compile=compile), OptimizationConfig(**options)
    trainer = Trainer(model, optimization, data.spec, 1, dtype=DTYPE, execution=execution)
    trainer.fit(data, 4 * optimization.batch_size)
    return trainer.state_dict()


def apart(batch_size: int) -> float:
    """Greatest difference of weights between compiled and eager trainings."""
    one, other = (trained(mode, batch_size=batch_size, penalty="r1") for mode in ("step", "off"))
    weights = [(one[net], other[net]) for net in ("generator", "discriminator")]
    return max(float((a[k] - b[k]).abs().max()) for a, b in weights for k in a)


def test_a_recorded_step_sends_its_messages_in_order() -> None:
    for waiting in run_workers(2, messages):
        assert len(waiting) > 12
        assert waiting == [False] + [True] * (len(waiting) - 1)


@pytest.mark.full
@pytest.mark.parametrize("batch_size", [3, 8])
def test_two_workers_compile_whole_steps_with_a_penalty(batch_size: int) -> None:
    assert max(run_workers(2, apart, batch_size)) < 1e-9


@pytest.mark.parametrize(
    "backend",
    ["aot_eager_decomp_partition", pytest.param("inductor", marks=pytest.mark.full)],
)
def test_two_workers_compile_the_whole_network(backend: str) -> None:
    for found in run_workers(2, differences, backend):
        assert len(found) == 2 * 16  # output, 9 gradients, 6 buffers
        assert max(found) < 1e-9
