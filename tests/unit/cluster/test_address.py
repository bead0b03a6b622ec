"""Refuse addresses at which no Ray answers, and folders too long for its sockets."""

import http.server
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pipeline.cluster import address as module
from pipeline.cluster.address import require_cluster, socket_folder_problem
from pipeline.core.errors import ServerUnavailableError, UserError

SESSION = "ray/session_2026-11-30_07-20-43_776731_4194304/sockets/plasma_store"
"""As Ray names it, with the highest process id of Linux."""


SETTINGS = bytes.fromhex("000018040000000000")
"""The first nine bytes that Ray's GCS sends to whoever connects."""
Port = Callable[[Callable[[socket.socket], object]], int]


@pytest.fixture
def served() -> Iterator[Port]:
    """Return a function that lets a function answer all connections, and returns the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve(answer: Callable[[socket.socket], object]) -> int:
            def run() -> None:
                with suppress(OSError):
                    while True:
                        answer(server.accept()[0])

            threading.Thread(target=run, daemon=True).start()
            port: int = server.getsockname()[1]
            return port

        yield serve
        server.shutdown(socket.SHUT_RDWR)


def test_ray_answers(served: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    port = served(lambda connection: connection.sendall(SETTINGS))
    monkeypatch.setattr(module, "running_cluster", lambda: f"127.0.0.1:{port}")
    for address in (f"127.0.0.1:{port}", f"ray://localhost:{port}", "auto", "local", ""):
        monkeypatch.setenv("RAY_ADDRESS", address)
        require_cluster()
    monkeypatch.delenv("RAY_ADDRESS")
    require_cluster()


def drip(connection: socket.socket) -> None:
    with suppress(OSError):
        while True:
            connection.sendall(b"H")
            time.sleep(0.1)


def web(connection: socket.socket) -> None:
    http.server.SimpleHTTPRequestHandler(connection, ("127.0.0.1", 0), None)  # type: ignore[arg-type]
    connection.close()


HELD = list[socket.socket]()


@pytest.mark.parametrize("scheme", ["", "ray://"])
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (HELD.append, "timed out|no answer within"),
        (drip, "is not Ray"),
        (web, "is not Ray"),
        (lambda connection: connection.close(), "is not Ray|reset"),
    ],
)
def test_another_program_is_not_waited_for(
    answer: Callable[[socket.socket], object],
    reason: str,
    scheme: str,
    served: Port,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ray itself tries for ever at a GCS that is none: 400 s and more were measured."""
    monkeypatch.setattr(module, "_TIMEOUT_S", 0.5)
    monkeypatch.setenv("RAY_ADDRESS", f"{scheme}127.0.0.1:{served(answer)}")
    with pytest.raises(ServerUnavailableError, match=reason):
        require_cluster()


def test_with_rays_tls_somebody_who_listens_is_enough(
    served: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_USE_TLS", "1")
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{served(HELD.append)}")
    require_cluster()


def test_a_name_server_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TIMEOUT_S", 0.1)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: time.sleep(60))
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    with pytest.raises(ServerUnavailableError, match="no answer within"):
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
