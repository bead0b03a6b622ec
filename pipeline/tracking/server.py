"""Check that MLflow's server answers, and interpret its errors."""

import requests
from mlflow.exceptions import MlflowException

from bngan.serialization.problem import first_line
from pipeline.core.errors import ServerUnavailableError, UserError
from pipeline.core.uris import redact, redact_uri
from pipeline.core.urllib3_errors import connection_reason
from pipeline.core.waiting import within
from pipeline.tracking.mlflow_internals import ask, status_of

_TIMEOUT_S, _DEADLINE_S = 4, 10.0
"""Seconds that a server may take for a part of its answer, and for all of it."""


def require_server(uri: str) -> None:
    """Check at once that MLflow's server answers at ``uri``; do nothing for other kinds of store.

    Raises:
        ServerUnavailableError: if the server does not answer, or cannot work now.
        UserError: if its answer is not that of MLflow.
    """
    if not uri.startswith(("http://", "https://")):
        return
    try:
        answer = within(_DEADLINE_S, lambda: ask(uri, _TIMEOUT_S))
    except (MlflowException, TimeoutError) as error:
        raise ServerUnavailableError(
            f"MLflow at {redact_uri(uri)} does not answer: {reason(error)}"
        ) from error
    if answer.status_code != 200:
        kind = ServerUnavailableError if _passes(answer.status_code) else UserError
        said = f"HTTP {answer.status_code} {answer.reason}".strip()
        raise kind(f"MLflow at {redact_uri(uri)} cannot be used: {said}")


def _passes(status: int) -> bool:
    """Return whether the error of an HTTP status may soon be over."""
    return status >= 500 or status == 429


def away(error: Exception) -> bool:
    """Return whether an error means an unreachable or overloaded server, and not a refusal."""
    if isinstance(error, MlflowException):
        status = status_of(error)
    elif isinstance(error, requests.RequestException):
        status = 500 if error.response is None else error.response.status_code
    else:
        return False
    return _passes(status)


def reason(error: Exception) -> str:
    """Return the cause of an error in one line, without passwords."""
    return redact(connection_reason(error) or first_line(error))


def refusal(what: str, error: Exception) -> UserError:
    """Return ``error`` with ``what`` in front, as ``ServerUnavailableError`` if it may pass."""
    return (ServerUnavailableError if away(error) else UserError)(f"{what}: {reason(error)}")
