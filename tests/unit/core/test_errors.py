"""How errors end a command: one line, and a code that scripts can go by."""

import copy
from typing import Any

import pytest

from bngan.serialization.problem import Problem
from pipeline.core.errors import UserError, root_cause_line
from pipeline.workflow.results import RunResult, StageFailed
from tests.unit.core.test_urllib3_errors import REFUSED, no_answer

ASKED = "http://127.0.0.1:1/api"


class Wrapped(Exception):
    """As Ray wraps errors of its tasks and workers."""

    def __init__(self, **inside: Any) -> None:
        super().__init__("ray::worker() (pid=1)\n  Traceback\n")
        self.__dict__.update(inside)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("no such thing\nand more"), "ValueError: no such thing"),
        (MemoryError(), "MemoryError"),
        (no_answer(ASKED), f"RuntimeError: API request to {ASKED} failed: {REFUSED}"),
        (OSError(28, "No space left on device", "/x/y"), "No space left on device: /x/y"),
        (OSError("cannot be had"), "OSError: cannot be had"),
        (StageFailed(RunResult("", {}, {}, {}), KeyError("a")), "KeyError: 'a'"),
        (Wrapped(cause=Wrapped(cause=RuntimeError("deep"))), "RuntimeError: deep"),
        (Wrapped(worker_failures={1: Wrapped(cause=OSError(28, "full"))}), "full"),
        (Wrapped(worker_failures={0: ConnectionError("gone"), 1: KeyError("a")}), "KeyError: 'a'"),
        (Wrapped(controller_failure=TimeoutError("late")), "TimeoutError: late"),
    ],
)
def test_the_line_that_matters(error: Exception, line: str) -> None:
    assert root_cause_line(error) == line


def test_an_error_has_its_problems() -> None:
    problem = Problem("train.lr", "train.lr must be positive, got -1")
    error = UserError(problem, "there is no such file")
    assert error.problems == [problem, Problem("", "there is no such file")]
    assert str(error) == "train.lr must be positive, got -1\nthere is no such file"
    assert copy.copy(error).problems == error.problems  # as pickle does for another process
