"""Read splits and classes from names of folders, and of the files that hold tables.

A folder name that is one of ``SPLIT_NAMES``, or has one as a word, may make a split. The names beside
it decide: ``train`` beside ``test`` is a split, and ``train`` beside ``car`` and ``bus`` is a class.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

SourceSplit = Literal["train", "validation", "test"]
"""Split of raw data. What ``prepare`` makes of it is a ``Split``."""
SOURCE_SPLITS: tuple[SourceSplit, ...] = ("train", "validation", "test")
SPLIT_NAMES: dict[str, SourceSplit] = {
    **dict.fromkeys(("train", "training", "trainval", "trn"), "train"),
    **dict.fromkeys(("validation", "valid", "dev", "val"), "validation"),
    **dict.fromkeys(("test", "testing", "tst", "eval", "evaluation", "holdout"), "test"),
}
_OUTSIDE_SPLITS = "outside of the folders that make the splits"
_OUTSIDE_CLASSES = "outside of the class folders"
_WORDS = re.compile(r"[a-z]+(?=set)|[a-z]+")
_NEUTRAL = {"set", "data", "dataset", "image", "images", "img", "imgs", "photos", "pictures"}
"""Words beside a split's word that change nothing: ``test_data`` is ``test``."""
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
    """

    split: SourceSplit = "train"
    origin: str = ""
    label: str | None = None
    misfit: str = ""


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
    depth = _class_depth(inner.values()) if class_level is None else class_level - 1
    labelled = {places[folder].split for folder, path in inner.items() if len(path) > depth}
    for folder, path in inner.items() if depth >= 0 else ():
        if len(path) > depth:
            label = unicodedata.normalize("NFC", path[depth])
            places[folder] = replace(places[folder], label=label)
        elif places[folder].split in labelled or class_level:
            places[folder] = Place(misfit=_OUTSIDE_CLASSES)
    _require_most(counts, places)
    return places


def _below_splits(
    paths: Mapping[str, Folders], level: int, meaning: Mapping[str, SourceSplit]
) -> tuple[dict[str, Place], dict[str, Folders]]:
    """Return the split of each folder, and the path of each that is used, without the split.

    A folder that holds only a folder of the same meaning, such as ``train/train``, counts as one.
    """
    if not meaning:
        return dict.fromkeys(paths, Place()), dict(paths)
    places, inner = dict.fromkeys(paths, Place(misfit=_OUTSIDE_SPLITS)), dict[str, Folders]()
    for name, split in meaning.items():
        inside = [f for f, path in paths.items() if len(path) > level and path[level] == name]
        below = {paths[folder][level + 1 : level + 2] for folder in inside}
        doubled = len(below) == 1 and _means(below.pop(), split)
        for folder in inside:
            path = paths[folder]
            places[folder] = Place(split, name)
            inner[folder] = path[:level] + path[level + 1 + doubled :]
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
            meaning = _meaning(names, whole)
        else:
            meaning = {name: given[name] for name in names if name in given}
        if meaning:
            return level, meaning
    return 0, {}


def _meaning(names: Collection[str], whole: bool) -> dict[str, SourceSplit]:
    """Return the split of each name, if folders that stand side by side are splits; else nothing.

    They are if they hold a training split and another one and differ in that word alone, such as
    ``seg_train`` and ``seg_test``; other names beside them mean nothing. Where the ``whole`` data lies
    in the folders, they are splits too if each is one of ``SPLIT_NAMES``.

    Raises:
        ValueError: if there are several such pairs.
    """
    groups: dict[str, dict[str, SourceSplit]] = defaultdict(dict)
    for name in names:
        if word := split_word(name):
            groups[_without(name, word)][name] = SPLIT_NAMES[word]
    pairs = {
        rest: group
        for rest, group in groups.items()
        if "train" in group.values() and len(set(group.values())) > 1
    }
    plain = groups.get("", {})
    if "" in pairs or (whole and len(plain) == len(names)):
        return plain
    if len(pairs) > 1:
        found = ", ".join(sorted(name for group in pairs.values() for name in group))
        raise ValueError(f"it is not clear which of {found} are splits: write data.splits")
    return next(iter(pairs.values()), {})


def split_meaning(
    names: Collection[str], given: Mapping[str, SourceSplit] | None = None
) -> dict[str, SourceSplit]:
    """Return the meaning of the splits that data itself names; others are left out.

    Raises:
        ValueError: if two names mean one split, or ``given`` has a name that is not there.
    """
    if given is not None:
        require_known(given, names)
        meaning = {name: split for name, split in given.items() if name in names}
    else:
        words = {name: split_word(name) for name in names}
        meaning = {n: SPLIT_NAMES[w] for n, w in words.items() if w and not _without(n, w)}
    if len(set(meaning.values())) < len(meaning):
        raise ValueError(f"several of the splits {', '.join(meaning)} are one: write data.splits")
    return meaning


def require_known(given: Mapping[str, SourceSplit], names: Collection[str]) -> None:
    """Raise ``ValueError`` if ``given`` has a name that is not among ``names``."""
    if unknown := [name for name in given if name not in names]:
        there = ", ".join(sorted(names)) or "none"
        raise ValueError(f"data.splits: there is no {unknown[0]}; names are {there}")


def split_word(name: str) -> str | None:
    """Return the one of ``SPLIT_NAMES`` that a name has as a word, if it has exactly one."""
    words = [word for word in _WORDS.findall(_spaced(name)) if word in SPLIT_NAMES]
    return words[0] if len(words) == 1 else None


def _spaced(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()


def _without(name: str, word: str) -> str:
    """Return the words of a name besides a split's word, without neutral ones and numbers."""
    others = _WORDS.findall(_spaced(name))
    others.remove(word)
    return " ".join(other for other in others if other not in _NEUTRAL)


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


def table_splits(
    names: Sequence[str], given: Mapping[str, SourceSplit] | None = None
) -> dict[str, tuple[SourceSplit, str]]:
    """Return split and origin of each table; the origin is the name that decides.

    The word in the file's name counts, as in ``train-00000-of-00001.parquet``, else that of the
    nearest folder. If no name has one, all tables are of the training split. Otherwise those without
    one are left out.

    Raises:
        ValueError: if files of one split's name lie in several folders.
    """
    found: dict[str, tuple[SourceSplit, str]] = {}
    parts = {name: _parts(name) for name in names}
    require_known(given or {}, {part for each in parts.values() for part in each})
    for name in names:
        for part in parts[name]:
            word = split_word(part)
            if given is not None and part in given:
                found[name] = given[part], part
                break
            if given is None and word:
                found[name] = SPLIT_NAMES[word], part
                break
    _require_one_folder(found, parts)
    return found if found or given else {name: ("train", "") for name in names}


def _require_one_folder(
    found: Mapping[str, tuple[SourceSplit, str]], parts: Mapping[str, Sequence[str]]
) -> None:
    """Raise ``ValueError`` if one split's files lie in several folders, as configurations do."""
    folders: dict[str, set[str]] = defaultdict(set)
    for name, (split, origin) in found.items():
        if origin == parts[name][0]:
            folders[split].add(name.rpartition("/")[0] or ".")
    for part, places in folders.items():
        if len(places) > 1:
            listed = ", ".join(sorted(places))
            raise ValueError(
                f"tables of the {part} split lie in several folders, {listed}: set data.path to one"
            )


def _parts(table: str) -> list[str]:
    """Return the stem of a table's file, without the number of its shard, and its folders."""
    *folders, file = table.split("/")
    return [re.sub(r"-\d+-of-\d+$", "", file.rsplit(".", 1)[0]), *reversed(folders)]
