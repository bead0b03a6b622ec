"""Records of workers while Ray runs beside the main thread."""

import queue
import threading
from typing import Any

import pytest
from ray.util.queue import Empty

from pipeline.cluster.relay import fit_and_relay
from pipeline.core.errors import UserError


class Records(queue.Queue[dict[str, Any]]):
    """As Ray's queue, which has an ``Empty`` of its own."""

    def get(self, block: bool = True, timeout: float | None = None) -> dict[str, Any]:
        try:
            return super().get(block, timeout and timeout / 100)
        except queue.Empty:
            raise Empty from None


def test_all_records_are_passed_on_up_to_the_last() -> None:
    records, found = Records(), list[dict[str, Any]]()

    def fit() -> str:
        assert threading.current_thread() is not threading.main_thread()
        for number in range(100):
            records.put({"value": number})
        return "result"

    assert fit_and_relay(fit, records, found.append) == "result"
    assert found == [{"value": number} for number in range(100)]


def test_a_refusal_is_told_when_ray_has_ended() -> None:
    """Not before: shutting Ray down while a thread waits for it can end the process."""
    records, found = Records(), list[dict[str, Any]]()
    over = threading.Event()

    def fit() -> None:
        records.put({"refused": "x.py is another one"})
        over.wait(0.5)
        over.set()

    with pytest.raises(UserError, match=r"^x\.py is another one$"):
        fit_and_relay(fit, records, found.append)
    assert over.is_set()
    assert found == []


def test_an_error_is_that_of_the_work() -> None:
    with pytest.raises(ZeroDivisionError):
        fit_and_relay(lambda: 1 / 0, Records(), print)
