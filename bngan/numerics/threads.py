"""Number of threads for linear algebra: one thread is faster for small matrices."""

from typing import Any

from threadpoolctl import threadpool_limits

_WIDE = 512


def limit_blas_threads(features: int) -> Any:
    """Return a context that limits BLAS to one thread for fewer than 512 features.

    More threads only contend for such small matrices: with 64 features two threads take a hundred
    times as long as one on a busy machine.
    """
    return threadpool_limits(1 if features < _WIDE else None, "blas")
