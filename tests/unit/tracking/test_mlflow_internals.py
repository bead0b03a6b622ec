"""Undocumented parts of MLflow do what they are used for, in the MLflow that is installed."""

import importlib
import logging
import time
from pathlib import Path

import mlflow
import pytest
import requests
from mlflow.exceptions import MlflowException, RestException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, TEMPORARILY_UNAVAILABLE

from pipeline.core.urllib3_errors import connection_reason
from pipeline.tracking.mlflow_internals import (
    DATABASE_LOGGER,
    MLFLOW_DATASET_CONTEXT,
    MLFLOW_PARENT_RUN_ID,
    MLFLOW_RUN_NAME,
    ask,
    delete_files,
    schema_revisions,
    status_of,
    stored_files,
)
from tests.ports import reserve_port
from tests.unit.core.test_urllib3_errors import REFUSED, server


def test_a_server_that_is_not_there_is_an_error_whose_cause_is_urllib3s() -> None:
    started = time.monotonic()
    with pytest.raises(MlflowException) as caught:
        ask(f"http://127.0.0.1:{reserve_port()}", 300)
    assert status_of(caught.value) == 500
    assert connection_reason(caught.value) == REFUSED
    assert time.monotonic() - started < 60


@pytest.mark.parametrize("status", [200, 401, 404, 429, 503])
def test_any_answer_is_an_answer(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    seen = list[str]()

    def answer(request) -> None:
        seen.append(request.headers.get("Authorization", ""))
        request.send_response(status)
        request.send_header("Content-Length", "0")
        request.end_headers()

    with server(answer) as url:
        found = ask(url, 5)
    assert isinstance(found, requests.Response)
    assert found.status_code == status
    assert all(each.startswith("Basic ") for each in seen)


def test_an_error_has_the_status_that_the_server_gave() -> None:
    assert status_of(MlflowException("no", INVALID_PARAMETER_VALUE)) == 400
    assert status_of(MlflowException("later", TEMPORARILY_UNAVAILABLE)) == 503
    assert status_of(RestException({"error_code": "RESOURCE_DOES_NOT_EXIST"})) == 404


def test_tags_are_those_that_mlflow_documents() -> None:
    assert MLFLOW_RUN_NAME == "mlflow.runName"
    assert MLFLOW_PARENT_RUN_ID == "mlflow.parentRunId"
    assert MLFLOW_DATASET_CONTEXT == "mlflow.data.context"


def test_the_logger_of_databases_is_that_of_a_module() -> None:
    module = importlib.import_module(DATABASE_LOGGER)
    assert module._logger is logging.getLogger(DATABASE_LOGGER)


def test_stored_files_are_listed_with_their_sizes_and_deleted(tmp_path: Path) -> None:
    root = tmp_path / "a b%20c"
    (root / "sub" / "sub").mkdir(parents=True)
    for number, name in enumerate(("f", "sub/f", "sub/sub/f"), 1):
        (root / name).write_bytes(b"x" * number)
    uri, store = root.as_uri(), f"sqlite:///{tmp_path}/mlflow.db"
    found = {file.path: file.file_size for file in stored_files(uri, store)}
    assert found == {"f": 1, "sub/f": 2, "sub/sub/f": 3}
    for _ in range(2):  # what is not there is no error
        delete_files(uri, store)
        assert (root.exists(), list(stored_files(uri, store))) == (False, [])
    assert tmp_path.exists()


def test_revisions_of_databases_are_those_that_alembic_reads() -> None:
    from alembic.script import ScriptDirectory

    folder = Path(str(mlflow.__file__)).parent / "store" / "db_migrations"
    scripts = ScriptDirectory(str(folder))
    head, known = schema_revisions()
    assert head == scripts.get_current_head()
    assert known == {script.revision for script in scripts.walk_revisions()}
    assert len(known) > 50
