"""A bit that flips on one worker is found before the next checkpoint; without one there is no alarm."""

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import pytest
import torch
from torch import Tensor

from bngan.distributed import collectives
from bngan.distributed.checksums import CorruptionError
from bngan.distributed.collectives import all_reduce_sum, rank
from bngan.distributed.replicas import assert_replicas_equal
from bngan.distributed.shared_memory import SharedMemory
from bngan.serialization.checkpoint import CheckpointStore
from pipeline.training.loop import TrainingLoop
from tests.distributed.loop import BATCH, in_storage, outcome, run_loop
from tests.distributed.loop import prepare as prepare_loop
from tests.workers import run_workers

START, END, FLIPS = 216, 264, 50
"""Images of the checkpoint that each training goes on from, and in the end; number of flips."""
STATE = ("generator", "discriminator", "ema", "optimizer_g", "optimizer_d", "best")
KINDS = (*STATE, "sum", "message")
"""Places of a flip: state, a sum that a worker received, another worker's part as it is read."""
_MESSAGES = 6
"""Messages of a step."""


class Attempt(NamedTuple):
    """Hold the place of a flip, and the error that a worker raised."""

    kind: str
    where: str
    error: str


def flip(tensor: Tensor, random: np.random.Generator) -> None:
    """Flip one bit of one element."""
    element = tuple(random.integers(length) for length in tensor.shape)
    size = tensor.element_size()
    word = tensor.detach()[element].numpy().reshape(1).view(f"u{size}")
    word ^= np.array(1 << int(random.integers(8 * size)), word.dtype)


def tensors(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from tensors(each, f"{name}.{key}")


class Flip:
    """Flips a bit on one of two workers, before or in a step that dice choose."""

    def __init__(self, seed: int) -> None:
        self.random, self.kind = np.random.default_rng(seed), KINDS[seed % len(KINDS)]
        self.mine, self.step = self.random.integers(2) == rank(), self.random.integers(3)
        self.where = ""

    def __call__(self, loop: TrainingLoop) -> None:
        """Have ``loop`` take its steps with the flip."""
        take = loop.trainer.train_on_batch

        def step(batch: Any) -> Any:
            due = self.mine and loop.trainer.steps_done == START // BATCH + self.step
            if due and self.kind in STATE:
                self._strike(loop)
            with self._in_a_message() if due and self.kind not in STATE else nullcontext():
                return take(batch)

        loop.trainer.train_on_batch = step  # type: ignore[method-assign]

    def _strike(self, loop: TrainingLoop) -> None:
        state = list(tensors({**loop.trainer.state_dict(), "best": loop.best}[self.kind]))
        self.where, chosen = state[self.random.integers(len(state))]
        flip(chosen, self.random)

    def _in_a_message(self) -> AbstractContextManager[Any]:
        """Inside, one message is altered."""
        left, slots = [self.random.integers(_MESSAGES)], list[Tensor]()
        original_sum, original_slots, original_meet = (
            SharedMemory.sum,
            SharedMemory._slots,
            SharedMemory._meet,
        )

        def total(memory: SharedMemory, tensor: Tensor) -> None:
            original_sum(memory, tensor)
            self._once(left, tensor.view(-1))

        def noted(memory: SharedMemory, part: Tensor) -> list[Tensor]:
            slots[:] = original_slots(memory, part)
            return slots

        def meet(memory: SharedMemory, mine: int) -> dict[int, int]:
            sums = original_meet(memory, mine)
            self._once(left, slots[1 - rank()])
            return sums

        if self.kind == "sum":
            return mock.patch.object(SharedMemory, "sum", total)
        return mock.patch.multiple(SharedMemory, _slots=noted, _meet=meet)

    def _once(self, left: list[Any], tensor: Tensor) -> None:
        left[0] -= 1
        if left[0] == -1:
            self.where = f"{tensor.nbytes} bytes"
            flip(tensor, self.random)


def attempt(settings: dict[str, Any], start: Path, folder: Path, seed: int) -> Attempt:
    """Go on from the checkpoint with a flip, as far as that goes."""
    if rank() == 0:
        shutil.copytree(start, folder)
    torch.distributed.barrier()
    planted, error = Flip(seed), ""
    try:
        run_loop(in_storage(settings, folder, images=END), sabotage=planted)
    except CorruptionError as found:
        error = str(found)
    torch.distributed.barrier()
    collectives._memories.clear()  # as in a new process
    collectives._received.clear()
    return Attempt(planted.kind, planted.where, error)


def attempts(settings: dict[str, Any], start: Path, folder: Path, seeds: range) -> list[Attempt]:
    return [attempt(settings, start, folder / str(seed), seed) for seed in seeds]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return prepare_loop(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def start(settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("start") / "x"
    run_workers(2, run_loop, in_storage(settings, folder, images=START))
    return folder


def test_flipped_bits_are_found_before_the_next_checkpoint(
    settings: dict[str, Any], start: Path, tmp_path: Path
) -> None:
    shutil.copytree(start, tmp_path / "undisturbed")
    run_workers(2, run_loop, in_storage(settings, tmp_path / "undisturbed", images=END))
    expected, found = outcome(tmp_path / "undisturbed"), Counter[str]()
    first, second = run_workers(2, attempts, settings, start, tmp_path, range(FLIPS))
    for seed, (one, other) in enumerate(zip(first, second, strict=True)):
        assert one.where or other.where
        assert bool(one.error) == bool(other.error)
        if one.error:
            found[one.kind] += 1
            newest = CheckpointStore(tmp_path / str(seed)).saved()[-1]
            assert newest <= START + BATCH * Flip(seed).step
        else:  # a step had overwritten it before anything read it
            assert outcome(tmp_path / str(seed)) == expected
    assert min(found[kind] for kind in KINDS) >= 3
    assert found["sum"] == found["message"] == found["best"] == FLIPS // len(KINDS)


@pytest.mark.parametrize("seed", [0, 6, 7])
def test_the_same_training_goes_on_and_ends_as_undisturbed(
    seed: int, settings: dict[str, Any], start: Path, tmp_path: Path
) -> None:
    shutil.copytree(start, tmp_path / "undisturbed")
    run_workers(2, run_loop, in_storage(settings, tmp_path / "undisturbed", images=END))
    seeds = range(seed, seed + 1)
    ((one,), (other,)) = run_workers(2, attempts, settings, start, tmp_path, seeds)
    assert one.error.startswith("step ")
    assert other.error.startswith("step ")
    run_workers(2, run_loop, in_storage(settings, tmp_path / str(seed), images=END))
    assert outcome(tmp_path / str(seed)) == outcome(tmp_path / "undisturbed")


def without_shared_memory() -> list[str]:
    """A sum that one of three workers receives altered over gloo, and what each finds then."""
    found = []
    with mock.patch.object(collectives, "_shared_memory", return_value=None):
        for altered in (False, True):
            total = all_reduce_sum(torch.ones(3))
            if altered and rank() == 2:
                collectives._received[torch.distributed.group.WORLD] ^= 1
            try:
                assert_replicas_equal({"total": total})
                found.append("")
            except CorruptionError as error:
                found.append(str(error))
    return found


def test_sums_over_gloo_are_compared() -> None:
    expected = ["", "workers 0, 1 and 2 differ in sums received"]
    assert run_workers(3, without_shared_memory) == [expected] * 3
