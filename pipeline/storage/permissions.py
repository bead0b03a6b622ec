"""Check that a person can use a workspace, and that others can use what he writes there."""

import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path

from bngan.data.folder import nearest_existing_parent
from bngan.serialization.manifest import NAME
from bngan.serialization.replacement import DRAFT
from pipeline.core.lock import OWNER
from pipeline.core.umask import umask_problem

_WRITTEN = (OWNER, "mlflow.db")
"""Names of files that every command writes to; the others are replaced."""
_PARTS = ("locks", "stages", "training", "studies", "stores", "downloads")
"""Folders that a command may need, with what is in them."""
_MADE_IN = ("artifacts", "artifacts/models")
"""Folders of which a command needs only the right to make others in them."""
_USE = os.R_OK | os.W_OK | os.X_OK
_found_open = set[tuple[int, Path]]()
"""Users and workspaces that this process has looked through without finding a closed part."""


def access_problem(workspace: Path) -> str | None:
    """Return a message if this user cannot use a folder as workspace, or others what he writes.

    Of the parts of a workspace that are closed to the user, the message names the first. The function
    looks at every folder and file of the commands' own, but of a finished folder, which has a manifest,
    only at the folder and the manifest, and of registered models only at the folder they are made in.
    Drafts are left out: they open when they are finished. Once all is open, this process only looks at
    the workspace itself again.
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
    if (looked := (os.getuid(), workspace)) in _found_open:
        return None
    alone = (workspace / name for name in ("mlflow.db", *_MADE_IN))
    for path in chain(alone, *(_below(workspace / part) for part in _PARTS)):
        write = os.W_OK if path.name in _WRITTEN else 0
        if not os.access(path, _USE if os.path.isdir(path) else os.R_OK | write):
            mend = f"let its owner run chmod -R g+rwX {workspace}, and use umask 002"
            with suppress(FileNotFoundError):  # it was never there, or went meanwhile
                return f"{path} is closed to you{_whose(path)}: {mend}"
    _found_open.add(looked)
    return None


def _below(folder: Path) -> Iterator[Path]:
    """Yield a folder and what is below it, as far as it can be read, without links and drafts.

    Of a finished folder only its manifest follows.
    """
    pending = [folder]
    while pending:
        yield (path := pending.pop())
        if os.path.exists(manifest := path / NAME):
            yield manifest
            continue
        with suppress(OSError), os.scandir(path) as entries:
            for entry in entries:
                if entry.name.startswith(".") and DRAFT in entry.name:
                    continue
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
