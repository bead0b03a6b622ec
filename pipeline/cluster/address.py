"""Check that Ray can be joined at RAY_ADDRESS, or have its sockets on this machine."""

import os
import re
import socket

from pipeline.core.environment import cluster_address
from pipeline.core.errors import ServerUnavailableError, UserError
from pipeline.core.ray_internals import running_cluster

_TIMEOUT_S = 5.0
"""Seconds that a cluster may take to answer."""

_LONGEST = 107 - len("/ray/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store")
"""Bytes of the folder's name: Linux takes 107 for a socket."""


def require_cluster() -> None:
    """Check that the existing cluster answers, if there is to be one.

    Ray itself would try for 5 minutes.

    Raises:
        UserError: if it is no address.
        ServerUnavailableError: if nobody listens there.
    """
    address = cluster_address()
    if address is None:
        return
    place = running_cluster() if address == "auto" else address
    if place is None:
        raise unavailable(address, "none runs on this machine")
    parts = re.fullmatch(r"(?:ray://)?(?:\[([^]]+)\]|([^\s:/]+)):(\d{1,5})", place)
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


def socket_folder_problem() -> str | None:
    """Return a message if Ray cannot have its sockets in the folder that the environment names."""
    name = next((name for name in ("RAY_TMPDIR", "TMPDIR") if os.environ.get(name)), "")
    folder = os.environ.get(name, "/tmp")  # noqa: S108 (Ray's own choice)
    if len(os.fsencode(os.path.abspath(folder))) <= _LONGEST:
        return None
    return (
        f"{name}={folder} is too long for Ray, whose sockets are there: set RAY_TMPDIR to a folder of "
        f"at most {_LONGEST} bytes, such as /tmp"
    )
