"""The model beside what others measured, and its parts beside what they stand for."""

import numpy as np
import pytest

from tests.benchmarks.scaling_check import ring
from tests.benchmarks.scaling_curves import EFA, INFINIBAND
from tests.benchmarks.scaling_model import Line, Worker, most_drawn, slowest, step_seconds


@pytest.mark.parametrize("workers", [1, 2, 3, 16, 1024])
def test_the_slowest_of_many(workers: int) -> None:
    draws = np.random.default_rng(0).standard_normal((4000, workers)).max(1)
    assert slowest(workers) == pytest.approx(draws.mean(), abs=0.05)


@pytest.mark.parametrize(
    ("network", "size", "workers", "seconds"),
    [
        (INFINIBAND, 8, 8, 12.9e-6),  # aws/aws-k8s-tester pull 503, H100
        (INFINIBAND, 4096, 8, 16.7e-6),  # deepseek-ai/DeepEP issue 303, H20
        (INFINIBAND, 128, 256, 63.9e-6),  # NVIDIA/nccl issue 652, 32 nodes of 8 A100
        (EFA, 64, 16, 55.6e-6),  # dstackai/dstack pull 3961, 2 nodes of 8 B200
    ],
)
def test_small_messages_of_nccl_take_what_others_measured(
    network: object, size: int, workers: int, seconds: float
) -> None:
    assert network.seconds(size, workers) == pytest.approx(seconds, rel=0.2)  # type: ignore[attr-defined]


def test_a_ring_of_two_takes_what_two_took() -> None:
    line = Line(1e-3, 1e-9)
    assert ring(line).seconds(10**6, 2) == pytest.approx(line.seconds(10**6, 2))
    assert ring(line).seconds(0, 65) == pytest.approx(64e-3)
    assert ring(line).seconds(10**9, 1000) == pytest.approx(2, abs=1)


def test_a_step_is_compute_and_waiting_and_messages() -> None:
    worker, line = Worker(0.1, [0.001, 0.002], 1e-6, 50, cores=2), Line(1e-3, 1e-9)
    assert step_seconds(worker, [10**6], line, 1) == pytest.approx(0.10005)
    two = 0.1001 + 0.003 / np.sqrt(np.pi) + 1e-3 + 1e-3
    assert step_seconds(worker, [10**6], line, 2) == pytest.approx(two)
    assert step_seconds(worker, [], line, 4) == pytest.approx(2 * 0.1002)
    one_of_many = Worker(0.1, [], 1e-6, 64)
    assert step_seconds(one_of_many, [], line, 1024) == pytest.approx(0.1 + 256e-6)


def test_workers_draw_latents_from_the_start_of_the_blocks_that_theirs_lie_in() -> None:
    assert [most_drawn(64, workers) for workers in (1, 2, 3, 4, 1024)] == [64, 128, 192, 256, 256]
    assert most_drawn(96, 8) == 256 + 64  # those of the sixth end in the next block
    assert most_drawn(600, 1) == 600
