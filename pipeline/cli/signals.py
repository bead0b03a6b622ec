"""SIGTERM, Ctrl-C and a terminal that goes away end a command by an exception.

Open runs are then closed as KILLED.
"""

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from queue import SimpleQueue
from typing import Any

_AGAIN_S = 0.05
"""Seconds until a signal whose exception was dropped is sent again."""


@contextmanager
def terminate_as_exit() -> Iterator[None]:
    """Raise SystemExit(143) for SIGTERM inside the block, and restore all handlers after it.

    SIGHUP, which comes when the terminal goes away, counts as SIGTERM. ``nohup`` switches it off.

    Python drops an exception that is raised while it finalizes an object, or in a callback from C. The
    signal of a dropped SystemExit or KeyboardInterrupt is sent again until its exception gets through.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    raised: list[BaseException] = []
    again: SimpleQueue[int] = SimpleQueue()  # takes no lock that the interrupted code may hold

    def leave(number: int, _: Any) -> None:
        raised[:] = [KeyboardInterrupt() if number == signal.SIGINT else SystemExit(143)]
        raise raised[0]

    def dropped(report: Any) -> None:
        if report.exc_value in raised:
            exits = isinstance(report.exc_value, SystemExit)
            again.put(signal.SIGTERM if exits else signal.SIGINT)
        else:
            hook(report)

    sender = threading.Thread(target=_send_again, args=(again, threading.get_ident()), daemon=True)
    with ExitStack() as stack:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            # A script switches off Ctrl-C for what runs in its background, and nohup SIGHUP.
            if signal.getsignal(number) is not signal.SIG_IGN:
                stack.callback(signal.signal, number, signal.signal(number, leave))
        hook, sys.unraisablehook = sys.unraisablehook, dropped
        stack.callback(setattr, sys, "unraisablehook", hook)
        sender.start()
        try:
            yield
        except SystemExit as error:
            # Of one that arrives while Ray waits in its own code, Ray makes another, with exit code 1.
            raise raised[0] if raised else error from None
        finally:
            again.put(0)
            sender.join()  # while the handlers are those of the block


def _send_again(numbers: SimpleQueue[int], main: int) -> None:
    """Send each signal to the thread ``main`` after a moment, until a zero comes."""
    while number := numbers.get():
        time.sleep(_AGAIN_S)
        signal.pthread_kill(main, number)
