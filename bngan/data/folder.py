"""Scan a folder of images in one pass over names, without opening a file."""

import hashlib
import os
import re
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from bngan.serialization.problem import one_line

READ = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".bmp", ".dib", ".gif"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"),
)
"""Suffixes of image files that can be read."""
_UNREAD = (
    *(".heic", ".heif", ".avif", ".jp2", ".jxl", ".psd", ".svg", ".eps", ".ico", ".tga", ".pcx"),
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".exr", ".hdr", ".dds", ".xcf"),
)
"""Suffixes of other images: each counts as unusable, so that none is missed in silence."""
TABLES = (".parquet", ".arrow")
"""Suffixes of tables that may hold images."""
ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz")
"""Suffixes of archives, which are unpacked if there is nothing else."""
_BROUGHT_ALONG = (
    *("__MACOSX", "__pycache__", "@eaDir", "#recycle", "$RECYCLE.BIN", "lost+found"),
    "System Volume Information",
)
"""Folders that systems and programs make: thumbnails, dustbins and the like."""
MEANT = (*READ, *_UNREAD, *TABLES, *ARCHIVES)
"""Suffixes of files that a person may mean as images."""
_UNPACKING_ERRORS = (
    *(OSError, RuntimeError, ValueError),
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error),
)
METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
"""Names of files that describe images beside or below them."""


@dataclass
class Listing:
    """Files of a folder by kind; names are relative to it, and sorted.

    Attributes:
        images: files with a suffix of an image.
        tables: files that may hold images in columns.
        metadata: files that describe images.
        archives: packed files.
        others: reason against every other file or folder, by its name.
    """

    images: list[str] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)
    metadata: list[str] = field(default_factory=list)
    archives: list[str] = field(default_factory=list)
    others: dict[str, str] = field(default_factory=dict)


def scan(path: str) -> Listing:
    """Return the files of a folder and its sub-folders.

    Raises:
        ValueError: if the folder, or one in it, cannot be read, or it holds no images or tables.
    """
    if not os.path.isdir(path):
        reason = "it is a file" if os.path.exists(path) else "there is no such folder"
        raise ValueError(f"cannot read {path}: {reason}")
    listing = Listing()
    for name, _ in walk(path, listing.others):
        low = os.path.basename(name).lower()
        if name.encode(errors="ignore").decode() != name:
            listing.others[name] = "its name is not UTF-8"
        elif low in METADATA:
            listing.metadata.append(name)
        elif low.startswith("cache-") and low.endswith(".arrow"):
            listing.others[name] = "a cache of datasets"
        elif low.endswith(TABLES):
            listing.tables.append(name)
        elif low.endswith(ARCHIVES):
            listing.archives.append(name)
        elif low.endswith((*READ, *_UNREAD)):
            listing.images.append(name)
        else:
            listing.others[name] = "no image by its name"
    for names in (listing.images, listing.tables, listing.metadata, listing.archives):
        names.sort()
    _require_something(path, listing)
    return listing


def _require_something(path: str, listing: Listing) -> None:
    if listing.images or listing.tables or listing.archives:
        return
    kinds = Counter(PurePath(name).suffix or "other" for name in listing.others)
    kinds.update(PurePath(name).suffix for name in listing.metadata)
    contents = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(3))
    raise ValueError(f"{path} holds no images, only {contents}" if contents else f"{path} is empty")


def unpack(path: str, names: Iterable[str], target: Path) -> None:
    """Unpack archives of a folder, each into a folder of its name in ``target``.

    Raises:
        ValueError: if one cannot be unpacked; the message names it.
    """
    for name in names:
        folder = target / re.sub(r"(\.tar)?\.\w+$", "", name)
        try:
            _require_new(folder, os.path.join(path, name))
            if name.lower().endswith(".zip"):
                with zipfile.ZipFile(os.path.join(path, name)) as archive:
                    archive.extractall(folder)  # noqa: S202 (a zip, whose names are made safe)
            else:
                with tarfile.open(os.path.join(path, name)) as archive:
                    archive.extractall(folder, filter="data")
        except _UNPACKING_ERRORS as error:
            raise ValueError(f"cannot unpack {name}: {one_line(error)}") from error


def _require_new(folder: Path, archive: str) -> None:
    """Raise ``ValueError`` if an archive would replace files that another one has brought."""
    if not folder.is_dir():
        return
    if archive.lower().endswith(".zip"):
        with zipfile.ZipFile(archive) as packed:
            members = [name for name in packed.namelist() if not name.endswith("/")]
    else:
        with tarfile.open(archive) as tar:
            members = [member.name for member in tar if not member.isdir()]
    if twice := next((name for name in members if (folder / name).exists()), None):
        raise ValueError(f"another archive has a {twice} as well: unpack them by hand")


def folder_signature(path: str) -> str:
    """Return a hash of the names, sizes and times of all files; their contents are not read."""
    try:
        states = sorted(_state(name, entry) for name, entry in walk(path, {}))
    except ValueError as error:
        return str(error)
    return hashlib.sha256("".join(states).encode()).hexdigest()


def _state(name: str, entry: os.DirEntry[str]) -> str:
    try:
        state = entry.stat()
    except OSError as error:  # such as a broken link
        return f"{name!r} {error.strerror}\n"
    return f"{name!r} {state.st_size} {state.st_mtime_ns}\n"


def walk(path: str, ignored: dict[str, str]) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield files of a folder and its sub-folders, in no order: relative name and directory entry.

    Links are followed, but each folder is entered once. Hidden files and folders, and
    ``__MACOSX``, which archives bring along, go to ``ignored``, by name with the reason.

    Raises:
        ValueError: if a folder cannot be read.
    """
    entered, folders, links = set[tuple[int, int]](), [""], list[str]()
    while folders or links:
        if not folders:  # folders first, links sorted: order must not decide which counts
            links.sort(reverse=True)
            folders.append(links.pop())
        prefix = folders.pop()
        try:
            state = os.stat(os.path.join(path, prefix))
            if (state.st_dev, state.st_ino) in entered:
                ignored[prefix] = "a link to a folder that is read already"
                continue
            entered.add((state.st_dev, state.st_ino))
            with os.scandir(os.path.join(path, prefix)) as entries:
                for entry in entries:
                    name = prefix + entry.name
                    if entry.name.startswith(".") or entry.name in _BROUGHT_ALONG:
                        ignored[name] = "hidden"
                    elif _is_folder(entry):
                        (links if entry.is_symlink() else folders).append(f"{name}/")
                    else:
                        yield name, entry
        except OSError as error:
            raise ValueError(
                f"cannot read the folder {prefix or path}: {error.strerror}"
            ) from error


def nearest_existing_parent(folder: Path) -> Path:
    """Return the folder if it exists, else its nearest parent that exists."""
    # A folder that one must not see counts as missing.
    return next(path for path in (folder, *folder.parents) if os.path.exists(path))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: reading it gives the error
        return False
