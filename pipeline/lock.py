"""One owner at a time for a folder that runs write to."""

import fcntl
import getpass
import json
import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pipeline.errors import UserError

OWNER = "owner.json"


@contextmanager
def hold(folder: Path, what: str) -> Iterator[str]:
    """Own ``folder`` inside the block, under an attempt's name that ``owner`` tells everybody.

    The lock goes with the process, however it ends. On a shared file system it holds between machines
    where that file system supports flock.

    Raises:
        UserError: naming who owns it now.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / OWNER).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise UserError(f"{what} is being run by {_describe(file.read())}") from None
        attempt = uuid.uuid4().hex[:12]
        details = {
            "attempt": attempt,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "user": _user(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        file.truncate(0)
        json.dump(details, file)
        file.flush()
        yield attempt


def owner(folder: Path) -> str | None:
    """The attempt that owns ``folder``, or that owned it last."""
    try:
        attempt: str = json.loads((folder / OWNER).read_text())["attempt"]
    except (OSError, ValueError, KeyError):
        return None
    return attempt


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        return str(os.getuid())


def _describe(text: str) -> str:
    try:
        holder = json.loads(text)
        return "process {pid} of {user} on {host}, since {since}".format(**holder)
    except (ValueError, KeyError):
        return "another process"
