"""Scan a folder of images in one pass over names, without opening a file."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath

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
TABLES = (".parquet", ".arrow", ".zip", ".tar", ".csv", ".json", ".jsonl")
"""Suffixes of files in which ``datasets`` may find images."""
_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "dev", "val"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}


@dataclass
class Folder:
    """Contents of a folder.

    Attributes:
        images: names relative to the folder, sorted, by split.
        classes: names of the classes, if a sub-folder for each holds the images.
        ignored: the folder's other files, each ``name: why it is no image``.
        described: whether images lie in tables, or files such as metadata.csv describe them.
    """

    images: dict[str, list[str]] = field(default_factory=dict)
    classes: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    described: bool = False

    def labels(self, split: str) -> list[int]:
        """Return the class of each image of a split, as an index of ``classes``."""
        number = {name: place for place, name in enumerate(self.classes)}
        return [number[_places(name)[1][-1]] for name in self.images[split]]


def scan_image_folder(path: str) -> Folder:
    """Return the images of a folder, their splits and their classes.

    Folders named train, validation or test, or with a synonym that ``datasets`` knows, make splits;
    files outside of them are then ignored. The sub-folder of an image is its class, if there are
    several sub-folders and all have the same depth.

    Raises:
        ValueError: if the folder, or one in it, cannot be read, or it holds no images or tables.
    """
    if not os.path.isdir(path):
        reason = "it is a file" if os.path.exists(path) else "there is no such folder"
        raise ValueError(f"cannot read {path}: {reason}")
    folder, names = Folder(), list[str]()
    for name, _ in walk(path, folder.ignored):
        suffix = os.path.splitext(name)[1].lower()
        folder.described |= os.path.basename(name) in _METADATA or suffix in (".parquet", ".arrow")
        if suffix not in READ and suffix not in _UNREAD:
            folder.ignored.append(f"{name}: no image by its name")
        elif name.encode(errors="ignore").decode() != name:
            folder.ignored.append(f"{name}: its name is not UTF-8")
        else:
            names.append(name)
    names.sort()
    split = any(_places(name)[0] for name in names)
    places = set()
    for name in names:
        part, folders = _places(name)
        if split and not part:
            folder.ignored.append(f"{name}: outside of the folders that make the splits")
            continue
        folder.images.setdefault(part or "train", []).append(name)
        places.add((len(folders), folders[-1] if folders else ""))
    if len({depth for depth, _ in places}) == 1 and len(places) > 1:
        folder.classes = sorted(name for _, name in places)
    _require_something(path, folder)
    return folder


def _require_something(path: str, folder: Folder) -> None:
    kinds = Counter(PurePath(line.rpartition(": ")[0]).suffix or "other" for line in folder.ignored)
    if not folder.images and not any(kind.lower() in TABLES for kind in kinds):
        contents = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(3))
        raise ValueError(
            f"{path} holds no images, only {contents}" if contents else f"{path} is empty"
        )


def folder_signature(path: str) -> str:
    """Return a hash of the names, sizes and times of all files; their contents are not read."""
    try:
        states = sorted(_state(name, entry) for name, entry in walk(path, []))
    except ValueError as error:
        return str(error)
    return hashlib.sha256("".join(states).encode()).hexdigest()


def _state(name: str, entry: os.DirEntry[str]) -> str:
    try:
        state = entry.stat()
    except OSError as error:  # such as a broken link
        return f"{name!r} {error.strerror}\n"
    return f"{name!r} {state.st_size} {state.st_mtime_ns}\n"


def walk(path: str, ignored: list[str]) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield files of a folder and its sub-folders, in no order: relative name and directory entry.

    Links are followed, but each folder is entered once. Hidden files and folders, and those that
    start with ``__`` (archives bring such along), go to ``ignored``.

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
                ignored.append(f"{prefix}: a link to a folder that is read already")
                continue
            entered.add((state.st_dev, state.st_ino))
            with os.scandir(os.path.join(path, prefix)) as entries:
                for entry in entries:
                    name = prefix + entry.name
                    if entry.name.startswith((".", "__")):
                        ignored.append(f"{name}: hidden")
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
    return next(path for path in (folder, *folder.parents) if path.exists())


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: reading it gives the error
        return False


def _places(name: str) -> tuple[str | None, list[str]]:
    """Return the split that one of a file's folders names, and the file's other folders."""
    folders = name.split("/")[:-1]
    for place, folder in enumerate(folders):
        if folder in SPLIT_NAMES:
            return SPLIT_NAMES[folder], folders[:place] + folders[place + 1 :]
    return None, folders
