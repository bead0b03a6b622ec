"""Check that MLflow's server or database can be used, and interpret their errors."""

from collections.abc import Iterator
from contextlib import contextmanager

import requests
from mlflow.exceptions import MlflowException

from bngan.serialization.problem import first_line
from pipeline.core.errors import ServerUnavailableError, UserError
from pipeline.core.uris import redact, redact_uri
from pipeline.core.urllib3_errors import connection_reason
from pipeline.core.waiting import within
from pipeline.tracking.database import require_database
from pipeline.tracking.mlflow_internals import ask, status_of

_TIMEOUT_S, _DEADLINE_S = 4, 10.0
"""Seconds that a server may take for a part of its answer, and for all of it."""


def require_store(uri: str, writes: bool = False) -> None:
    """Check at once that MLflow's server answers at ``uri``, or that its database can be used.

    Raises:
        ServerUnavailableError: if the server or the database cannot work now.
        UserError: if it is not MLflow's, or ``writes`` and it is read-only.
    """
    require_server(uri)
    require_database(uri, writes)


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
    """Return whether an error means an unreachable or overloaded store, and not a refusal.

    Of a database, that is one that is locked, full, or cannot be read or written now.
    """
    if isinstance(error, MlflowException):
        status = status_of(error)
    elif isinstance(error, requests.RequestException):
        status = 500 if error.response is None else error.response.status_code
    else:
        return _database_passes(error)
    return _passes(status)


def _database_passes(error: Exception) -> bool:
    # The import takes long, and only errors need it.
    from sqlalchemy import exc

    return isinstance(error, (exc.OperationalError, exc.TimeoutError)) or (
        isinstance(error, exc.DBAPIError) and error.connection_invalidated
    )


@contextmanager
def store_errors(uri: str) -> Iterator[None]:
    """Raise errors of MLflow and its database inside the block as ``refusal`` does."""
    try:
        yield
    except Exception as error:
        # As above. MLflow hands on what it meets while it opens a database.
        from sqlalchemy.exc import SQLAlchemyError

        if isinstance(error, (MlflowException, SQLAlchemyError)):
            raise refusal(f"MLflow at {redact_uri(uri)} cannot be used", error) from error
        raise


def reason(error: Exception) -> str:
    """Return the cause of an error in one line, without passwords."""
    # SQLAlchemy puts statements and an address for help around the error of a database.
    inner = getattr(error.__cause__ if isinstance(error, MlflowException) else error, "orig", None)
    return redact(connection_reason(error) or first_line(inner or error))


def refusal(what: str, error: Exception) -> UserError:
    """Return ``error`` with ``what`` in front, as ``ServerUnavailableError`` if it may pass."""
    return (ServerUnavailableError if away(error) else UserError)(f"{what}: {reason(error)}")
