"""Groups of images that get one split: their names, their keys, and messages about them."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from bngan.data.class_names import short_name
from bngan.data.dataset import Split
from bngan.metrics.jackknife import GROUPS
from pipeline.core.errors import UserError
from pipeline.data.classes import class_name, without_none
from pipeline.data.splits import Shares, content_key

Groups = list[str | None]
"""Name of the group of each image; None for an image without a group."""
_OFF = 2
"""Factor by which a split may differ in size from its share before a warning."""
_REASONS = {
    "folder": "no image file lies below a folder of that level; for images in tables write name:",
    "column": "the column is empty",
    "name": "the expression finds nothing in the names of the images",
}
"""Reason why no image has a group, by the form of the rule."""


def group_names(values: Sequence[Any]) -> Groups:
    """Return the names of groups that are given as any values; null, NaN and empty texts are none.

    Raises:
        UserError: if a value is a list or a mapping.
    """
    if any(isinstance(value, list | dict) for value in values):
        raise UserError("data.group: a group must be one value, not a list: name another column")
    known = without_none(values, None)
    return [None if value is None else class_name(value) for value in known]


def require_groups(rule: str, groups: Groups, splits: int) -> None:
    """Raise ``UserError`` if no image has a group, or there are fewer groups than splits.

    Args:
        rule: the key ``data.group``.
        groups: groups of the images to train on.
        splits: number of splits that these images are divided into.
    """
    names = sorted({name for name in groups if name is not None})
    if not names:
        reason = _REASONS[rule.partition(":")[0]]
        raise UserError(f"data.group: no image to train on has a group by {rule}: {reason}")
    if len(names) + groups.count(None) < splits:
        raise UserError(
            f"data.group: {rule} gives only {len(names)} groups ({', '.join(map(short_name, names))}), "
            f"and the images are divided into {splits} splits"
        )


def group_keys(seed: int, keys: np.ndarray, groups: Groups) -> tuple[np.ndarray, np.ndarray]:
    """Return the key of each image, and a number that the images of one group have in common.

    Args:
        seed: the key ``data.split_seed``.
        keys: keys of the images' contents, uint64 ``(N,)``, which images without a group keep.
        groups: groups of the N images.
    """
    known = {
        name: content_key(seed, name.encode(errors="surrogatepass")) for name in {*groups} if name
    }
    number = {name: -place for place, name in enumerate(known, 1)}
    pairs = list(zip(groups, keys.tolist(), strict=True))
    chosen = [known[name] if name else key for name, key in pairs]
    numbers = [number[name] if name else place for place, name in enumerate(groups)]
    return np.array(chosen, np.uint64), np.array(numbers, np.int64)


def described_groups(rule: str, groups: Groups) -> str:
    """Return in one line how many groups there are, and how many images without a group."""
    lone = groups.count(None)
    count = len(set(groups) - {None})
    sizes = Counter(name for name in groups if name is not None).most_common(1)
    largest = ", ".join(f"{short_name(name)} is the largest with {n:,}" for name, n in sizes)
    line = f"data.group: {rule} puts {len(groups) - lone:,} images into {count:,} groups; {largest}"
    if not lone:
        return line
    share = " (more than half)" if lone > len(groups) / 2 else ""
    return f"{line}; {lone:,} images{share} have no group: each goes by its own content"


def shared_groups(train: Groups, test: Groups) -> str:
    """Return a warning about groups in two splits that the data itself has; empty if none is."""
    names = sorted({name for name in train if name is not None} & set(test), key=str)
    if not names:
        return ""
    return (
        f"data.group: {len(names):,} groups have images to train on and to test with, such as "
        f"{short_name(str(names[0]))}: the splits of the data stay as they are"
    )


def few_groups(keys: np.ndarray) -> str:
    """Return a warning about a test split of few groups; empty if it has enough.

    ``keys`` are those of its images; images of one key stay together.
    """
    if (count := len(np.unique(keys))) >= GROUPS:
        return ""
    return (
        f"data.group: the images to test with are only {count} groups. With under {GROUPS}, intervals "
        "of scores are too narrow, and the gate may take chance for progress"
    )


def share_warnings(
    shares: Shares, places: Mapping[Split, np.ndarray], keys: np.ndarray
) -> Iterator[str]:
    """Yield a warning if groups make sizes of splits differ much from the shares.

    Args:
        shares: shares that are asked for.
        places: images of each split.
        keys: key of each image; images of one key stay together.

    Raises:
        UserError: if a split has fewer than ``shares.fewest`` images.
    """
    largest = np.unique(keys, return_counts=True)[1].max(initial=0)
    why, parts = f"up to {largest:,} of {len(keys):,} images stay together", []
    asked: dict[Split, float] = {"select": shares.select, "test": shares.test}
    asked["train"] = 1 - sum(asked.values())
    for split, share in asked.items():
        count = len(places[split])
        if share and count < shares.fewest:
            raise UserError(
                f"data.group: {count} images are left for the {split} split, and fewer than "
                f"{shares.fewest} cannot be worked with, since {why}: make groups smaller, or add "
                "images"
            )
        wanted = max(round(share * len(keys)), shares.fewest) if share else 0
        if not wanted / _OFF <= count <= wanted * _OFF:
            parts.append(f"{count:,} images are in {split} instead of {wanted:,}")
    if parts:
        yield f"data.group: {', '.join(parts)}, since {why}"
