"""Receivers of alarms that take their time."""

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pipeline.core.errors import RetryableError
from pipeline.monitoring import alerts
from pipeline.monitoring.schedule import AlarmConfig
from tests.waiting import until


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"_WEBHOOK_TIMEOUT_S": 0.5, "_PAUSE_S": 0.0}
    values |= {"_COMMAND_TIMEOUT_S": 1.0, "_CLOSING_TIMEOUT_S": 1.0}
    for name, value in values.items():
        monkeypatch.setattr(alerts, name, value)


@pytest.fixture
def dripping() -> Iterator[str]:
    """A server that sends a byte of its answer each 0.1 s, and never ends."""

    def drip(connection: socket.socket) -> None:
        with suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while True:
                connection.sendall(b"x")
                time.sleep(0.1)

    with socket.create_server(("127.0.0.1", 0)) as server:

        def run() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=drip, args=(server.accept()[0],), daemon=True).start()

        threading.Thread(target=run, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


def test_a_webhook_that_drips_has_a_limit_in_all(dripping: str) -> None:
    started = time.monotonic()
    with pytest.raises(RetryableError, match="could not be told, 3 times: TimeoutError"):
        alerts.tell(AlarmConfig(webhook=f"http://{dripping}/"), {})
    assert time.monotonic() - started < 30


def alive(pid: Path) -> bool:
    """Return whether a process runs, from the file with its number; a zombie does not."""
    with suppress(OSError):
        return Path(f"/proc/{int(pid.read_text())}/stat").read_text().rpartition(")")[2][1] != "Z"
    return False


CHILD = "sh -c 'trap \"{trap}\" TERM; echo $$ > {pid}.new; mv {pid}.new {pid}; {work}'"
SLEEPS = "while true; do sleep 0.1; done"


@pytest.mark.parametrize("trap", ["exit", ""], ids=["heeds SIGTERM", "deaf"])
@pytest.mark.parametrize(
    ("after", "fails"),
    [("", "took more than 1 s"), (" & sleep 60", "took more than 1 s"), (" & exit 4", "code 4")],
)
def test_a_command_leaves_no_process_behind(
    trap: str, after: str, fails: str, tmp_path: Path
) -> None:
    pid = tmp_path / "pid"
    command = CHILD.format(trap=trap, pid=pid, work=SLEEPS) + after
    with pytest.raises(RetryableError, match=fails):
        alerts.tell(AlarmConfig(command=command), {})
    assert pid.exists()
    until(lambda: not alive(pid))


def test_a_child_in_the_background_has_the_time_of_the_command(tmp_path: Path) -> None:
    done, pid = tmp_path / "done", tmp_path / "pid"
    command = (
        f"(sleep 0.3; echo late > {done}) & " + CHILD.format(trap="", pid=pid, work=SLEEPS) + " &"
    )
    assert alerts.tell(AlarmConfig(command=command), {"drift": "alarm"}) == ["command"]
    assert done.read_text() == "late\n"
    until(lambda: not alive(pid))


def test_an_alarm_that_nobody_reads_holds_nobody_up() -> None:
    assert alerts.tell(AlarmConfig(command="true"), {"text": "x" * 1_000_000}) == ["command"]


def test_ctrl_c_ends_the_command_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts, "_COMMAND_TIMEOUT_S", 3600.0)
    pid = tmp_path / "pid"

    def interrupt() -> None:
        until(pid.exists)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        alerts.tell(AlarmConfig(command=CHILD.format(trap="", pid=pid, work=SLEEPS)), {})
    until(lambda: not alive(pid))
