"""The address of a Ray cluster, which the environment variable RAY_ADDRESS holds."""

import os
import re
import socket

from pipeline.core.errors import ServerUnavailableError, UserError

_TIMEOUT_S = 5.0
"""Seconds that a cluster may take to answer."""


def require_cluster() -> None:
    """Check that somebody listens at RAY_ADDRESS, if it is set: Ray itself would try for 5 minutes.

    Raises:
        UserError: if it is no address.
        ServerUnavailableError: if nobody listens there.
    """
    address = os.environ.get("RAY_ADDRESS", "")
    if address in ("", "auto", "local"):
        return
    parts = re.fullmatch(r"(?:ray://)?(?:\[([^]]+)\]|([^\s:/]+)):(\d{1,5})", address)
    if not parts or int(parts[3]) > 65535:
        raise UserError(
            f"RAY_ADDRESS={address} is no HOST:PORT such as 10.0.0.1:6379: mend or unset it"
        )
    try:
        socket.create_connection((parts[1] or parts[2], int(parts[3])), _TIMEOUT_S).close()
    except OSError as error:
        raise unavailable(address, error.strerror or str(error)) from error


def unavailable(address: str, reason: str) -> ServerUnavailableError:
    """Return the error for a cluster that cannot be joined."""
    return ServerUnavailableError(
        f"no Ray cluster answers at RAY_ADDRESS={address} ({reason}): start one there, or unset "
        "RAY_ADDRESS to train on this machine alone"
    )
