"""Read splits from names of folders, of tables, and of splits that data itself has."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal

SourceSplit = Literal["train", "validation", "test"]
"""Split of raw data. What ``prepare`` makes of it is a ``Split``."""
SOURCE_SPLITS: tuple[SourceSplit, ...] = ("train", "validation", "test")
SPLIT_NAMES: dict[str, SourceSplit] = {
    **dict.fromkeys(("train", "training", "trainval", "trn"), "train"),
    **dict.fromkeys(("validation", "valid", "dev", "val"), "validation"),
    **dict.fromkeys(("test", "testing", "tst", "eval", "evaluation", "holdout"), "test"),
}
_WORDS = re.compile(r"[a-z]+(?=set)|[a-z]+")
_NEUTRAL = {"set", "data", "dataset", "image", "images", "img", "imgs", "photos", "pictures"}
"""Words beside a split's word that change nothing: ``test_data`` is ``test``."""


def sibling_splits(names: Collection[str], whole: bool) -> dict[str, SourceSplit]:
    """Return the split of each name, if folders that stand side by side are splits; else nothing.

    They are if they hold a training split and another one and differ in that word alone, such as
    ``seg_train`` and ``seg_test``; other names beside them mean nothing. Where the ``whole`` data lies
    in the folders, they are splits too if each is one of ``SPLIT_NAMES``.

    Raises:
        ValueError: if there are several such pairs.
    """
    pairs = _groups(names)
    plain = pairs.pop("", {})
    if len(set(plain.values())) > 1 and "train" in plain.values():
        return plain
    if whole and len(plain) == len(names):
        return plain
    if len(pairs) > 1 or any(len(set(g.values())) < len(g) for g in pairs.values()):
        found = ", ".join(sorted(name for group in pairs.values() for name in group))
        raise ValueError(f"it is not clear which of {found} are splits: write data.splits")
    return next(iter(pairs.values()), {})


def _groups(names: Iterable[str]) -> dict[str, dict[str, SourceSplit]]:
    """Return names with a split's word, and their splits, by their other words.

    Names with other words count only beside one of the same words for another split.
    """
    groups: dict[str, dict[str, SourceSplit]] = defaultdict(dict)
    for name in names:
        if word := split_word(name):
            groups[_without(name, word)][name] = SPLIT_NAMES[word]
    return {
        rest: group
        for rest, group in groups.items()
        if not rest or ("train" in group.values() and len(set(group.values())) > 1)
    }


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
    every = {part for each in parts.values() for part in each}
    require_known(given or {}, every)
    meaning = {part: split for group in _groups(every).values() for part, split in group.items()}
    for name in names:
        known = meaning if given is None else given
        if deciding := next((part for part in parts[name] if part in known), None):
            found[name] = known[deciding], deciding
    _require_one_folder(found)
    return found if found or given else {name: ("train", "") for name in names}


def _require_one_folder(found: Mapping[str, tuple[SourceSplit, str]]) -> None:
    """Raise ``ValueError`` if one split's files lie in several folders, as configurations do."""
    folders: dict[str, set[str]] = defaultdict(set)
    for name, (split, origin) in found.items():
        above = name.split("/")[:-1]
        depth = above.index(origin) if origin in above else len(above)
        folders[split].add("/".join(above[:depth]) or ".")
    for part, places in folders.items():
        if len(places) > 1:
            listed = ", ".join(sorted(places))
            raise ValueError(
                f"tables of the {part} split lie in several folders, {listed}: set data.path to one"
            )


def _parts(table: str) -> list[str]:
    """Return the stem of a table's file, without the number of its shard, and its folders."""
    *folders, file = table.split("/")
    return [re.sub(r"-\d+-of-\d+.*$", "", file.rsplit(".", 1)[0]), *reversed(folders)]
