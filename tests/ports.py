"""Ports on the loopback interface that nobody else takes between the choice and the use."""

import fcntl
import os
import socket
import tempfile
from pathlib import Path
from typing import IO

CANDIDATES = range(20_000, 32_000)
"""Ports above those of Ray's workers, and below those that Linux hands out unasked."""
_locks: list[IO[bytes]] = []
"""Kept until the process ends: another pytest process respects them."""


def reserve_port() -> int:
    """Return a TCP port on 127.0.0.1 that nobody listens on.

    Where a server can choose its own port, bind it to 0 and ask it. This is for servers that have to be
    given one, for those that come back at the same address, and for an address where nobody answers.
    """
    folder = Path(tempfile.gettempdir()) / f"bngan-test-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    for port in CANDIDATES:
        lock = (folder / str(port)).open("wb")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            lock.close()
            continue
        _locks.append(lock)
        return port
    raise AssertionError(f"no port of {CANDIDATES} is free")
