"""Check that Ray can be joined at RAY_ADDRESS, or have its sockets on this machine."""

import os
import re
import socket

from pipeline.core.environment import cluster_address
from pipeline.core.errors import ServerUnavailableError, UserError
from pipeline.core.ray_internals import running_cluster
from pipeline.core.waiting import within

_TIMEOUT_S = 4.0
"""Seconds that a cluster may take to answer."""
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
"""Start of a connection to a gRPC server, as all of Ray's are: HTTP/2's preface, and a SETTINGS
frame of no settings (RFC 9113, 3.4 and 4.1)."""

_LONGEST = 107 - len("/ray/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store")
"""Bytes of the folder's name: Linux takes 107 for a socket."""


def require_cluster() -> None:
    """Check that the existing cluster answers, if there is to be one.

    Ray itself would try for minutes, or for ever if another program listens there.

    Raises:
        UserError: if it is no address.
        ServerUnavailableError: if nobody listens there, or nobody who speaks as Ray does.
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
    host, port = parts[1] or parts[2], int(parts[3])
    try:
        ray_is_there = within(_TIMEOUT_S, lambda: _answers(host, port))
    except OSError as error:
        raise unavailable(address, error.strerror or str(error)) from error
    if not ray_is_there:
        raise unavailable(address, "what listens there is not Ray")


def _answers(host: str, port: int) -> bool:
    """Return whether a gRPC server greets us; with Ray's TLS, whether anybody listens."""
    with socket.create_connection((host, port), _TIMEOUT_S) as connection:
        if os.environ.get("RAY_USE_TLS", "0") not in ("", "0"):
            return True
        connection.sendall(_GREETING)
        return connection.recv(9)[3:4] == _GREETING[-6:-5]  # a SETTINGS frame


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
