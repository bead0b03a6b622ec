"""Waiting for others no longer than we want."""

import threading
import time

import pytest

from pipeline.core.waiting import within


def test_an_answer_in_time_is_passed_on() -> None:
    assert within(60.0, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        within(60.0, lambda: 1 / 0)  # type: ignore[arg-type, return-value]


def test_a_late_answer_is_not_waited_for() -> None:
    over = threading.Event()
    started = time.monotonic()
    with pytest.raises(TimeoutError, match="no answer within 0 s"):
        within(0.1, lambda: over.wait(60))
    assert time.monotonic() - started < 30
    over.set()


def test_the_limit_of_a_library_keeps_its_words() -> None:
    def ask() -> None:
        raise TimeoutError("timed out")

    with pytest.raises(TimeoutError, match="timed out"):
        within(60.0, ask)
