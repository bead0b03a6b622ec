"""SIGTERM and Ctrl-C at any moment, such as those in which Python drops what is raised."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.cli.signals import terminate_as_exit
from pipeline.cluster import launch as cluster

BOTH = pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)]
)


class Trap:
    """When it is finalized."""

    def __init__(self, action: Callable[[], object]) -> None:
        self.action = action

    def __del__(self) -> None:
        self.action()


@BOTH
def test_one_that_python_has_dropped_is_raised_again(number: int, raised: type) -> None:
    def twice() -> None:
        Trap(lambda: signal.raise_signal(number))
        time.sleep(120)

    def work() -> None:
        Trap(twice)
        time.sleep(120)

    started = time.monotonic()
    with pytest.raises(raised), terminate_as_exit():
        work()
    assert time.monotonic() - started < 60


@BOTH
def test_one_that_got_through_is_raised_once(number: int, raised: type) -> None:
    closed = []

    def leave() -> None:
        try:
            signal.raise_signal(number)
        finally:
            time.sleep(0.3)  # what closes the books is left in peace
            closed.append("books")

    with pytest.raises(raised), terminate_as_exit():
        leave()
    assert closed


def test_what_ray_makes_of_one_has_the_same_exit_code() -> None:
    def wait() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except SystemExit:
            raise SystemExit(1) from None  # as Ray's C++ does where it waits

    with pytest.raises(SystemExit) as left, terminate_as_exit():
        wait()
    assert left.value.code == 143
    with pytest.raises(SystemExit) as left, terminate_as_exit():
        sys.exit(7)
    assert left.value.code == 7


def test_afterwards_all_is_as_before() -> None:
    def state() -> list[Any]:
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)
        return [sys.unraisablehook, *map(signal.getsignal, numbers)]

    before = state()
    with terminate_as_exit():
        assert state() != before
    assert state() == before


@BOTH
def test_alarms_are_left_to_who_set_them(number: int, raised: type) -> None:
    def work() -> None:
        signal.raise_signal(signal.SIGALRM)
        Trap(lambda: signal.raise_signal(number))
        time.sleep(120)

    rung = list[str]()
    handler = signal.signal(signal.SIGALRM, lambda *_: rung.append("alarm"))
    left = signal.setitimer(signal.ITIMER_REAL, 1000)
    try:
        with pytest.raises(raised), terminate_as_exit():
            work()
        assert rung == ["alarm"]
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
    finally:
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, *left)


def test_sigterm_while_ray_starts_ends_the_run_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def init(**_: Any) -> None:
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(number))  # as Ray does
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(SystemExit) as left, terminate_as_exit():
        cluster._ray().__enter__()
    assert left.value.code == 143


def test_rays_processes_do_not_hear_of_a_terminal_that_goes_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They live until the command has closed its runs."""
    import ray

    blocked = list[set[int]]()
    monkeypatch.setattr(ray, "init", lambda **_: blocked.append(_blocked_in_a_child()))
    with cluster._ray():
        assert signal.SIGHUP not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert [signal.SIGHUP in each for each in blocked] == [True]


def _blocked_in_a_child() -> set[int]:
    code = "import signal; print(*map(int, signal.pthread_sigmask(signal.SIG_BLOCK, ())))"
    return set(map(int, subprocess.check_output([sys.executable, "-c", code]).split()))


def test_ctrl_c_that_a_script_has_switched_off_stays_off() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with terminate_as_exit():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
