"""Recognise errors of pyarrow's file systems, which differ in their text alone."""

from bngan.serialization.problem import first_line

_TEMPORARY = (
    "NETWORK_CONNECTION",
    "SERVICE_UNAVAILABLE",
    "INTERNAL_FAILURE",
    "SLOW_DOWN",
    "HTTP status 5",
)
"""Names of the S3 file system for errors that may be over soon."""


def is_temporary(error: Exception) -> bool:
    """Return whether the same request to a file system may work later.

    pyarrow raises a plain OSError, without errno or cause, for whatever an object store answers. File
    systems of fsspec raise Python's own errors.
    """
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    line = first_line(error)
    return any(name in line for name in _TEMPORARY)
