"""Checkpoints without pickle: tensors as safetensors, everything else as JSON, checksums on both.

A checkpoint appears whole or not at all, never holds a tensor that is not finite, and is verified
before it is used. A damaged checkpoint is renamed, and the one before it is used.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from bngan.serialization.manifest import atomic_folder, damage, read_manifest, remove_folder
from bngan.serialization.replacement import consistent_read, whole_folders

TENSORS, VALUES = "state.safetensors", "state.json"
_NAME = re.compile(r"images-(\d{12})")
_DAMAGED = "damaged-"


class CheckpointError(Exception):
    """A checkpoint cannot be written or used; the message says which and why."""


def save_checkpoint(folder: Path, state: Mapping[str, Any], **summary: Any) -> None:
    """Write ``state`` (tensors, JSON values, nested dicts and lists) as ``folder``, atomically.

    Raises:
        CheckpointError: if a tensor is not finite; the message names it.
    """
    if problem := not_finite(state):
        raise CheckpointError(f"{folder.name} is not saved: {problem}")
    tensors: dict[str, Tensor] = {}
    values = _extract(state, "", tensors)
    with atomic_folder(folder, summary) as draft:
        save_file(tensors, draft / TENSORS)
        (draft / VALUES).write_text(json.dumps(values), encoding="utf-8")


def load_checkpoint(folder: Path) -> dict[str, Any]:
    """Return the state that ``save_checkpoint`` wrote, verified, on the CPU.

    Raises:
        CheckpointError: if the checkpoint cannot be used; the message gives the reason.
    """
    return consistent_read(folder, lambda: _load(folder))


def _load(folder: Path) -> dict[str, Any]:
    if problem := damage(folder):
        raise CheckpointError(problem)
    try:
        values, tensors = (
            json.loads((folder / VALUES).read_text(encoding="utf-8")),
            load_file(folder / TENSORS),
        )
        state: dict[str, Any] = _restore(values, tensors)
        problem = not_finite(state)
    # A RecursionError is a RuntimeError, and so is torch's error about strange types.
    except (OSError, ValueError, LookupError, TypeError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"{folder}: {error}") from error
    if problem:
        raise CheckpointError(f"{folder}: {problem}")
    return state


class CheckpointStore:
    """Checkpoints of one training, by images seen.

    Attributes:
        set_aside: one line for each checkpoint found damaged and renamed by this object.
        where: name of the folder in messages.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.where = folder, str(folder)
        self.set_aside: list[str] = []

    def path(self, images_seen: int) -> Path:
        """Return the path of the checkpoint after ``images_seen`` images, which need not exist."""
        return self.folder / f"images-{images_seen:012d}"

    def saved(self) -> list[int]:
        """Return the images seen by existing checkpoints, ascending; none of them is verified."""
        names = map(_NAME.fullmatch, whole_folders(self.folder))
        return sorted(int(match[1]) for match in names if match)

    def save(
        self, images_seen: int, state: Mapping[str, Any], healthy: bool, keep: int = 2
    ) -> Path:
        """Write a checkpoint, then remove all but the last ``keep`` and the last healthy one.

        ``healthy``: whether the state is worth a return after a collapse.

        Raises:
            CheckpointError: if the state is not finite.
        """
        folder = self.path(images_seen)
        save_checkpoint(folder, state, images_seen=images_seen, healthy=healthy)
        saved = self.saved()
        kept = set(saved[-keep:])
        kept |= set([images for images in saved if self._healthy(images)][-1:])
        for images in set(saved) - kept:
            remove_folder(self.path(images))
        return folder

    def discard_after(self, images_seen: int) -> None:
        """Remove the checkpoints after ``images_seen`` images."""
        for images in self.saved():
            if images > images_seen:
                remove_folder(self.path(images))

    def latest(self, healthy: bool = False) -> dict[str, Any] | None:
        """Return the state of the newest usable (and healthy) checkpoint; None if there is none.

        Raises:
            CheckpointError: if there were checkpoints and none of them can be used.
        """
        for images in reversed(self.saved()):
            problem = ""
            if not healthy or self._healthy(images):
                try:
                    return load_checkpoint(self.path(images))
                except CheckpointError as error:
                    problem = str(error)
            if images not in self.saved():  # its writer lives, and has saved newer ones
                return self.latest(healthy)
            if problem:
                self._set_aside(images, problem)
        damaged = sorted(path.name for path in self.folder.glob(f"{_DAMAGED}*"))
        if damaged and not healthy:
            raise CheckpointError(
                f"no checkpoint in {self.where} can be used ({', '.join(damaged)}): restore one, or "
                "delete the folder to start over"
            )
        return None

    def _healthy(self, images_seen: int) -> bool:
        try:
            return bool(read_manifest(self.path(images_seen))["summary"]["healthy"])
        except (OSError, ValueError, KeyError):
            return False

    def _set_aside(self, images_seen: int, problem: str) -> None:
        path, number = self.path(images_seen), 0
        while (aside := self.folder / f"{_DAMAGED}{number}-{path.name}").exists():
            number += 1
        path.rename(aside)
        self.set_aside.append(f"{path.name} is damaged and set aside as {aside.name}: {problem}")


def not_finite(state: Any, path: str = "") -> str | None:
    """Return a sentence about a tensor of a state that is not finite; None if all are finite."""
    if isinstance(state, Mapping | list | tuple):
        parts = state.items() if isinstance(state, Mapping) else enumerate(state)
        problems = (not_finite(value, f"{path}/{key}") for key, value in parts)
        return next((problem for problem in problems if problem), None)
    if isinstance(state, Tensor) and not bool(state.isfinite().all()):
        return f"{path} is not finite"
    return None


def _extract(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """Return ``value`` as JSON data; tensors are copied to ``tensors`` and replaced by names."""
    if isinstance(value, Tensor):
        tensors[path] = value.detach().cpu().contiguous().clone()
        return {"tensor": path}
    if isinstance(value, Mapping):
        # JSON knows string keys only; optimisers number their parameters.
        items = [[k, _extract(v, f"{path}/{k}", tensors)] for k, v in value.items()]
        return {"mapping": items}
    if isinstance(value, list | tuple):
        return {"list": [_extract(v, f"{path}/{i}", tensors) for i, v in enumerate(value)]}
    return {"value": value}


def _restore(node: Any, tensors: Mapping[str, Tensor]) -> Any:
    match node:
        case {"tensor": path}:
            return tensors[path]
        case {"mapping": items}:
            return {key: _restore(item, tensors) for key, item in items}
        case {"list": items}:
            return [_restore(item, tensors) for item in items]
        case {"value": value}:
            return value
    raise ValueError("not a checkpoint written by bngan")
