"""Manifests of folders: every file with its size and sha256. Files count only with their manifest.

Folders appear whole or not at all: ``atomic_folder`` writes under another name, flushes, renames.
To replace a folder takes two renames. Whoever comes between them makes the second one: a reader, a
sweep or the writer itself. The result is the same, on file systems without locks too.
"""

import fcntl
import hashlib
import json
import os
import shutil
import stat
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from fnmatch import fnmatch
from glob import escape
from pathlib import Path
from typing import Any, TypeVar

NAME = "manifest.json"
_DRAFT, _OLD = ".tmp-", "-old"
_Result = TypeVar("_Result")
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
            _replace(folder, draft)
        else:
            draft.rename(folder)
        _flush(folder.parent)


def _open_like_its_folder(path: Path) -> None:
    """Give a path the readers and writers of its folder: safetensors and tempfile leave them out."""
    mode, rights = path.lstat().st_mode, path.parent.stat().st_mode
    rights &= 0o777 if stat.S_ISDIR(mode) else 0o666
    if rights & ~mode and not stat.S_ISLNK(mode):
        path.chmod(stat.S_IMODE(mode) | rights)


def _replace(folder: Path, draft: Path) -> None:
    """Replace a ``folder`` that is not empty by ``draft``, which is whole."""
    old = draft.with_name(f"{draft.name}{_OLD}")
    folder.rename(old)
    finish_replacement(folder)
    shutil.rmtree(old, ignore_errors=True)


def finish_replacement(folder: Path) -> None:
    """Give ``folder`` its new content, if a writer, living or dead, has only moved the old one."""
    if _identity(folder):
        return
    for old in folder.parent.glob(f".{escape(folder.name)}{_DRAFT}*{_OLD}"):
        try:
            old.with_name(old.name.removesuffix(_OLD)).rename(folder)
        except OSError as error:  # another process may be faster
            if not _identity(folder) and not isinstance(error, FileNotFoundError):
                raise


def whole_folders(parent: Path) -> set[str]:
    """Return the names of the folders in ``parent``, those among them whose replacement is half done.

    Hidden names are not returned.
    """
    # One look at the parent finds a folder by its own name, or by that of its old content.
    names = {path.name for path in parent.iterdir()} if parent.is_dir() else set[str]()
    moved = {_original(name) for name in names if name.startswith(".") and name.endswith(_OLD)}
    for name in moved - names - {""}:
        finish_replacement(parent / name)
        names |= {name} if _identity(parent / name) else set()
    return {name for name in names if not name.startswith(".")}


def _original(name: str) -> str:
    """Return the name of the folder of which ``name`` is a draft or the old content."""
    return name[1:].rpartition(_DRAFT)[0]


def consistent_read(folder: Path, read: Callable[[], _Result]) -> _Result:
    """Return ``read()`` of one content of ``folder``: call it again if it was replaced meanwhile."""
    for _ in range(10):
        finish_replacement(folder)
        before = _identity(folder)
        try:
            result = read()
        except Exception:
            finish_replacement(folder)
            if _identity(folder) == before:
                raise
        else:
            if _identity(folder) == before:
                return result
    return read()  # a file system whose folders are others at each look


def _identity(folder: Path) -> tuple[int, int, int] | None:
    """Return what tells a folder from one that takes its place; None if there is none."""
    with suppress(OSError):
        facts = folder.stat()
        return facts.st_dev, facts.st_ino, facts.st_ctime_ns
    return None


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
            draft = parent / f".{name}{_DRAFT}{uuid.uuid4().hex[:8]}"
            draft.mkdir(parents=True)
            with suppress(FileNotFoundError):
                fcntl.flock(stack.enter_context(_descriptor(draft)), fcntl.LOCK_EX)
        stack.callback(_discard, draft)
        yield draft


def _discard(path: Path) -> None:
    """Remove a draft or old content, but not the draft whose folder waits for it."""
    finish_replacement(path.with_name(_original(path.name)))
    shutil.rmtree(path, ignore_errors=True)


def remove_folder(folder: Path) -> None:
    """Remove ``folder`` whole or, if killed, at the next sweep; never leave a part of it."""
    finish_replacement(folder)
    if folder.exists():
        removed = folder.with_name(f".{folder.name}{_DRAFT}{uuid.uuid4().hex[:8]}")
        folder.rename(removed)
        shutil.rmtree(removed, ignore_errors=True)


def sweep_drafts(parent: Path, age: float = 0.0, name: str = "*") -> list[Path]:
    """Remove folders that killed processes left half-written in ``parent``; the living lock theirs.

    Folders younger than ``age`` seconds stay, and drafts of what ``name``, a pattern, does not match.
    Return the folders that could not be removed whole.
    """
    left = []
    for path in parent.glob(f".{name}{_DRAFT}*"):
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
