"""Parts of MLflow that are not in its documented interface."""

import re
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import mlflow
import requests
from mlflow.entities import FileInfo
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT as MLFLOW_DATASET_CONTEXT
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS as MLFLOW_MODEL_VERSIONS
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID as MLFLOW_PARENT_RUN_ID
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME as MLFLOW_RUN_NAME
from mlflow.utils.rest_utils import http_request

from pipeline.core.uris import local_path

DATABASE_LOGGER = "mlflow.store.db.utils"
"""Logger that reports each attempt at a database, with a traceback of 80 lines."""


def ask(uri: str, timeout_s: float) -> requests.Response:
    """Return a server's answer to a request for one experiment, whatever its status.

    MLflow's own clients do not take a time limit or a number of tries for one request. The credentials
    are those that MLflow's clients use.

    Args:
        uri: address of MLflow's server, http or https.
        timeout_s: seconds for each of two tries.

    Raises:
        MlflowException: if the server does not answer.
    """
    answer: requests.Response = http_request(  # type: ignore[no-untyped-call]
        get_default_host_creds(uri),  # type: ignore[no-untyped-call]
        "/api/2.0/mlflow/experiments/search",
        "GET",
        params={"max_results": 1},
        max_retries=1,
        timeout=timeout_s,
        raise_on_status=False,
    )
    return answer


@cache
def schema_revisions() -> tuple[str, frozenset[str]]:
    """Return the revision of this MLflow's databases, and all revisions that lead to it.

    MLflow's table ``alembic_version`` has one of them. They are read from MLflow's files: alembic
    would run each of those, which takes half a second.
    """
    folder = Path(str(mlflow.__file__)).parent / "store" / "db_migrations" / "versions"
    texts = [path.read_text(encoding="utf-8") for path in folder.glob("*.py")]
    known, before = (
        {found[1] for text in texts if (found := re.search(pattern, text, re.MULTILINE))}
        for pattern in (r"^revision\b.*= *[\"'](\w+)", r"^down_revision\b.*= *[\"'](\w+)")
    )
    (head,) = known - before
    return head, frozenset(known)


def status_of(error: MlflowException) -> int:
    """Return the HTTP status of an error: 500 if the server has not answered."""
    return int(error.get_http_status_code())  # type: ignore[no-untyped-call]


def stored_files(uri: str, tracking_uri: str) -> Iterator[FileInfo]:
    """Yield the files below the URI of artifacts; MLflow's client lists those of runs alone."""
    repository = get_artifact_repository(uri, tracking_uri=tracking_uri)
    pending = [""]
    while pending:
        for info in repository.list_artifacts(pending.pop() or None):
            if info.is_dir:
                pending.append(info.path)
            else:
                yield info


def delete_files(uri: str, tracking_uri: str) -> None:
    """Delete what is at the URI of artifacts, if anything is; MLflow's client never does.

    MLflow's own deletion of local files decodes the URI twice, and takes ``a%20b`` for ``a b``.
    """
    if folder := local_path(uri):
        if folder.exists():
            shutil.rmtree(folder)
        return
    repository = get_artifact_repository(uri, tracking_uri=tracking_uri)
    repository.delete_artifacts()  # type: ignore[no-untyped-call]
