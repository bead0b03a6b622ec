"""Warnings about raw images that a person may have meant otherwise."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from bngan.data.class_names import short_name
from bngan.data.folder import MEANT
from bngan.data.source import Source
from bngan.data.split_names import SourceSplit
from bngan.serialization.problem import one_line
from pipeline.data.classes import class_name
from pipeline.data.raw import RawImages

_MASK = re.compile(
    r"(^|[/_-])(masks?|annotations?|segmentations?\w*|ground_?truth)([/_.-]|$)", re.I
)
"""Names of files or folders with masks."""
_SPLIT_COLUMNS = ("split", "subset", "partition", "fold", "set")
_LISTED = 10
"""Most names in a line."""


def doubts(
    raw: RawImages, labels: Mapping[SourceSplit, Sequence[Any]], ignored: Mapping[str, str]
) -> Iterator[str]:
    """Yield the warnings; an empty line is none.

    ``labels`` has the label of each image, by split of the data, and ``ignored`` the reason against
    each file that is not used.
    """
    train = raw.sources["train"]
    if raw.test:
        yield unknown_labels(train, labels["train"], labels[raw.test])
    yield unread_columns(train)
    yield mask_warning(name for source in raw.sources.values() for name in source.paths())
    yield unused_images(ignored)


def unknown_labels(source: Source, train: Sequence[Any], test: Sequence[Any]) -> str:
    """Return a warning about labels that only the test split has; empty if there are none.

    ``source`` is the training split's, with labels ``train``.
    """
    known = {None, *train, *(source.class_names() or ())}
    unknown = Counter(label for label in test if label not in known)
    if not unknown:
        return ""
    first = ", ".join(class_name(label) for label, _ in unknown.most_common(3))
    return (
        f"{unknown.total():,} images to test with have labels that no image to train on has "
        f"({first}): they count as images without a class"
    )


def unread_columns(source: Source) -> str:
    """Return a warning about columns that may be meant as splits or classes; empty if none may be."""
    lines = [
        f"the column {name} is not read, so its values make no splits"
        for name in source.columns
        if name.lower() in _SPLIT_COLUMNS
    ]
    if source.label is None and source.columns:
        listed = ", ".join(source.columns[:_LISTED])
        lines.append(f"there is no column label, only {listed}: data.label_column names another")
    return "; ".join(lines)


def mask_warning(names: Iterable[str]) -> str:
    """Return a warning about images whose names say that they are masks; empty if there are none."""
    masks = [name for name in names if _MASK.search(name)]
    if not masks:
        return ""
    return (
        f"{len(masks):,} images are called masks or annotations, such as {one_line(masks[0])}: move "
        "them away if they are no images to train on"
    )


def unused_images(ignored: Mapping[str, str]) -> str:
    """Return a warning about ignored files that may be meant as images; empty if there are none."""
    meant = [
        f"{name}: {why}"
        for name, why in sorted(ignored.items())
        if name.lower().endswith(MEANT) or name.startswith("split ")
    ]
    if not meant:
        return ""
    more = f"; and {len(meant) - 3:,} more, which ignored.txt lists" if len(meant) > 3 else ""
    named = "; ".join(map(one_line, meant[:3]))
    return f"ignored: {len(meant):,} images, tables or archives, such as {named}{more}"


def untrained(inventory: Mapping[str, Any], classes: Sequence[str]) -> str:
    """Return a warning about classes without images to train on; empty if there are none."""
    counts = inventory["class_counts"]["train"]
    if not (lacking := [c for c, n in zip(classes, counts, strict=True) if not n]):
        return ""
    names = ", ".join(map(short_name, lacking[:_LISTED]))
    more = f" and {len(lacking) - _LISTED:,} more" if len(lacking) > _LISTED else ""
    return f"no images to train on are of the classes {names}{more}"
