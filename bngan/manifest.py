"""A folder's files count only with their manifest: every file with its size and sha256.

Folders appear whole or not at all: ``atomic_folder`` writes under another name, flushes, renames.
"""

import fcntl
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

NAME = "manifest.json"
_DRAFT = ".tmp-"


@contextmanager
def atomic_folder(folder: Path, summary: dict[str, Any] | None) -> Iterator[Path]:
    """An empty folder to write into; it becomes ``folder``, with its manifest, when the block ends.

    What was at ``folder`` before is replaced. If the block raises, nothing has happened. ``summary``
    (JSON values) is recorded in the manifest as it is at the end; None: the block writes the manifest.
    """
    with scratch_folder(folder.parent, folder.name) as draft:
        yield draft
        if summary is not None:
            write_manifest(draft, summary)
        for path in (*draft.rglob("*"), draft):
            _flush(path)
        if folder.exists():
            # A rename cannot replace a folder that is not empty.
            old = draft.with_name(f"{draft.name}-old")
            folder.rename(old)
            draft.rename(folder)
            shutil.rmtree(old, ignore_errors=True)
        else:
            draft.rename(folder)
        _flush(folder.parent)


@contextmanager
def scratch_folder(parent: Path, name: str) -> Iterator[Path]:
    """An empty folder in ``parent`` that goes with the block or, if killed, at the next sweep there."""
    sweep_drafts(parent)
    draft = parent / f".{name}{_DRAFT}{uuid.uuid4().hex[:8]}"
    draft.mkdir(parents=True)
    lock = os.open(draft, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        os.close(lock)


def remove_folder(folder: Path) -> None:
    """Remove ``folder`` whole or, if killed, at the next sweep; never leave a part under its name."""
    if folder.exists():
        removed = folder.with_name(f".{folder.name}{_DRAFT}{uuid.uuid4().hex[:8]}")
        folder.rename(removed)
        shutil.rmtree(removed, ignore_errors=True)


def sweep_drafts(parent: Path) -> None:
    """Remove what killed processes left half-written in ``parent``; the living lock theirs."""
    for path in parent.glob(f".*{_DRAFT}*"):
        try:
            lock = os.open(path, os.O_RDONLY)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        except OSError:
            continue
        finally:
            os.close(lock)


def write_manifest(folder: Path, summary: dict[str, Any]) -> None:
    """Record all files of ``folder`` and the summary; the last file to be written."""
    files = {
        path.relative_to(folder).as_posix(): {"size": path.stat().st_size, "sha256": _sha256(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    (folder / NAME).write_text(json.dumps({"files": files, "summary": summary}, indent=1))


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a finished folder."""
    manifest: dict[str, Any] = json.loads((folder / NAME).read_text())
    return manifest


def damage(folder: Path) -> str | None:
    """Why the files in ``folder`` cannot be trusted, or None if each is as recorded."""
    try:
        recorded = {
            name: (file["size"], file["sha256"])
            for name, file in read_manifest(folder)["files"].items()
        }
    except (FileNotFoundError, NotADirectoryError):
        return f"no outputs at {folder}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"manifest altered: {folder / NAME}"
    for name, (size, sha256) in recorded.items():
        path = folder / name
        if not path.is_file():
            return f"output missing: {path}"
        if path.stat().st_size != size or _sha256(path) != sha256:
            return f"output altered: {path}"
    return None


def outputs_digest(folder: Path, patterns: tuple[str, ...]) -> str:
    """Digest over name and content of the files that match any of ``patterns``."""
    files = read_manifest(folder)["files"]
    matching = {
        name: files[name]["sha256"] for name in files if any(fnmatch(name, p) for p in patterns)
    }
    return digest(matching)


def digest(value: Any) -> str:
    """sha256 (hex) over the canonical JSON of ``value``."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    """Have a file's or a folder's content on the disk before anything that follows."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
