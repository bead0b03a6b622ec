"""Folders of one machine that all may read for a while, and what killed processes leave of them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bngan.serialization.manifest import sweep_drafts, write_manifest
from pipeline.storage.workspace import Workspace

FOLDER = "downloads"
"""Where in a workspace they are."""
OVER = 86400.0
"""Seconds after which nobody reads what was lent, nor copies of it."""


@contextmanager
def lent(storage: Workspace, *folders: Path) -> Iterator[None]:
    """Folders of this machine that all may read inside the block."""
    shared = folders if storage.remote else ()
    try:
        if shared:
            _sweep(storage)
        for folder in shared:
            write_manifest(folder, {})
            storage.publish(storage.name(folder))
        yield
    finally:
        for folder in shared:
            storage.withdraw(storage.name(folder))


def borrowed(storage: Workspace, name: str) -> Path:
    """Such a folder, or any other, on this machine, without the copies of those that are long over.

    Raises:
        OSError: if it cannot be had as it was written.
    """
    if storage.remote:
        sweep_drafts(storage.local / FOLDER, OVER)
    return storage.path(name)


def _sweep(storage: Workspace) -> None:
    """Take back for all what a killed process had lent, by the age of its newest file."""
    newest = dict[str, float]()
    for name, written in storage.written(FOLDER):
        first = name.split("/")[0]
        newest[first] = max(newest.get(first, 0.0), written)
    for first, written in newest.items():
        if time.time() - written > OVER:
            storage.withdraw(f"{FOLDER}/{first}")
