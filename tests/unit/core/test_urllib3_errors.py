"""What the urllib3 that is installed raises where a server does not answer, and what a person reads."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from pipeline.core.urllib3_errors import brief_text, connection_reason
from tests.ports import reserve_port

REFUSED = "[Errno 111] Connection refused"


def failure(url: str) -> Exception:
    """Return the error of a request to ``url`` that is tried twice, as MLflow does it."""
    session, again = requests.Session(), Retry(1, backoff_factor=0, status_forcelist=[503])
    session.mount("http://", HTTPAdapter(max_retries=again))
    with pytest.raises(requests.RequestException) as caught:
        session.get(url, timeout=0.2)
    return caught.value


def no_answer(url: str) -> Exception:
    """Return the error of a request that is refused, put into another one in MLflow's words."""
    try:
        try:
            raise failure(url)
        except Exception as error:
            raise RuntimeError(f"API request to {url} failed with exception {error}")  # noqa: B904 (MLflow's way)
    except RuntimeError as error:
        return error


@contextmanager
def server(answer: Any) -> Iterator[str]:
    """Serve requests by ``answer``; the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{found.server_port}"
        found.shutdown()


def test_a_closed_port() -> None:
    url = f"http://127.0.0.1:{reserve_port()}"
    assert connection_reason(failure(url)) == REFUSED
    assert connection_reason(no_answer(url)) == REFUSED
    assert brief_text(failure(url)) == f"failed: {REFUSED}"
    assert brief_text(no_answer(url)) == f"API request to {url} failed: {REFUSED}"


def test_a_host_that_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    expected = "Failed to resolve 'nowhere.invalid' ([Errno -2] Name or service not known)"
    assert connection_reason(failure("http://nowhere.invalid:80")) == expected


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda request: None, "Remote end closed connection without response"),
        (lambda request: threading.Event().wait(1), "Read timed out. (read timeout=0.2)"),
        (lambda request: request.send_error(503), "too many 503 error responses"),
    ],
    ids=["closes", "hangs", "503"],
)
def test_a_server_that_fails(answer: Any, reason: str) -> None:
    with server(answer) as url:
        error = failure(url)
    assert connection_reason(error) == reason
    assert brief_text(error) == f"failed: {reason}"


def test_an_error_without_urllib3_keeps_its_text() -> None:
    for error in (KeyError("a"), OSError(28, "full"), requests.ConnectionError("closed")):
        assert connection_reason(error) is None
        assert brief_text(error) == str(error)
    hidden = RuntimeError("of its own")
    hidden.__context__, hidden.__suppress_context__ = failure("http://127.0.0.1:1"), True
    assert connection_reason(hidden) is None


def test_an_error_that_is_its_own_cause_has_an_end() -> None:
    error = RuntimeError("again")
    error.__cause__ = error
    assert connection_reason(error) is None
    assert brief_text(error) == "again"
