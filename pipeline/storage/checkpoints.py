"""Save and find the checkpoints of a training, in a folder or at a URI."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from bngan.serialization.checkpoint import CheckpointStore, load_checkpoint
from bngan.serialization.manifest import NAME, remove_folder
from pipeline.core.lock import OWNER, parse_attempt
from pipeline.storage.workspace import DAMAGED, Workspace


class Checkpoints(CheckpointStore):
    """Keep the checkpoints of the training ``name``; at a URI, the local copies do not count.

    Attributes:
        on_saved: called with the seconds that saving a checkpoint took.
    """

    on_saved: Callable[[float], None] | None = None

    def __init__(self, storage: Workspace, name: str) -> None:
        super().__init__(storage.local / name)
        self.storage, self.name = storage, name
        self.where = f"{storage}/{name}"

    def save(self, *args: Any, **options: Any) -> Path:
        """Save a checkpoint as ``CheckpointStore.save`` does, and publish it for all machines."""
        started = time.monotonic()
        folder = super().save(*args, **options)
        self.storage.publish(f"{self.name}/{folder.name}")
        self._withdraw()
        if self.on_saved:
            self.on_saved(time.monotonic() - started)
        return folder

    def discard_after(self, images_seen: int) -> None:
        """Discard later checkpoints as ``CheckpointStore`` does, on all machines."""
        super().discard_after(images_seen)
        self._withdraw()

    def latest(self, healthy: bool = False) -> dict[str, Any] | None:
        """Return the newest checkpoint as ``CheckpointStore`` does, whichever machine saved it."""
        if self.storage.remote:
            self._heed_damage()
            self._mirror()
        return super().latest(healthy)

    def _heed_damage(self) -> None:
        """Repair damaged originals from intact local copies, and set the others aside."""
        for name in self._published(DAMAGED):
            if self.storage.has_copy(name, self.storage.read(f"{name}/{DAMAGED}")):
                self.storage.publish(name)
            else:
                self._mark_lost(name)

    def _mirror(self) -> None:
        """Copy the finished checkpoints to this machine, and remove local copies of others."""
        finished = self._published(NAME)
        for images in self.saved():
            if self._named(images) not in finished:  # of an earlier stay on this machine
                remove_folder(self.path(images))
        for name in finished:
            if problem := self.storage.damage(name):
                self.storage.mark_damaged(name)
                remove_folder(self.storage.local / name)
                self._mark_lost(name)
                self.set_aside.append(f"{Path(name).name} is damaged and set aside: {problem}")

    def _mark_lost(self, name: str) -> None:
        """Mark a checkpoint as lost by an empty local folder; the URI keeps its files."""
        aside = self.folder / f"damaged-0-{Path(name).name}"
        aside.mkdir(parents=True, exist_ok=True)

    def load(self, images_seen: int) -> dict[str, Any]:
        """Load a checkpoint that ``latest`` has found, on this machine or another."""
        self.storage.path(self._named(images_seen))
        return load_checkpoint(self.path(images_seen))

    def owner(self) -> str | None:
        """Return the id of the attempt that owns the training, or owned it last; None if unknown."""
        with suppress(FileNotFoundError):
            return parse_attempt(self.storage.read(f"{self.name}/{OWNER}").decode())
        return None

    def _named(self, images_seen: int) -> str:
        return f"{self.name}/{self.path(images_seen).name}"

    def _published(self, file: str) -> list[str]:
        """Return the checkpoints in the workspace that have a file of this name."""
        names = self.storage.folders(self.name)
        there = (name for name in names if Path(name).name.startswith("images-"))
        return [name for name in there if self.storage.has(f"{name}/{file}")]

    def _withdraw(self) -> None:
        """Remove from the URI the checkpoints that this machine has discarded."""
        if self.storage.remote:
            kept = {self._named(images) for images in self.saved()}
            for name in set(self._published(NAME)) - kept:
                self.storage.remove(name)
