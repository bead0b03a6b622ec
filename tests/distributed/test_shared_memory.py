"""Sums of workers that are on one machine, beside gloo's."""

import os
import signal
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from bngan import shared_memory
from bngan.distributed import all_reduce_sum, rank
from tests.conftest import run_workers

SHAPES = [(), (0,), (1,), (3, 5), (1 << 18,), (3 << 18, 1), (700_001,)]


def sums(dtype: torch.dtype) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Of tensors of every size, and gloo's."""
    memory = shared_memory.connect()
    assert memory is not None
    generator, found = torch.Generator().manual_seed(rank()), []
    for shape in SHAPES * 2:
        mine = (torch.randn(shape, generator=generator) * 100).to(dtype)
        gloos = mine.clone()
        dist.all_reduce(gloos)
        memory.sum(mine)
        found.append((mine, gloos))
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64])
def test_two_workers_have_gloos_sums(dtype: torch.dtype) -> None:
    first, second = run_workers(2, sums, dtype)
    for (one, gloos), (other, _) in zip(first, second, strict=True):
        assert one.dtype == dtype
        assert torch.equal(one, gloos)
        assert torch.equal(one, other)


def test_more_workers_have_the_same_bits_all_of_them() -> None:
    everyone = run_workers(4, sums, torch.float64)
    for seen in zip(*everyone, strict=True):
        for mine, gloos in seen:
            assert torch.equal(mine, seen[0][0])
            assert torch.allclose(mine, gloos, rtol=1e-13, atol=1e-11)


def counted(rounds: int) -> int:
    """How many sums of so many are wrong where workers come late by turns."""
    wrong = 0
    for number in range(rounds):
        if number % 7 == rank():
            time.sleep(0.001)
        total = all_reduce_sum(torch.full((number % 1_000,), float(number + rank())))
        wrong += not bool((total == 3 * number + 3).all())
    return wrong


def test_no_worker_reads_what_another_has_written_since() -> None:
    assert run_workers(3, counted, 3_000) == [0, 0, 0]


def found(folder: Path, reachable: int) -> bool:
    """Whether memory is shared where all but so many workers have no room for an address."""
    place = folder / ("x" * 100 if rank() >= reachable else "y")
    place.mkdir(exist_ok=True)
    tempfile.tempdir = str(place)
    total = all_reduce_sum(torch.ones(3))
    assert (total == dist.get_world_size()).all()
    shared = shared_memory.connect() is not None
    dist.barrier()
    assert not list(place.iterdir())
    return shared


def test_workers_that_cannot_reach_each_other_use_gloo(tmp_path: Path) -> None:
    assert run_workers(2, found, tmp_path, 2) == [True, True]
    assert run_workers(2, found, tmp_path, 1) == [False, False]
    assert run_workers(3, found, tmp_path, 0) == [False, False, False]


def left_alone(folder: Path, how: str) -> None:
    """Worker 1 is killed, or stopped, before it comes."""
    shared_memory._PATIENCE = timedelta(seconds=2)
    all_reduce_sum(torch.ones(1))
    if rank() == 1:
        (folder / "pid").write_text(str(os.getpid()))
        os.kill(os.getpid(), getattr(signal, how))
    try:
        for _ in range(3):
            all_reduce_sum(torch.ones(1))
    except OSError as error:
        (folder / "told").write_text(f"{type(error).__name__}: {error}")
        os.kill(int((folder / "pid").read_text()), signal.SIGKILL)
        raise


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("SIGKILL", "ConnectionError: worker 1 has gone"),
        ("SIGSTOP", "TimeoutError: worker 1 has not come to a sum for 0:00:02"),
    ],
)
def test_a_worker_that_is_left_alone_does_not_wait_for_ever(
    tmp_path: Path, how: str, message: str
) -> None:
    with pytest.raises((mp.ProcessExitedException, mp.ProcessRaisedException)):
        run_workers(2, left_alone, tmp_path, how)
    assert (tmp_path / "told").read_text() == message
