"""Number of operators that a step calls: a GPU waits for the host to launch each of them."""

from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from bngan.data.dataset import ImageSpec
from bngan.distributed.collectives import shard_slice
from bngan.networks.config import DiscriminatorConfig, GeneratorConfig, ModelConfig
from bngan.training.config import OptimizationConfig
from bngan.training.trainer import Trainer
from tests.workers import run_workers

BATCH = 8
LIMITS = {"mlp": (592, 886), "dcgan": (1234, 2870)}
"""Operators of a step, those that others call included: of one worker, and of each of two. In
November 2026 they were 614, 918, 1246 and 3016."""


def operators(network: Any) -> int:
    """Count the operators of the third step on this worker."""
    body: dict[str, Any] = {"width": 16, "norm": "batch"}
    networks = GeneratorConfig(**body), DiscriminatorConfig(**body)
    model = ModelConfig(network, 16, False, *networks)
    optimization = OptimizationConfig(batch_size=BATCH, precision="bfloat16")
    trainer = Trainer(model, optimization, ImageSpec((3, 32, 32)), seed=0)
    real = (torch.rand(BATCH, 3, 32, 32) * 2 - 1)[shard_slice(BATCH)]
    for _ in range(2):
        trainer.step(real)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        trainer.step(real)
    return sum(event.name.startswith("aten::") for event in profiled.events())


@pytest.mark.parametrize("network", LIMITS)
def test_a_step_calls_no_more_operators_than_it_did(network: str) -> None:
    alone, shared = LIMITS[network]
    assert operators(network) <= alone
    assert max(run_workers(2, operators, network)) <= shared
