"""The inventory of the raw data: used images, unused ones with reasons, and duplicates."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bngan.data.class_names import short_name
from bngan.data.dataset import SPLITS, UNLABELLED, Split
from bngan.serialization.problem import one_line
from pipeline.data.digests import ImageDigests

LISTED = 20
"""Most names of unused files in a list; ``skipped.txt`` and ``ignored.txt`` have them all."""
_NAMED = 10
"""Most classes that a line names."""
_TESTABLE = 6
"""Least number of images by which a class can be looked at alone: density and coverage need the fifth
neighbour of each."""


def contents(
    labels: Mapping[Split, np.ndarray],
    classes: Sequence[str],
    digests: Mapping[Split, ImageDigests],
    skipped: Sequence[str],
    ignored: Sequence[str],
    commit: str | None,
    origins: Mapping[str, str],
    pixels: Mapping[str, int],
) -> dict[str, Any]:
    """Return the inventory in JSON values.

    ``commit`` is that of a dataset on the Hub. ``origins`` has the split that each name in the data
    makes, such as ``test`` for a folder ``Testing``.
    """
    known = {split: codes[codes != UNLABELLED] for split, codes in labels.items()}
    return {
        "commit": commit,
        "splits": {name: split for name, split in origins.items() if name},
        "class_counts": {
            split: np.bincount(codes, minlength=len(classes)).tolist()
            for split, codes in known.items()
        },
        "unlabelled": {split: len(labels[split]) - len(known[split]) for split in SPLITS},
        "skipped": _first(skipped),
        "ignored": _first(ignored),
        "duplicates": duplicates(digests),
        "pixels": dict(pixels),
    }


def _first(lines: Sequence[str]) -> dict[str, Any]:
    return {"count": len(lines), "first": list(lines[:LISTED])}


def duplicates(digests: Mapping[Split, ImageDigests]) -> dict[str, int]:
    """Count images that repeat an earlier one, and select and test images that are in train."""
    pixels = {split: digests[split].pixels for split in SPLITS}
    everything = np.concatenate(list(pixels.values()))
    return {
        "repeated": len(everything) - len(np.unique(everything)),
        "select_in_train": int(np.isin(pixels["select"], pixels["train"]).sum()),
        "test_in_train": int(np.isin(pixels["test"], pixels["train"]).sum()),
    }


def listing(lines: Sequence[str]) -> str:
    """Return the first ``LISTED`` lines as text, and the number of the others."""
    more = [f"and {len(lines) - LISTED:,} more"] if len(lines) > LISTED else []
    return "\n".join(f"  {line}" for line in [*lines[:LISTED], *more])


def understood(classes: Mapping[str, int], splits: Mapping[str, str]) -> str:
    """Return in one line the number of images of each class, and the split that each name makes.

    A lone ``train`` is no news.
    """
    line = f"{len(classes)} classes: {counted(classes)}" if classes else "no classes"
    if splits and splits != {"train": "train"}:
        pairs = (f"{one_line(name)} -> {split}" for name, split in splits.items())
        line += f"; splits: {', '.join(pairs)}"
    return line


def counted(classes: Mapping[str, int]) -> str:
    """Return the first classes and their numbers of images, as ``cat 812, dog 540, and 3 more``.

    A colon parts a name that ends with a digit from the number.
    """
    names = [short_name(name) for name in classes]
    parts = [
        f"{name}: {count:,}" if name[-1:].isdigit() else f"{name} {count:,}"
        for name, count in zip(names, classes.values(), strict=True)
    ]
    if len(parts) > _NAMED:
        parts[_NAMED:] = [f"and {len(parts) - _NAMED:,} more"]
    return ", ".join(parts)


def leakage_warning(duplicates: Mapping[str, int], counts: Mapping[Any, int]) -> str:
    """Return a warning about select and test images that are in train too; empty if none is."""
    parts = [
        f"{duplicates[f'{split}_in_train']:,} of {counts[split]:,} {split} images"
        for split in ("select", "test")
        if duplicates[f"{split}_in_train"]
    ]
    if not parts:
        return ""
    return (
        f"{' and '.join(parts)} are in train as well, pixel by pixel: scores on them flatter a "
        "generator that copies"
    )


def untested(inventory: Mapping[str, Any], classes: Sequence[str]) -> str:
    """Return a warning about classes short of images to test or select with; empty if none is.

    A class that has no images at all does not count, nor does a split in which nothing has a class.
    """
    counts: Mapping[str, Sequence[int]] = inventory["class_counts"]
    totals = [sum(numbers) for numbers in zip(*counts.values(), strict=True)]
    lines = []
    for split, least in (("test", _TESTABLE), ("select", 1)):
        numbers = zip(counts[split], classes, totals, strict=True)
        fewest_first = sorted(numbers, key=lambda each: each[0])
        short = {name: n for n, name, total in fewest_first if total and n < least}
        if short and sum(counts[split]):
            fewer = f"fewer than {least}" if least > 1 else "no"
            lines.append(f"classes with {fewer} images to {split} with: {counted(short)}")
    return "; ".join(lines)
