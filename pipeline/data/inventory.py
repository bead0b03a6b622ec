"""The inventory of the raw data: used images, unused ones with reasons, and duplicates."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bngan.data.dataset import SPLITS, UNLABELLED, Split

LISTED = 20
"""Most names of unused files in a list; ``skipped.txt`` and ``ignored.txt`` have them all."""
Digests = dict[Split, np.ndarray]
"""64 bits of a hash of each image's pixels. Among a million different images, two agree by chance
once in 4 * 10^7 data sets."""


def contents(
    labels: Mapping[Split, np.ndarray],
    classes: Sequence[str],
    digests: Digests,
    skipped: Sequence[str],
    ignored: Sequence[str],
    commit: str | None,
) -> dict[str, Any]:
    """Return the inventory in JSON values; ``commit`` is that of a dataset on the Hub."""
    known = {split: codes[codes != UNLABELLED] for split, codes in labels.items()}
    return {
        "commit": commit,
        "class_counts": {
            split: np.bincount(codes, minlength=len(classes)).tolist()
            for split, codes in known.items()
        },
        "unlabelled": {split: len(labels[split]) - len(known[split]) for split in SPLITS},
        "skipped": _first(skipped),
        "ignored": _first(ignored),
        "duplicates": duplicates(digests),
    }


def _first(lines: Sequence[str]) -> dict[str, Any]:
    return {"count": len(lines), "first": list(lines[:LISTED])}


def duplicates(digests: Digests) -> dict[str, int]:
    """Count images that repeat an earlier one, and select and test images that are in train."""
    everything = np.concatenate([digests[split] for split in SPLITS])
    return {
        "repeated": len(everything) - len(np.unique(everything)),
        "select_in_train": int(np.isin(digests["select"], digests["train"]).sum()),
        "test_in_train": int(np.isin(digests["test"], digests["train"]).sum()),
    }


def listing(lines: Sequence[str]) -> str:
    """Return the first ``LISTED`` lines as text, and the number of the others."""
    more = [f"and {len(lines) - LISTED:,} more"] if len(lines) > LISTED else []
    return "\n".join(f"  {line}" for line in [*lines[:LISTED], *more])


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
