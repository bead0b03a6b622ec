"""Publish folders of one machine for all machines, for a while."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bngan.serialization.manifest import sweep_drafts, write_manifest
from pipeline.storage.workspace import Workspace

FOLDER = "downloads"
"""Folder of a workspace that holds published folders."""
EXPIRY_S = 86400.0
"""Seconds after which nobody reads a published folder, or a copy of it, any more."""


@contextmanager
def published(storage: Workspace, *folders: Path) -> Iterator[None]:
    """Publish folders of this machine for all machines, until the block ends."""
    shared = folders if storage.remote else ()
    try:
        if shared:
            _sweep(storage)
        for folder in shared:
            write_manifest(folder, {})
            storage.publish(storage.key(folder))
        yield
    finally:
        for folder in shared:
            storage.unpublish(storage.key(folder))


def fetch(storage: Workspace, name: str) -> Path:
    """Return a folder of the workspace on this machine, copied if need be.

    Copies of published folders that nobody reads any more are removed.

    Raises:
        OSError: if the folder is missing or damaged.
    """
    if storage.remote:
        sweep_drafts(storage.local / FOLDER, EXPIRY_S)
    return storage.path(name)


def _sweep(storage: Workspace) -> None:
    """Unpublish the folders of killed processes: those whose newest file is older than a day."""
    files = sorted(storage.written(FOLDER), key=lambda file: file[1])
    newest = {name.split("/")[0]: written for name, written in files}
    for first, written in newest.items():
        if time.time() - written > EXPIRY_S:
            storage.unpublish(f"{FOLDER}/{first}")
