"""Run work beside the main thread, and wait for it no longer than a number of seconds."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

_Result = TypeVar("_Result")


def beside_the_main_thread(work: Callable[[], _Result]) -> Future[_Result]:
    """Run ``work()`` on a daemon thread, and return its future."""
    outcome: Future[_Result] = Future()

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=run, name="beside", daemon=True).start()
    return outcome


def within(seconds: float, ask: Callable[[], _Result]) -> _Result:
    """Return ``ask()``, an exchange with another program, if it is over in time.

    Limits of libraries are for each read, or for each address of a host: a program that sends a byte a
    second keeps to them for ever.

    Raises:
        TimeoutError: if it takes longer; it goes on, and nobody heeds its result.
    """
    try:
        return beside_the_main_thread(ask).result(seconds)
    except TimeoutError as error:
        raise TimeoutError(str(error) or f"no answer within {seconds:.0f} s") from error
