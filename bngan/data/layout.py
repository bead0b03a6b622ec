"""Read splits and classes from names of folders, and of the files that hold tables.

A folder name that is one of ``SPLIT_NAMES``, or has one as a word, may make a split. The names beside
it decide: ``train`` beside ``test`` is a split, and ``train`` beside ``car`` and ``bus`` is a class.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from bngan.data.split_names import (
    SOURCE_SPLITS,
    SPLIT_NAMES,
    SourceSplit,
    require_known,
    sibling_splits,
    split_word,
)

_OUTSIDE_SPLITS = "outside of the folders that make the splits"
_OUTSIDE_CLASSES = "outside of the class folders"
Folders = tuple[str, ...]
"""Names of the folders above a file, from the top."""


@dataclass(frozen=True)
class Place:
    """Split and class of the images in one folder.

    Attributes:
        split: their split.
        origin: name of the folder that makes the split; empty if none does.
        label: name of their class, or None.
        misfit: reason why the images are not used; empty if they are.
        folders: the folders that ``class_level`` counts, from the top.
    """

    split: SourceSplit = "train"
    origin: str = ""
    label: str | None = None
    misfit: str = ""
    folders: Folders = ()


def natural_key(text: str) -> tuple[list[tuple[int, str]], str]:
    """Return a sorting key that puts numbers inside of texts in the order of numbers."""
    parts = re.split(r"([0-9]+)", text)
    digits = [part.lstrip("0") if index % 2 else part for index, part in enumerate(parts)]
    return [(len(d) if index % 2 else 0, d) for index, d in enumerate(digits)], text


def arrange(
    counts: Mapping[str, int],
    splits: Mapping[str, SourceSplit] | None = None,
    class_level: int | None = None,
) -> dict[str, Place]:
    """Return the place of each folder of images.

    The topmost level of folders whose names make splits gives the splits. Below it, the topmost level
    with several names gives the classes, and deeper folders mean nothing. A split without any folder
    at that level has no classes.

    Args:
        counts: number of images by folder, such as ``train/cat``; the empty name is the top.
        splits: split by folder name; an empty mapping has no splits, and None takes ``SPLIT_NAMES``.
        class_level: level of the folders that name classes, where 1 is the topmost one and the
            level of the splits does not count; 0 means no classes, and None looks for the level.

    Raises:
        ValueError: if the names contradict each other, or most images would not be used.
    """
    paths = {folder: tuple(folder.split("/")) if folder else () for folder in counts}
    require_known(splits or {}, {name for path in paths.values() for name in path})
    places, inner = _below_splits(paths, *_split_level(paths.values(), splits))
    if class_level is None:
        inner = _without_wrappers(inner, places)
        depth = _class_depth(inner.values())
    else:
        depth = class_level - 1
    if depth >= 0:
        labelled = set(SOURCE_SPLITS) if class_level else _labelled_splits(inner, places, depth)
        places |= {
            folder: _class_place(places[folder], path[depth : depth + 1])
            for folder, path in inner.items()
            if places[folder].split in labelled
        }
    _require_most(counts, places)
    return places


def _class_place(place: Place, name: Folders) -> Place:
    """Return the place with the class that a folder's ``name`` gives; without a name, a misfit."""
    if not name:
        return Place(misfit=_OUTSIDE_CLASSES)
    return replace(place, label=unicodedata.normalize("NFC", name[0]))


def _without_wrappers(
    inner: Mapping[str, Folders], places: Mapping[str, Place]
) -> dict[str, Folders]:
    """Return the paths without levels that have one name in all of a split, and more below it."""
    shorter = dict(inner)
    for split in SOURCE_SPLITS:
        inside = [folder for folder in inner if places[folder].split == split]
        while inside and all(len(shorter[folder]) > 1 for folder in inside):
            if len({shorter[folder][0] for folder in inside}) > 1:
                break
            shorter |= {folder: shorter[folder][1:] for folder in inside}
    return shorter


def _labelled_splits(
    inner: Mapping[str, Folders], places: Mapping[str, Place], depth: int
) -> set[SourceSplit]:
    """Return the splits whose folders at ``depth`` are classes; a lone name of its own is none."""
    names: dict[SourceSplit, set[str]] = defaultdict(set)
    for folder, path in inner.items():
        name = unicodedata.normalize("NFC", "".join(path[depth : depth + 1]))
        names[places[folder].split] |= {name} - {""}
    return {
        split
        for split, own in names.items()
        if len(own) > 1 or own & {n for other in names if other != split for n in names[other]}
    }


def _below_splits(
    paths: Mapping[str, Folders], level: int, meaning: Mapping[str, SourceSplit]
) -> tuple[dict[str, Place], dict[str, Folders]]:
    """Return the split of each folder, and the path of each that is used, without the split.

    A folder that holds only a folder of the same meaning, such as ``train/train``, counts as one.
    """
    if not meaning:
        return {folder: Place(folders=path) for folder, path in paths.items()}, dict(paths)
    places, inner = dict.fromkeys(paths, Place(misfit=_OUTSIDE_SPLITS)), dict[str, Folders]()
    for name, split in meaning.items():
        inside = [f for f, path in paths.items() if len(path) > level and path[level] == name]
        below = {paths[folder][level + 1 : level + 2] for folder in inside}
        doubled = len(below) == 1 and _means(below.pop(), split)
        for folder in inside:
            path = paths[folder]
            inner[folder] = path[:level] + path[level + 1 + doubled :]
            places[folder] = Place(split, name, folders=inner[folder])
    return places, inner


def _means(names: Folders, split: SourceSplit) -> bool:
    """Return whether the name, if there is one, has a word for the split."""
    words = [split_word(name) for name in names]
    return any(word is not None and SPLIT_NAMES[word] == split for word in words)


def _split_level(
    paths: Collection[Folders], given: Mapping[str, SourceSplit] | None
) -> tuple[int, dict[str, SourceSplit]]:
    """Return the level of the folders that make splits, and their meaning; empty if none do."""
    for level in range(max(map(len, paths), default=0)):
        names = {path[level] for path in paths if len(path) > level}
        if given is None:
            whole = level == 0 or all(len(path) > level for path in paths)
            meaning = sibling_splits(names, whole)
        else:
            meaning = {name: given[name] for name in names if name in given}
        if meaning:
            return level, meaning
    return 0, {}


def _class_depth(paths: Iterable[Folders]) -> int:
    """Return the topmost level that has several names, from 0; -1 if none has."""
    distinct = set(paths)
    for level in range(max(map(len, distinct), default=0)):
        if len({path[level] for path in distinct if len(path) > level}) > 1:
            return level
    return -1


def _require_most(counts: Mapping[str, int], places: Mapping[str, Place]) -> None:
    misfits = Counter[str]()
    for folder, place in places.items():
        misfits[place.misfit] += counts[folder]
    used = misfits.pop("", 0)
    for misfit, count in misfits.items():
        if count > used:
            key = "data.splits" if misfit == _OUTSIDE_SPLITS else "data.class_level"
            raise ValueError(
                f"{count:,} of {count + used:,} images lie {misfit}: {key} says which folders those are"
            )
