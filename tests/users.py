"""Other users of this machine, known by their numbers alone: for tests that run as root."""

import json
import os
import stat
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.commands import PROGRAM, Output
from tests.environment import ROOT

GROUP = 70009
"""The group that shares."""
WRITTEN = ("owner.json", "mlflow.db", "mlflow.db-journal")
"""Files that are written to again, and not replaced."""
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")


def share(folder: Path) -> Path:
    """Make a folder as docs/security.md says."""
    install = ["install", "-d", "-m", "2770", "-g", str(GROUP), str(folder)]
    subprocess.run(install, check=True)
    return folder


@contextmanager
def umask(mask: int) -> Iterator[None]:
    """Have another umask inside the block."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def meeting_place() -> Iterator[Path]:
    """Yield a folder that every user can reach, unlike pytest's own."""
    with TemporaryDirectory(prefix="bngan-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def closed_to_group(folder: Path) -> list[str]:
    """Return what is below a folder and not the group's to read, and for folders to write."""
    closed = []
    for path in folder.rglob("*"):
        need = 0o2070 if path.is_dir() else 0o060 if path.name in WRITTEN else 0o040
        facts = path.stat()
        if facts.st_mode & need != need or facts.st_gid != folder.stat().st_gid:
            closed.append(f"{path.relative_to(folder)} {facts.st_gid} {facts.st_mode:o}")
    return closed


def as_user(uid: int, look: Callable[[], Any], umask: int = 0o002) -> Any:
    """Return what ``look`` returns, a JSON value, to a user of the group: in a fork of this process."""
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.setgroups([GROUP])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            os.umask(umask)
            os.write(write, json.dumps(look()).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return json.loads(text)


@dataclass(frozen=True)
class User:
    """A user of the group without an entry in /etc/passwd, with a home of his own."""

    uid: int
    home: Path

    def bngan(
        self, *arguments: object, code: int = 0, umask: int = 0o002, timeout: float = 600
    ) -> Output:
        """Run a command as this user, and check its exit code."""
        done = self.run([*PROGRAM, *map(str, arguments)], umask, timeout)
        assert done.returncode == code, done.stderr[-4000:]
        return Output(done.stdout, done.stderr)

    def run(
        self, command: list[str], umask: int = 0o002, timeout: float = 600
    ) -> "subprocess.CompletedProcess[str]":
        named = ("USER", "LOGNAME", "LNAME", "USERNAME")
        kept = {name: value for name, value in os.environ.items() if name not in named}
        own = {"HOME": str(self.home), "TMPDIR": str(self.home), "OMP_NUM_THREADS": "1"}
        uid = str(self.uid)
        become = ["setpriv", "--reuid", uid, "--regid", uid, "--groups", str(GROUP)]
        script = f'{_uncover(self.home)}umask {umask:03o}; cd {self.home}; exec "$@"'
        return subprocess.run(
            ["unshare", "--mount", "sh", "-e", "-c", script, "sh", *become, *command],
            env=kept | own,
            capture_output=True,
            text=True,
            timeout=timeout,
        )


@contextmanager
def users(*uids: int) -> Iterator[list[User]]:
    """Yield users who can run this Python, or skip the test."""
    with meeting_place() as folder:
        found = [User(uid, folder / str(uid)) for uid in uids]
        for user in found:
            user.home.mkdir(mode=0o700)
            os.chown(user.home, user.uid, user.uid)
            tried = user.run([sys.executable, "-c", "import pipeline, torch"])
            if tried.returncode:
                pytest.skip(f"another user cannot run this Python: {tried.stderr.strip()[-200:]}")
        yield found


def _uncover(place: Path) -> str:
    """Return a script that shows others the parts of closed folders, such as /root, that Python needs.

    It is for a mount namespace of its own; nobody else sees its mounts.
    """
    script, needed = "", defaultdict[Path, set[str]](set)
    for path in (ROOT, *map(Path, (sys.prefix, sys.base_prefix, os.path.realpath(sys.executable)))):
        for folder in reversed(path.parents):
            if not folder.stat().st_mode & stat.S_IXOTH:
                needed[folder].add(path.relative_to(folder).parts[0])
                break
    for folder, names in needed.items():
        pairs = [(quote(str(place / f"mount-{name}")), quote(str(folder / name))) for name in names]
        script += "".join(f"mkdir -p {to}; mount --bind {what} {to}; " for to, what in pairs)
        script += f"mount -t tmpfs -o mode=755 tmpfs {quote(str(folder))}; "
        script += "".join(f"mkdir {what}; mount --move {to} {what}; " for to, what in pairs)
    return script
