"""Refuse addresses at which no Ray answers, and folders too long for its sockets."""

import socket
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pipeline.cluster import address as module
from pipeline.cluster.address import require_cluster, socket_folder_problem
from pipeline.core.errors import ServerUnavailableError, UserError

SESSION = "ray/session_2026-11-30_07-20-43_776731_4194304/sockets/plasma_store"
"""As Ray names it, with the highest process id of Linux."""


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_somebody_listens(listener: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "running_cluster", lambda: f"127.0.0.1:{listener}")
    for address in (f"127.0.0.1:{listener}", f"ray://localhost:{listener}", "auto", "local", ""):
        monkeypatch.setenv("RAY_ADDRESS", address)
        require_cluster()
    monkeypatch.delenv("RAY_ADDRESS")
    require_cluster()


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
    with pytest.raises(ServerUnavailableError, match=f"RAY_ADDRESS=127.0.0.1:{port} .*unset"):
        require_cluster()


@pytest.mark.parametrize(
    ("found", "reason"),
    [(None, "none runs on this machine"), ("127.0.0.1:1", "Connection refused")],
)
def test_no_cluster_runs_on_this_machine(
    found: str | None, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None at all, or one that has died and left its address behind."""
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    monkeypatch.setattr(module, "running_cluster", lambda: found)
    with pytest.raises(ServerUnavailableError, match=rf"RAY_ADDRESS=auto \({reason}\)"):
        require_cluster()


@pytest.mark.parametrize(
    "address", [" ", "Auto", "head", "http://head:8265", "head:", "head:99999", "a b:1"]
)
def test_what_is_no_address(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(UserError, match="is no HOST:PORT") as refused:
        require_cluster()
    assert not isinstance(refused.value, ServerUnavailableError)


@pytest.mark.parametrize("name", ["TMPDIR", "RAY_TMPDIR"])
def test_only_folders_in_which_sockets_can_be_are_taken(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TMPDIR", raising=False)
    assert socket_folder_problem() is None
    monkeypatch.setenv("RAY_TMPDIR", "")  # counts as unset
    with tempfile.TemporaryDirectory(dir="/tmp") as base:
        for length in range(len(base) + 2, 60):
            folder = Path(base) / ("é" * 2).ljust(length - len(base) - 3, "x")
            path = folder / SESSION
            path.parent.mkdir(parents=True, exist_ok=True)
            possible = False
            with suppress(OSError), socket.socket(socket.AF_UNIX) as opened:
                opened.bind(str(path))
                possible = True
            path.unlink(missing_ok=True)
            monkeypatch.setenv(name, str(folder))
            problem = socket_folder_problem()
            assert (problem is None) == possible, folder
            assert problem is None or problem.startswith(f"{name}={folder} is too long")
