"""Work in threads."""

from threading import Barrier

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info

from bngan.numerics.threads import map_in_threads


def test_results_are_in_order_and_blas_takes_one_thread() -> None:
    assert np.ones((2, 2)) @ np.ones(2) == pytest.approx([2, 2])  # loads BLAS

    def blas_threads(item: int) -> tuple[int, int]:
        return item, max(
            pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"
        )

    before = blas_threads(0)[1]
    assert map_in_threads(blas_threads, range(50)) == [(item, 1) for item in range(50)]
    assert blas_threads(0)[1] == before


def test_as_many_threads_run_as_torch_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    barrier = Barrier(3, timeout=30)  # passes only if three wait at once
    assert len(map_in_threads(lambda item: barrier.wait(), range(6))) == 6


def test_errors_come_through() -> None:
    with pytest.raises(ZeroDivisionError):
        map_in_threads(lambda item: 1 / item, [1, 0])
