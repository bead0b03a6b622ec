"""MLflow's server: whether it is there, and what its errors mean."""

import requests
from mlflow.exceptions import MlflowException

from bngan.serialization.problem import first_line
from pipeline.core.errors import ServerUnavailableError, UserError
from pipeline.core.uris import redact, redact_uri
from pipeline.core.urllib3_errors import connection_reason
from pipeline.tracking.mlflow_internals import ask, status_of

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
        answer = ask(uri, _PATIENCE)
    except MlflowException as error:
        raise ServerUnavailableError(
            f"MLflow at {redact_uri(uri)} does not answer: {reason(error)}"
        ) from error
    if answer.status_code != 200:
        kind = ServerUnavailableError if _passes(answer.status_code) else UserError
        said = f"HTTP {answer.status_code} {answer.reason}".strip()
        raise kind(f"MLflow at {redact_uri(uri)} cannot be used: {said}")


def _passes(status: int) -> bool:
    """Whether what an HTTP status complains of may be over soon."""
    return status >= 500 or status == 429


def away(error: Exception) -> bool:
    """Whether it says that the server cannot be reached, or cannot work now, not that it refuses."""
    if isinstance(error, MlflowException):
        status = status_of(error)
    elif isinstance(error, requests.RequestException):
        status = 500 if error.response is None else error.response.status_code
    else:
        return False
    return _passes(status)


def reason(error: Exception) -> str:
    """What lies behind an error, in a line; no password that its URIs may have."""
    return redact(connection_reason(error) or first_line(error))


def refusal(what: str, error: Exception) -> UserError:
    """Return ``error`` with ``what`` in front, as ``ServerUnavailableError`` if it may pass."""
    return (ServerUnavailableError if away(error) else UserError)(f"{what}: {reason(error)}")
