"""Manifests of folders: every file with its size and sha256. Files count only with their manifest.

Folders appear whole or not at all: ``atomic_folder`` writes under another name, flushes, renames.
"""

import fcntl
import hashlib
import json
import os
import shutil
import stat
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from fnmatch import fnmatch
from glob import escape
from pathlib import Path
from typing import Any

from bngan.serialization.replacement import (
    DRAFT,
    consistent_read,
    finish_replacement,
    original_name,
    replace,
)

NAME = "manifest.json"
_LARGEST = 2**26
"""Maximum bytes of a manifest, which has some hundred for each file."""


@contextmanager
def atomic_folder(folder: Path, summary: dict[str, Any] | None) -> Iterator[Path]:
    """Yield an empty folder; after the block it becomes ``folder``, with its manifest.

    It replaces an older ``folder``. If the block raises, nothing changes. The manifest records
    ``summary`` (JSON values) as it is at the end; None: the block writes the manifest.
    """
    with scratch_folder(folder.parent, folder.name) as draft:
        yield draft
        if summary is not None:
            write_manifest(draft, summary)
        for path in draft.rglob("*"):
            _open_like_its_folder(path)
        for path in (*draft.rglob("*"), draft):
            _flush(path)
        if folder.exists():
            replace(folder, draft)
        else:
            draft.rename(folder)
        _flush(folder.parent)


def _open_like_its_folder(path: Path) -> None:
    """Give a path the readers and writers of its folder: safetensors and tempfile leave them out."""
    mode, rights = path.lstat().st_mode, path.parent.stat().st_mode
    rights &= 0o777 if stat.S_ISDIR(mode) else 0o666
    if rights & ~mode and not stat.S_ISLNK(mode):
        path.chmod(stat.S_IMODE(mode) | rights)


@contextmanager
def scratch_folder(parent: Path, name: str, age: float = 0.0, own: bool = False) -> Iterator[Path]:
    """Yield an empty folder in ``parent`` that is removed after the block.

    If the process is killed, the next sweep of ``parent`` removes the folder. The function itself
    first sweeps folders older than ``age`` seconds, with ``own`` only those that are called ``name``.
    """
    sweep_drafts(parent, age, escape(name) if own else "*")
    with ExitStack() as stack:
        draft = None
        while draft is None or not draft.exists():  # a sweep may take a draft before its lock
            draft = parent / f".{name}{DRAFT}{uuid.uuid4().hex[:8]}"
            draft.mkdir(parents=True)
            with suppress(FileNotFoundError):
                fcntl.flock(stack.enter_context(_descriptor(draft)), fcntl.LOCK_EX)
        stack.callback(_discard, draft)
        yield draft


def _discard(path: Path) -> None:
    """Remove a draft or old content, but not the draft whose folder waits for it."""
    finish_replacement(path.with_name(original_name(path.name)))
    shutil.rmtree(path, ignore_errors=True)


def remove_folder(folder: Path) -> None:
    """Remove ``folder`` whole or, if killed, at the next sweep; never leave a part of it."""
    finish_replacement(folder)
    if folder.exists():
        removed = folder.with_name(f".{folder.name}{DRAFT}{uuid.uuid4().hex[:8]}")
        folder.rename(removed)
        shutil.rmtree(removed, ignore_errors=True)


def sweep_drafts(parent: Path, age: float = 0.0, name: str = "*") -> list[Path]:
    """Remove folders that killed processes left half-written in ``parent``; the living lock theirs.

    Folders younger than ``age`` seconds stay, as do drafts of what the pattern ``name`` does not
    match. Return the folders that could not be removed whole.
    """
    left = []
    for path in parent.glob(f".{name}{DRAFT}*"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime < age:
                continue
            with _descriptor(path) as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _discard(path)
                left += [path] if path.exists() else []
    return left


def write_manifest(folder: Path, summary: dict[str, Any]) -> None:
    """Record all files of ``folder`` and the summary; write this file last."""
    files = {
        path.relative_to(folder).as_posix(): {"size": path.stat().st_size, "sha256": _sha256(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / NAME
    }
    # Hash the content as it will be read: JSON has no tuples and only strings as keys.
    content = json.loads(json.dumps({"files": files, "summary": summary}))
    (folder / NAME).write_text(
        json.dumps({**content, "sha256": digest(content)}, indent=1), encoding="utf-8"
    )


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a finished folder: ``files`` and ``summary``.

    Raises:
        OSError: if there is no manifest.
        ValueError: if the manifest has changed since it was written.
    """
    path = folder / NAME

    def read() -> bytes:
        if path.stat().st_size > _LARGEST or not path.is_file():
            raise ValueError("no file of a manifest's size")
        return path.read_bytes()

    return parse_manifest(consistent_read(folder, read))


def parse_manifest(content: bytes) -> dict[str, Any]:
    """Return the manifest in ``content``; its names are those of files below its folder.

    Raises:
        ValueError: if the content is not what ``write_manifest`` wrote.
    """
    try:
        manifest: dict[str, Any] = json.loads(content)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    match manifest:
        case {"files": dict(files), "summary": dict(), "sha256": str(recorded), **rest} if not rest:
            del manifest["sha256"]
            if recorded == digest(manifest) and all(map(_is_entry, files.items())):
                return manifest
    raise ValueError("not as it was written")


def _is_entry(entry: tuple[str, Any]) -> bool:
    """Return whether an entry is sound: the name stays below the folder."""
    match entry:
        case (name, {"size": int(size), "sha256": str(), **rest}) if not rest:
            parts = name.split("/")
            plain = not set(parts) & {"", ".", ".."} and name.isprintable()
            return plain and all(len(part.encode()) < 256 for part in parts) and size >= 0
    return False


def damage(folder: Path) -> str | None:
    """Return why the files in ``folder`` cannot be trusted; None if they are the recorded ones.

    Further files count as damage, except hidden ones. The function compares the manifest's names
    with the existing names, and never opens a file by a name from the manifest.
    """
    return consistent_read(folder, lambda: _damage(folder))


def _damage(folder: Path) -> str | None:
    try:
        recorded = read_manifest(folder)["files"]
        paths = [p for p in folder.rglob("*") if p.is_symlink() or not p.is_dir()]
        present = {path.relative_to(folder).as_posix(): path for path in paths}
        del present[NAME]
    except (FileNotFoundError, NotADirectoryError):
        return f"no outputs at {folder}"
    except (OSError, ValueError):
        return f"manifest altered: {folder / NAME}"
    if missing := sorted(set(recorded) - set(present)):
        return f"output missing: {folder / missing[0]}"
    for name, path in sorted(present.items()):
        if name not in recorded and path.name.startswith("."):
            continue  # made by a file system or a file manager; nothing here reads it
        if name not in recorded:
            return f"unexpected file: {path}"
        if path.is_symlink() or not path.is_file():
            return f"output is no file of its own: {path}"
        size, sha256 = recorded[name]["size"], recorded[name]["sha256"]
        if path.stat().st_size != size or _sha256(path) != sha256:
            return f"output altered: {path}"
    return None


def outputs_digest(folder: Path, patterns: tuple[str, ...]) -> str:
    """Return a digest over name and content of the files that match any of ``patterns``."""
    files = read_manifest(folder)["files"]
    matching = {
        name: files[name]["sha256"] for name in files if any(fnmatch(name, p) for p in patterns)
    }
    return digest(matching)


def digest(value: Any) -> str:
    """Return the sha256 (hex) over the canonical JSON of ``value``."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    """Write a file's or a folder's content to the disk before anything that follows."""
    with _descriptor(path) as descriptor:
        os.fsync(descriptor)


@contextmanager
def _descriptor(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
