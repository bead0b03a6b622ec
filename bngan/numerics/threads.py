"""Threads for linear algebra: small matrices are done sooner by one."""

from typing import Any

from threadpoolctl import threadpool_limits

_WIDE = 512


def as_many_as_help(features: int) -> Any:
    """A context in which BLAS takes one thread, for features so few that several only get in each
    other's way: on a busy machine 64 features take a hundred times as long by two as by one.
    """
    return threadpool_limits(1 if features < _WIDE else None, "blas")
