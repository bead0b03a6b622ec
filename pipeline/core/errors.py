"""The exceptions a user is meant to read."""

import re

_WRAPPED = ("worker_failures", "controller_failure", "cause")
"""Attributes that hold what an error of Ray's, or of a stage's, was caused by."""
_GIVEN_UP = re.compile(
    r"(?:failed with exception )?HTTPS?ConnectionPool\(.*Caused by \w+\([\"'](?:.*: )?(.*?)[\"']\)+"
)
"""How urllib3 puts it that a server does not answer."""


class UserError(Exception):
    """Wrong input: a line for each problem, which names field or file and the mend; exit code 2."""


class RetryableError(UserError):
    """Nothing is wrong with the input: the same may work later; exit code 3."""


class ServerUnavailableError(RetryableError):
    """A server that does not answer."""


def essence(error: BaseException) -> str:
    """The line that matters of an error, from below what Ray and stages have wrapped around it."""
    for _ in range(10):
        inner = next(filter(None, (getattr(error, name, None) for name in _WRAPPED)), None)
        if isinstance(inner, dict):  # by rank; a worker that lost another one is not the cause
            inner = min(inner.values(), key=lambda one: isinstance(one, ConnectionError))
        if not isinstance(inner, BaseException):
            break
        error = inner
    if isinstance(error, OSError) and error.strerror:
        return ": ".join(filter(None, (error.strerror, error.filename and str(error.filename))))
    line = next(iter(str(error).strip().splitlines()), "")
    return ": ".join(filter(None, (type(error).__name__, _GIVEN_UP.sub(r"failed: \1", line))))


def unanswered(line: str) -> str | None:
    """Why a server did not answer, from the line of an error that says so."""
    found = _GIVEN_UP.search(line)
    return found and found[1]
