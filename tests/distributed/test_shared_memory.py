"""Sums of workers that are on one machine, beside gloo's."""

import errno
import gc
import os
import re
import signal
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from unittest import mock

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from bngan.distributed import shared_memory
from bngan.distributed.checksums import CorruptionError
from bngan.distributed.collectives import all_reduce_sum, rank
from bngan.distributed.shared_memory import SharedMemory
from tests.workers import run_workers

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


@pytest.fixture
def folder() -> Iterator[Path]:
    """With a path so short that there is room for an address."""
    with tempfile.TemporaryDirectory(dir="/tmp") as made:
        yield Path(made)


def found(folder: Path, able: int, elsewhere: str) -> bool:
    """Whether memory is shared where all but so many workers have to keep their sockets elsewhere."""
    place = folder / ("y" if rank() < able else elsewhere)
    if place.name != "missing":
        place.mkdir(exist_ok=True)
    tempfile.tempdir = str(place)
    total = all_reduce_sum(torch.ones(3))
    assert (total == dist.get_world_size()).all()
    shared = shared_memory.connect() is not None
    dist.barrier()
    assert not place.exists() or not list(place.iterdir())
    return shared


@pytest.mark.parametrize("elsewhere", ["x" * 100, "missing"])
def test_workers_that_cannot_reach_each_other_use_gloo(folder: Path, elsewhere: str) -> None:
    assert run_workers(2, found, folder, 2, elsewhere) == [True, True]
    assert run_workers(2, found, folder, 1, elsewhere) == [False, False]
    assert run_workers(3, found, folder, 0, elsewhere) == [False, False, False]


def altered(writer: int, reader: int, size: int) -> str:
    """Return the error of a worker while one worker reads another's part with one bit altered."""
    all_reduce_sum(torch.ones(size))
    meet = SharedMemory._meet

    def met(memory: SharedMemory, mine: int) -> dict[int, int]:
        sums = meet(memory, mine)
        if rank() == reader:
            memory._memory[memory._start(writer) + size // 2] ^= 4
        return sums

    with mock.patch.object(SharedMemory, "_meet", met):
        try:
            for _ in range(2):  # who has read it before comes to the next one
                all_reduce_sum(torch.ones(size))
        except CorruptionError as error:
            return str(error)
    return ""


@pytest.mark.parametrize("size", [3, 100_000])
def test_a_part_that_is_altered_is_an_error_on_all_workers(size: int) -> None:
    for message in run_workers(3, altered, 1, 2, size):
        assert re.fullmatch(r"worker [02] found what worker 1 sent to a sum altered", message)


def without_memory() -> bool:
    """Whether memory is shared where worker 0 gets none."""

    def none(name: str) -> int:
        raise OSError(errno.EMFILE, name)

    os.memfd_create = none  # type: ignore[assignment]
    return shared_memory.connect() is not None


def test_without_memory_there_is_gloo() -> None:
    assert run_workers(2, without_memory) == [False, False]


def mapped() -> bool:
    return "/memfd:bngan" in Path("/proc/self/maps").read_text()


def before_and_after(folder: Path) -> list[bool]:
    """Whether there is memory: with a process group, without it, and with another one."""
    mine, seen = rank(), []
    all_reduce_sum(torch.ones(1))
    seen.append(mapped())
    dist.barrier()
    dist.destroy_process_group()
    gc.collect()
    seen.append(mapped())
    dist.init_process_group("gloo", f"file://{folder}/again", rank=mine, world_size=2)
    assert all_reduce_sum(torch.ones(1)) == 2
    return [*seen, mapped()]


def test_memory_goes_with_its_process_group(tmp_path: Path) -> None:
    assert run_workers(2, before_and_after, tmp_path) == [[True, False, True]] * 2


def left_alone(folder: Path, how: str) -> None:
    """Worker 1 is killed, or stopped, before it comes."""
    if how == "SIGSTOP":
        shared_memory._TIMEOUT = timedelta(seconds=5)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # which it gets once worker 1 is seen to be dead
    dist.barrier()  # from here on both are as fast as each other
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
        ("SIGSTOP", "TimeoutError: worker 1 has not come to a sum for 0:00:05"),
    ],
)
def test_a_worker_that_is_left_alone_does_not_wait_for_ever(
    tmp_path: Path, how: str, message: str
) -> None:
    with pytest.raises((mp.ProcessExitedException, mp.ProcessRaisedException)):
        run_workers(2, left_alone, tmp_path, how)
    assert (tmp_path / "told").read_text() == message
