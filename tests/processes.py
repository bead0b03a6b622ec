"""Processes of their own: with an environment that libraries read, or two that begin at once."""

import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any
from unittest.mock import patch


def process_with(**environment: str) -> ProcessPoolExecutor:
    """Return a process that has started with these variables; functions can be submitted to it."""
    pool = ProcessPoolExecutor(1, get_context("spawn"))
    with patch.dict(os.environ, environment):
        pool.submit(os.getpid).result()
    return pool


def two_at_once(code: str, *arguments: str) -> list[tuple[str, str]]:
    """Run code, which waits for a line of input, in two processes; return what each one printed."""
    command = [sys.executable, "-c", code, *arguments]
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    both = [subprocess.Popen(command, text=True, **pipes) for _ in range(2)]
    for process in both:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    told = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    return told
