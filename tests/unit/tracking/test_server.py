"""MLflow's server: whether it is there, what its errors mean, and what they may show."""

import io
import sqlite3
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    INVALID_PARAMETER_VALUE,
    REQUEST_LIMIT_EXCEEDED,
    TEMPORARILY_UNAVAILABLE,
)
from rich.console import Console
from sqlalchemy import exc

from pipeline.cli import display
from pipeline.core.errors import ServerUnavailableError, UserError
from pipeline.core.uris import redact_uri
from pipeline.storage.workspace import Workspace
from pipeline.tracking import tracker
from pipeline.tracking.database import make_database
from pipeline.tracking.mlflow_internals import ask
from pipeline.tracking.outbox import Outbox
from pipeline.tracking.server import away, reason, require_server
from pipeline.tracking.tracker import Tracker, existing_client
from pipeline.workflow.results import RunResult
from tests.ports import reserve_port
from tests.unit.tracking.test_outbox import Server, no_answer


@pytest.fixture
def told() -> list[str]:
    return []


def answer(status: int) -> requests.HTTPError:
    response = requests.Response()
    response.status_code = status
    return requests.HTTPError(response=response)


@pytest.mark.parametrize(
    ("error", "gone"),
    [
        (no_answer(), True),
        (MlflowException("the database is locked", TEMPORARILY_UNAVAILABLE), True),
        (MlflowException("slowly", REQUEST_LIMIT_EXCEEDED), True),
        (MlflowException("no", INVALID_PARAMETER_VALUE), False),
        (requests.ConnectionError(), True),
        (requests.Timeout(), True),
        (answer(502), True),
        (answer(413), False),
        (exc.OperationalError("SELECT", None, Exception("database is locked")), True),
        (exc.OperationalError("INSERT", None, Exception("database or disk is full")), True),
        (exc.OperationalError("SELECT", None, Exception("disk I/O error")), True),
        (exc.TimeoutError("too many connections"), True),
        (exc.DBAPIError("SELECT", None, Exception("cut off"), connection_invalidated=True), True),
        (exc.DatabaseError("SELECT", None, Exception("disk image is malformed")), False),
        (exc.IntegrityError("INSERT", None, Exception("is there already")), False),
        (OSError("no space left"), False),
        (KeyError("a bug"), False),
    ],
)
def test_what_says_that_a_server_is_away(error: Exception, gone: bool) -> None:
    assert away(error) is gone


def test_the_reason_is_what_a_person_needs() -> None:
    with pytest.raises(MlflowException) as caught:
        ask(f"http://127.0.0.1:{reserve_port()}", 5)
    assert reason(caught.value) == "[Errno 111] Connection refused"
    assert reason(MlflowException("one\ntwo")) == "one"
    assert reason(ConnectionError()) == "ConnectionError"
    locked = exc.OperationalError("SELECT a, b", None, Exception("database is locked"))
    assert reason(locked) == "database is locked"
    told = MlflowException(str(locked), TEMPORARILY_UNAVAILABLE)
    told.__cause__ = locked
    assert reason(told) == "database is locked"


@pytest.mark.parametrize(
    ("uri", "seen"),
    [
        ("http://user:SECRET@host:1/path", "http://host:1/path"),
        ("postgresql://user:SEC@RET?@host/db?password=SECRET", "postgresql://host/db"),
        ("http://host", "http://host"),
        ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db"),
    ],
)
def test_a_person_sees_no_password(uri: str, seen: str) -> None:
    assert redact_uri(uri) == seen


def test_a_folder_whose_name_is_a_secret_elsewhere_has_its_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("SOME_API_KEY", tmp_path.name)
    make_database(tmp_path / "mlflow.db")
    existing_client(tmp_path)
    (tmp_path / "mlflow.db").unlink()
    with pytest.raises(UserError, match="there is no MLflow database"):
        existing_client(tmp_path)


def test_no_message_has_a_password(tmp_path, monkeypatch, told) -> None:
    uri = f"http://user:SECRET@127.0.0.1:{reserve_port()}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{uri}/?token=SECRET")
    for use in (
        require_server,
        lambda _: Tracker(tmp_path, "x"),
        lambda _: existing_client(tmp_path),
    ):
        with pytest.raises(ServerUnavailableError, match="http://127") as error:
            use(uri)
        told.append(str(error.value))
    told.append(reason(MlflowException(f"API request to {uri}/api failed")))
    outbox = Outbox(Server().log, uri, told.append)
    outbox._goes_away(MlflowException(f"no answer of {uri}"))
    outbox._waiting.append(lambda: time.sleep(1))
    with pytest.raises(UserError) as error:
        outbox.flush(0)
    outbox._is_back()
    outbox.close()
    told.append(str(error.value))
    with io.StringIO() as file:
        monkeypatch.setattr(display, "print_scores", lambda *_: None)
        register = {"name": "x", "version": "1", "alias": None, "uri": "models:/x/1"}
        folders = dict.fromkeys(("evaluate", "register"), tmp_path)
        result = RunResult("", {}, {"evaluate": {}, "register": register}, folders)
        display.print_summary(Console(file=file), result, Workspace(str(tmp_path)))
        told.append(file.getvalue())
    assert len(told) == 8
    assert "SECRET" not in "".join(told)


def test_a_server_that_is_not_there_is_told_within_seconds(tmp_path, monkeypatch) -> None:
    uri = f"http://127.0.0.1:{reserve_port()}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    started = time.monotonic()
    for use in (lambda: require_server(uri), lambda: Tracker(tmp_path, "x")):
        with pytest.raises(
            ServerUnavailableError, match=f"MLflow at {uri} does not answer: .*refused"
        ):
            use()
    with pytest.raises(ServerUnavailableError):
        existing_client(tmp_path)
    assert time.monotonic() - started < 60


def test_a_database_that_goes_away_while_mlflow_opens_it_is_told(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    make_database(tmp_path / "mlflow.db")

    def locked(*_: Any, **__: Any) -> None:
        raise exc.OperationalError("SELECT", None, sqlite3.OperationalError("database is locked"))

    monkeypatch.setattr(tracker, "MlflowClient", locked)
    said = f"^MLflow at sqlite:///{tmp_path}/mlflow.db cannot be used: database is locked$"
    for use in (lambda: existing_client(tmp_path), lambda: Tracker(tmp_path, "x")):
        with pytest.raises(ServerUnavailableError, match=said):
            use()


@pytest.mark.parametrize(
    ("status", "kind"), [(404, UserError), (401, UserError), (503, ServerUnavailableError)]
)
def test_a_server_that_is_not_mlflow_is_told(status: int, kind: type[UserError]) -> None:
    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(status)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Other) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        with pytest.raises(UserError, match=f"cannot be used: HTTP {status}") as told:
            require_server(f"http://127.0.0.1:{other.server_port}")
        other.shutdown()
    assert type(told.value) is kind
