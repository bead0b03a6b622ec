"""Number the classes of a data set."""

from typing import Any

from bngan.data.dataset import UNLABELLED
from bngan.data.sources import Source
from pipeline.core.errors import UserError


def class_numbers(source: Source, wanted: list[int] | None) -> tuple[list[str], dict[Any, int]]:
    """Return class names, and the class number of every label that the training source has.

    ``wanted`` selects classes by their numbers in the source, and renumbers them; None takes all.

    Raises:
        UserError: if there are no labels, or no such class.
    """
    names, numbers = _all_classes(source)
    if wanted is None:
        return names, numbers
    if not names:
        raise UserError("data.classes: these images have no labels to choose by")
    if unknown := [number for number in wanted if not 0 <= number < len(names)]:
        raise UserError(
            f"data.classes: there is no class {unknown[0]}: classes are 0 to {len(names) - 1}"
        )
    place = {number: position for position, number in enumerate(wanted)}
    chosen = {label: place[number] for label, number in numbers.items() if number in place}
    return [names[number] for number in wanted], chosen


def _all_classes(source: Source) -> tuple[list[str], dict[Any, int]]:
    present = set(hashable_labels(source.labels())) - {None, UNLABELLED}
    names = source.class_names()
    if names is not None and present:
        return names, {number: number for number in range(len(names))}
    values = sorted(present, key=lambda value: (str(type(value)), value))
    return [str(value) for value in values], {value: i for i, value in enumerate(values)}


def hashable_labels(labels: list[Any]) -> list[Any]:
    """Return the labels with None in place of NaN. Raises ``UserError`` for lists and mappings."""
    if any(isinstance(label, list | dict) for label in labels):
        raise UserError(
            "data.label_column: a label must be one value, not a list: name another column"
        )
    return [label if label == label else None for label in labels]
