"""A stage's outputs count only with their manifest: every file with its size and sha256."""

import hashlib
import json
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

NAME = "manifest.json"


def write_manifest(folder: Path, summary: dict[str, Any]) -> None:
    """Record all files of ``folder`` and the stage's summary; the last file to be written."""
    files = {
        path.relative_to(folder).as_posix(): {"size": path.stat().st_size, "sha256": _sha256(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    (folder / NAME).write_text(json.dumps({"files": files, "summary": summary}, indent=1))


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a finished stage."""
    manifest: dict[str, Any] = json.loads((folder / NAME).read_text())
    return manifest


def damage(folder: Path) -> str | None:
    """Why the outputs in ``folder`` cannot be trusted, or None if every file is as recorded."""
    try:
        files = read_manifest(folder)["files"]
    except (OSError, ValueError, KeyError):
        return f"no outputs at {folder}"
    for name, recorded in files.items():
        path = folder / name
        if not path.is_file():
            return f"output missing: {path}"
        if path.stat().st_size != recorded["size"] or _sha256(path) != recorded["sha256"]:
            return f"output altered: {path}"
    return None


def outputs_digest(folder: Path, patterns: tuple[str, ...]) -> str:
    """Digest over name and content of the outputs that match any of ``patterns``."""
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
