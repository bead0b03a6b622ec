"""Number of threads for linear algebra: one thread is faster for small matrices."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import torch
from threadpoolctl import threadpool_limits

_WIDE = 512
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def limit_blas_threads(features: int) -> Any:
    """Return a context that limits BLAS to one thread for fewer than 512 features.

    More threads only contend for such small matrices: with 64 features two threads take a hundred
    times as long as one on a busy machine.
    """
    return threadpool_limits(1 if features < _WIDE else None, "blas")


def map_in_threads(function: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
    """Return ``function`` of each item, in order, computed in as many threads as torch has.

    BLAS takes one thread in each, so that the arrays of an item stay in one processor's cache. The
    threads gain where ``function`` spends its time in numpy.
    """
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return list(pool.map(function, items))
