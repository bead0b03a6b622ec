"""Folders that runs write to: their user's alone, and one owner's at a time."""

import fcntl
import getpass
import json
import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from pipeline.core.errors import RetryableError

OWNER = "owner.json"


def private(folder: Path) -> Path:
    """Make a workspace for its user alone; who shares one makes it, and its mode stays."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


@contextmanager
def hold(folder: Path, what: str, patience: float = 0.0) -> Iterator[str]:
    """Own ``folder`` inside the block, under an attempt's name that ``owner`` tells everybody.

    The lock goes with the process, however it ends. On a shared file system it holds between machines
    where that file system supports flock.

    Args:
        folder: what to own.
        what: what it is called in the message.
        patience: seconds to wait for another owner.

    Raises:
        RetryableError: naming who owns it now.
    """
    folder.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + patience
    with (folder / OWNER).open("a+") as file:
        while not _locked(file):
            if time.monotonic() >= until:
                file.seek(0)
                raise RetryableError(f"{what} is being run by {_describe(file.read())}")
            time.sleep(0.05)
        attempt = uuid.uuid4().hex[:12]
        since = datetime.now(UTC).isoformat(timespec="seconds")
        details = {"attempt": attempt, **myself(), "since": since}
        file.truncate(0)
        json.dump(details, file)
        file.flush()
        yield attempt


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def myself() -> dict[str, Any]:
    """This process: ``pid``, ``host``, ``machine`` and ``user``."""
    host = socket.gethostname()
    return {"pid": os.getpid(), "host": host, "machine": machine(), "user": _user()}


def machine() -> str:
    """Where a process's number means something: names of hosts repeat, among containers for one."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # no Linux
        return socket.gethostname()


def attempt_in(text: str) -> str | None:
    """The attempt that an owner's file tells, if it tells one."""
    try:
        attempt: str = json.loads(text)["attempt"]
    except (ValueError, KeyError, TypeError):
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
