"""The checkpoints of a training in a workspace, wherever that is."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from bngan.checkpoint import CheckpointStore, load_checkpoint
from bngan.manifest import NAME, remove_folder
from pipeline.lock import OWNER, attempt_in
from pipeline.storage import Storage


class Checkpoints(CheckpointStore):
    """Those of the training ``name``; what is at a workspace's URI counts, not what is here."""

    def __init__(self, storage: Storage, name: str) -> None:
        super().__init__(storage.local / name)
        self.storage, self.name = storage, name

    def save(self, *args: Any, **options: Any) -> Path:
        """As ``CheckpointStore.save``, and for all machines."""
        folder = super().save(*args, **options)
        self.storage.publish(f"{self.name}/{folder.name}")
        self._withdraw()
        return folder

    def discard_after(self, images_seen: int) -> None:
        """As ``CheckpointStore.discard_after``, and for all machines."""
        super().discard_after(images_seen)
        self._withdraw()

    def latest(self, healthy: bool = False) -> dict[str, Any] | None:
        """As ``CheckpointStore.latest``, whichever machine has saved it."""
        if self.storage.remote:
            finished = {name for name in self._there() if self.storage.has(f"{name}/{NAME}")}
            for images in self.saved():
                if self._named(images) not in finished:  # of an earlier stay on this machine
                    remove_folder(self.path(images))
            for name in sorted(finished):
                if problem := self.storage.damage(name):
                    (self.storage.local / name).mkdir(parents=True, exist_ok=True)
                    self._set_aside(int(name[-12:]), problem)
            self._withdraw()
        return super().latest(healthy)

    def load(self, images_seen: int) -> dict[str, Any]:
        """A checkpoint that ``latest`` has found, on this machine or another."""
        self.storage.path(self._named(images_seen))
        return load_checkpoint(self.path(images_seen))

    def owner(self) -> str | None:
        """The attempt that owns the training, or that owned it last."""
        with suppress(OSError):
            return attempt_in(self.storage.read(f"{self.name}/{OWNER}").decode())
        return None

    def _named(self, images_seen: int) -> str:
        return f"{self.name}/{self.path(images_seen).name}"

    def _there(self) -> list[str]:
        names = self.storage.folders(self.name)
        return [name for name in names if Path(name).name.startswith("images-")]

    def _withdraw(self) -> None:
        """What is not here is not to be found by others either."""
        if self.storage.remote:
            kept = {self._named(images) for images in self.saved()}
            for name in set(self._there()) - kept:
                self.storage.remove(name)
