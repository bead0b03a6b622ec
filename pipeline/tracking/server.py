"""MLflow's server: whether it is there, and what its errors mean."""

import requests
from mlflow.exceptions import MlflowException
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request

from bngan.serialization.json_records import first_line
from pipeline.core.errors import ServerUnavailableError, UserError, unanswered
from pipeline.core.uris import shown, without_secrets

_PATIENCE = 5
"""Seconds for a server to answer at all."""


def require_server(uri: str) -> None:
    """Find out at once whether a server is there and MLflow's; a store that is none always is.

    Raises:
        ServerUnavailableError: if it does not answer, or cannot work now.
        UserError: if it answers otherwise than MLflow.
    """
    if not uri.startswith(("http://", "https://")):
        return
    try:
        answer = http_request(  # type: ignore[no-untyped-call]
            get_default_host_creds(uri),  # type: ignore[no-untyped-call]
            "/api/2.0/mlflow/experiments/search",
            "GET",
            params={"max_results": 1},
            max_retries=1,
            timeout=_PATIENCE,
            raise_on_status=False,
        )
    except MlflowException as error:
        raise ServerUnavailableError(
            f"MLflow at {shown(uri)} does not answer: {reason(error)}"
        ) from error
    if answer.status_code != 200:
        kind = ServerUnavailableError if _passes(answer.status_code) else UserError
        said = f"HTTP {answer.status_code} {answer.reason}".strip()
        raise kind(f"MLflow at {shown(uri)} cannot be used: {said}")


def _passes(status: int) -> bool:
    """Whether what an HTTP status complains of may be over soon."""
    return status >= 500 or status == 429


def away(error: Exception) -> bool:
    """Whether it says that the server cannot be reached, or cannot work now, not that it refuses."""
    if isinstance(error, MlflowException):
        # 500 where there was no answer.
        status: int = error.get_http_status_code()  # type: ignore[no-untyped-call]
    elif isinstance(error, requests.RequestException):
        status = 500 if error.response is None else error.response.status_code
    else:
        return False
    return _passes(status)


def reason(error: Exception) -> str:
    """What lies behind an error, in a line; no password that its URIs may have."""
    line = without_secrets(first_line(error))
    return unanswered(line) or line


def refusal(what: str, error: Exception) -> UserError:
    """Return ``error`` with ``what`` in front, as ``ServerUnavailableError`` if it may pass."""
    return (ServerUnavailableError if away(error) else UserError)(f"{what}: {reason(error)}")
