"""Number the classes of a data set."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from bngan.data.class_names import no_such_class
from bngan.data.dataset import UNLABELLED
from bngan.data.layout import natural_key
from bngan.data.source import Source
from pipeline.core.errors import UserError


def known_labels(source: Source, unlabelled: str | None) -> list[Any]:
    """Return the label of each image; None if it has none.

    Null, NaN, an empty text and the text ``unlabelled`` are no labels. Neither is -1 if the data
    itself names its classes by numbers from 0.

    Raises:
        UserError: if a label is a list or a mapping.
    """
    labels = source.labels()
    if any(isinstance(label, list | dict) for label in labels):
        raise UserError(
            "data.label_column: a label must be one value, not a list: name another column"
        )
    no_label = {None, "", UNLABELLED} if source.class_names() is not None else {None, ""}
    return [
        None if label in no_label or label != label or str(label) == unlabelled else label
        for label in labels
    ]


def class_numbers(
    source: Source, labels: Sequence[Any], wanted: Sequence[int] | None
) -> tuple[list[str], dict[Any, int]]:
    """Return class names, and the class number of each of the training source's ``labels``.

    ``wanted`` selects classes by their numbers in the source, and renumbers them; None takes all.

    Raises:
        UserError: if there are no labels, no such class, or two classes of one name.
    """
    names, numbers = _all_classes(source, labels)
    if wanted is None:
        return names, numbers
    if problem := class_problem(names, wanted):
        raise UserError(problem)
    place = {number: position for position, number in enumerate(wanted)}
    chosen = {label: place[number] for label, number in numbers.items() if number in place}
    return [names[number] for number in wanted], chosen


def class_problem(names: Sequence[str], wanted: Sequence[int]) -> str | None:
    """Return why the classes ``names`` do not have the numbers ``wanted``; None if they do."""
    if not names:
        return "data.classes: these images have no labels to choose by"
    if unknown := [number for number in wanted if not 0 <= number < len(names)]:
        return f"data.classes: {no_such_class(unknown[0], names)}"
    return None


def _all_classes(source: Source, labels: Sequence[Any]) -> tuple[list[str], dict[Any, int]]:
    present, names = set(labels) - {None}, source.class_names()
    if names is not None and present:
        return names, {number: number for number in range(len(names))}
    values = sorted(present, key=_order)
    names = [str(value) for value in values]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"data.label_column: {twice[0]} occurs as a number and as a text")
    return names, {value: i for i, value in enumerate(values)}


def _order(value: Any) -> tuple[str, Any]:
    return str(type(value)), natural_key(value) if isinstance(value, str) else value


def codes(labels: Sequence[Any], numbers: dict[Any, int]) -> np.ndarray:
    """Return the class of each label, int64 ``(N,)``; ``UNLABELLED`` where there is none."""
    return np.array([numbers.get(label, UNLABELLED) for label in labels], dtype=np.int64)


def unknown_labels(train: Sequence[Any], test: Sequence[Any]) -> str:
    """Return a warning about labels that only the test split has; empty if there are none."""
    unknown = Counter(label for label in test if label is not None)
    for label in set(train):
        del unknown[label]
    if not unknown:
        return ""
    first = ", ".join(str(label) for label, _ in unknown.most_common(3))
    return (
        f"{unknown.total():,} images to test with have labels that no image to train on has "
        f"({first}): they count as images without a class"
    )
