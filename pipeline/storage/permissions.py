"""Check that a person can use a workspace, and that others can use what he writes there."""

import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from bngan.data.folder import nearest_existing_parent
from pipeline.core.lock import OWNER
from pipeline.core.umask import umask_problem

_WRITTEN = (OWNER, "mlflow.db")
"""Names of files that every command writes to; the others are replaced."""
_PARTS = ("locks", "stages", "training", "studies", "stores", "downloads", "artifacts/models")
"""Folders that a command may need, with all that is in them."""
_USE = os.R_OK | os.W_OK | os.X_OK


def access_problem(workspace: Path) -> str | None:
    """Return a message if this user cannot use a folder as workspace, or others what he writes.

    Of the parts of a workspace that are closed to the user, the message names the first.
    """
    there = nearest_existing_parent(workspace)
    if not there.is_dir():
        return f"{there} is no folder"
    if not os.access(there, _USE):
        mend = "take another folder, or let its owner share one: install -d -m 2770 -g GROUP FOLDER"
        return f"{there} cannot be written to{_whose(there)}: {mend}"
    if there != workspace:
        return None
    return umask_problem(workspace) or _closed_part(workspace)


def _closed_part(workspace: Path) -> str | None:
    """Return a message about the first file or folder that this user cannot use."""
    for path in (
        workspace / "mlflow.db",
        *(p for part in _PARTS for p in _below(workspace / part)),
    ):
        write = os.W_OK if path.name in _WRITTEN else 0
        if not os.access(path, _USE if path.is_dir() else os.R_OK | write) and path.exists():
            mend = f"let its owner run chmod -R g+rwX {workspace}, and use umask 002"
            return f"{path} is closed to you{_whose(path)}: {mend}"
    return None


def _below(folder: Path) -> Iterator[Path]:
    """Yield a folder and all that is below it, as far as it can be read; links are left out."""
    pending = [folder]
    while pending:
        yield (path := pending.pop())
        with suppress(OSError), os.scandir(path) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(Path(entry.path))
                elif not entry.is_symlink():
                    yield Path(entry.path)


def _whose(path: Path) -> str:
    """Return the owner and the mode of a path in brackets."""
    facts = path.stat()
    owner, mode = f"user {facts.st_uid}", stat.S_IMODE(facts.st_mode)
    with suppress(KeyError):
        owner = pwd.getpwuid(facts.st_uid).pw_name
    return f" (owner {owner}, mode {mode:04o})"
