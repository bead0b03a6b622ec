"""How many messages a step sends, and how large they are: nothing may add one unnoticed."""

from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest
import torch
import torch.distributed as dist
from torch.utils._python_dispatch import TorchDispatchMode

from bngan.data.dataset import ImageSpec
from bngan.distributed.collectives import all_reduce_sum, shard_slice
from bngan.distributed.shared_memory import SharedMemory
from bngan.networks.config import DiscriminatorConfig, GeneratorConfig, ModelConfig
from bngan.training.config import OptimizationConfig
from bngan.training.trainer import Trainer
from tests.benchmarks.scaling_model import channels, messages, parameters
from tests.workers import run_workers

BATCH, SPEC = 8, ImageSpec((1, 16, 16))
NORMS = ModelConfig("dcgan", 16, False, GeneratorConfig(8), DiscriminatorConfig(8, norm="batch"))
CASES: dict[str, tuple[ModelConfig, OptimizationConfig]] = {
    "norms in both": (NORMS, OptimizationConfig(batch_size=BATCH)),
    "joint": (
        replace(NORMS, discriminator=replace(NORMS.discriminator, batch_statistics="joint")),
        OptimizationConfig(batch_size=BATCH),
    ),
    "norms in G": (
        replace(NORMS, discriminator=replace(NORMS.discriminator, norm="none")),
        OptimizationConfig(batch_size=BATCH),
    ),
    "no norms": (
        ModelConfig("dcgan", 16, False, GeneratorConfig(8, norm="none"), DiscriminatorConfig(8)),
        OptimizationConfig(batch_size=BATCH),
    ),
}


class Collectives(TorchDispatchMode):
    """The bytes of every collective, in order: of all kinds, and whoever calls it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []
        total = SharedMemory.sum

        def counted(memory: SharedMemory, tensor: torch.Tensor) -> None:
            self.seen.append(tensor.nbytes)
            total(memory, tensor)

        self._through_memory = patch.object(SharedMemory, "sum", counted)

    def __enter__(self) -> "Collectives":
        self._through_memory.start()
        super().__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)
        self._through_memory.stop()

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if op.namespace in ("c10d", "_c10d_functional"):
            tensors = torch.utils._pytree.tree_leaves((args, kwargs or {}))
            self.seen.append(sum(t.nbytes for t in tensors if isinstance(t, torch.Tensor)))
        return op(*args, **(kwargs or {}))


def sent(model: ModelConfig, optimization: OptimizationConfig) -> list[int]:
    """Of one step, the second, on this worker."""
    trainer = Trainer(model, optimization, SPEC, seed=0)
    real = (torch.rand(BATCH, *SPEC.shape) * 2 - 1)[shard_slice(BATCH)]
    trainer.step(real)
    with Collectives() as collectives:
        trainer.step(real)
    return collectives.seen


def all_sent() -> dict[str, list[int]]:
    return {name: sent(*case) for name, case in CASES.items()}


def kinds() -> list[int]:
    """One of each kind that the code might come to use, and one from a backward."""
    one = all_reduce_sum(torch.ones(2))  # the first one connects the workers
    with Collectives() as collectives:
        dist.all_reduce(one)
        dist.broadcast(one, src=0)
        dist.all_gather([torch.ones(2), torch.ones(2)], one)
        dist.barrier()
        dist.all_reduce(one, async_op=True).wait()
        all_reduce_sum(one.requires_grad_()).sum().backward()
    return collectives.seen


@pytest.fixture(scope="module")
def everyone() -> list[dict[str, list[int]]]:
    return run_workers(2, all_sent)


@pytest.mark.parametrize("name", CASES)
def test_a_step_sends_what_its_norms_and_optimisers_need(
    everyone: list[dict[str, list[int]]], name: str
) -> None:
    model, optimization = CASES[name]
    trainer = Trainer(model, optimization, SPEC, seed=0)
    generator, discriminator = trainer.generator, trainer.discriminator
    norms_g, norms_d = len(channels(generator)), len(channels(discriminator))
    for worker in everyone:
        assert len(worker[name]) == 2 * norms_g + 4 * norms_d + 2
        joint = model.discriminator.batch_statistics == "joint"
        assert worker[name] == messages(generator, discriminator, joint=joint)


def test_the_cases_have_norms_to_count(everyone: list[dict[str, list[int]]]) -> None:
    assert [len(everyone[0][name]) for name in CASES] == [10, 10, 6, 2]


def test_a_network_without_norms_sends_its_gradients_alone(
    everyone: list[dict[str, list[int]]],
) -> None:
    trainer = Trainer(*CASES["no norms"], SPEC, seed=0)
    networks = trainer.discriminator, trainer.generator
    assert everyone[0]["no norms"] == [4 * parameters(network) for network in networks]


def test_groups_within_a_worker_send_what_running_statistics_follow_alone() -> None:
    optimization = OptimizationConfig(batch_size=BATCH, norm_batch=BATCH // 2)
    trainer = Trainer(NORMS, optimization, SPEC, seed=0)
    norms = channels(trainer.generator), channels(trainer.discriminator)
    # Mean and variance in float32, of two groups in G, and of real and fake ones in D.
    norms_g, norms_d = ([4 * 2 * 2 * k * c for c in kind] for k, kind in enumerate(norms, 1))
    gradients = [4 * parameters(n) for n in (trainer.discriminator, trainer.generator)]
    for seen in run_workers(2, sent, NORMS, optimization):
        assert seen == [*norms_g, *norms_d, *gradients]


def test_whatever_sends_is_counted() -> None:
    for seen in run_workers(2, kinds):
        assert len(seen) == 7
