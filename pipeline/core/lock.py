"""Create private folders, and lock folders for one process at a time."""

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

from pipeline.core.errors import RetryableError, UserError
from pipeline.core.umask import umask_problem

OWNER = "owner.json"
WORKSPACE_LOCK = "locks/workspace"
"""Folder in a workspace that commands lock while they use its folders."""


def make_private_dir(folder: Path) -> Path:
    """Create a folder that only its user may read, and return it.

    A folder that is there already keeps its mode: people who share a workspace create it first.

    Raises:
        UserError: if a group shares the folder, and the umask closes new files to it.
    """
    if problem := umask_problem(folder):
        raise UserError(f"workspace: {problem}")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


@contextmanager
def exclusive_lock(folder: Path, what: str, timeout_s: float = 0.0) -> Iterator[str]:
    """Lock ``folder`` inside the block, and yield a new id for this attempt.

    The file ``owner.json`` in the folder names the attempt and its process. The lock ends with the
    process, whatever ends that. Between machines it works on file systems that support flock.

    Args:
        folder: the folder to lock; created if need be.
        what: name of the folder in the error.
        timeout_s: seconds to wait for another owner.

    Raises:
        RetryableError: if another process has the lock, with its name.
    """
    with _flocked(folder, what, timeout_s, fcntl.LOCK_EX) as file:
        attempt = uuid.uuid4().hex[:12]
        since = datetime.now(UTC).isoformat(timespec="seconds")
        file.truncate(0)
        json.dump({"attempt": attempt, **process_info(), "since": since}, file)
        file.flush()
        yield attempt


@contextmanager
def shared_lock(folder: Path, what: str, timeout_s: float = 0.0) -> Iterator[None]:
    """Keep ``exclusive_lock`` of ``folder`` away inside the block; any number of processes may.

    The arguments and the error are those of ``exclusive_lock``.
    """
    with _flocked(folder, what, timeout_s, fcntl.LOCK_SH):
        yield


@contextmanager
def _flocked(folder: Path, what: str, timeout_s: float, kind: int) -> Iterator[IO[str]]:
    folder.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + timeout_s
    with (folder / OWNER).open("a+", encoding="utf-8") as file:
        while not _locked(file, kind):
            if time.monotonic() >= until:
                file.seek(0)
                raise RetryableError(f"{what} is locked by {_describe(file.read())}")
            time.sleep(0.05)
        yield file


def _locked(file: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def process_info() -> dict[str, Any]:
    """Return ``pid``, ``host``, ``machine`` and ``user`` of this process."""
    host = socket.gethostname()
    return {"pid": os.getpid(), "host": host, "machine": machine_id(), "user": _user()}


def machine_id() -> str:
    """Return an id of this machine or container, within which process ids are unique.

    Names of hosts would not do: containers share them.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # no Linux
        return socket.gethostname()


def parse_attempt(text: str) -> str | None:
    """Return the id of the attempt in the text of an ``owner.json``, or None if there is none."""
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
        return "process {pid} ({user}@{host}) since {since}".format(**holder)
    except (ValueError, KeyError):
        return "another process"
