"""Decisions that all workers take alike."""

from bngan.distributed.collectives import broadcast_flag, broadcast_from_rank0, rank
from tests.workers import run_workers


def decisions() -> list[object]:
    """Each worker's own values are others than worker 0's."""
    return [
        broadcast_from_rank0(rank() + 0.1, -rank()),
        broadcast_flag(rank() == 0),
        broadcast_flag(rank() != 0),
    ]


def test_all_workers_decide_as_worker_0_does() -> None:
    expected = [[0.1, 0.0], True, False]
    assert run_workers(3, decisions) == [expected] * 3
    assert decisions() == expected
