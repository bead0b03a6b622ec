"""Processes with an environment of their own, for what libraries read when they are imported."""

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from unittest.mock import patch


def process_with(**environment: str) -> ProcessPoolExecutor:
    """Return a process that has started with these variables; functions can be submitted to it."""
    pool = ProcessPoolExecutor(1, get_context("spawn"))
    with patch.dict(os.environ, environment):
        pool.submit(os.getpid).result()
    return pool
