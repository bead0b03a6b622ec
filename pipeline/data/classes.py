"""Number the classes of a data set."""

import unicodedata
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
    """Return the label of each image: the name of its class if the data names them; else None.

    Null, NaN, an empty text and the label ``unlabelled`` are no labels. Neither is -1 if the data
    names its classes, nor a number without a name.

    Raises:
        UserError: if a label is a list or a mapping.
    """
    labels, names = source.labels(), source.class_names()
    if any(isinstance(label, list | dict) for label in labels):
        raise UserError(
            "data.label_column: a label must be one value, not a list: name another column"
        )
    if names is not None:
        known = range(len(names))
        labels = [names[number] if number in known else None for number in labels]
    return without_none(labels, unlabelled)


def without_none(labels: Sequence[Any], unlabelled: str | None) -> list[Any]:
    """Return labels with None for those that mean none, and with equal texts alike."""
    return [None if _is_none(label, unlabelled) else _text(label) for label in labels]


def _text(label: Any) -> Any:
    """Return a label with equal texts alike: accents in one form, and bytes as text."""
    if isinstance(label, bytes):
        label = label.decode(errors="backslashreplace")
    return unicodedata.normalize("NFC", label) if isinstance(label, str) else label


def _is_none(label: Any, unlabelled: str | None) -> bool:
    return label in (None, "") or label != label or class_name(label) == unlabelled


def class_name(label: Any) -> str:
    """Return the name of a class; pandas stores whole numbers as floats beside empty values."""
    return str(int(label) if isinstance(label, float) and label.is_integer() else label)


def class_numbers(
    source: Source,
    labels: Sequence[Any],
    wanted: Sequence[int] | None,
    unlabelled: str | None = None,
) -> tuple[list[str], dict[Any, int]]:
    """Return class names, and the class number of each of the training source's ``labels``.

    ``wanted`` selects classes by their numbers in the source, and renumbers them; None takes all.

    Raises:
        UserError: if there are no labels, no such class, or two classes of one name.
    """
    names, numbers = _all_classes(source, labels, unlabelled)
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


def _all_classes(
    source: Source, labels: Sequence[Any], unlabelled: str | None
) -> tuple[list[str], dict[Any, int]]:
    present, names = set(labels) - {None}, source.class_names()
    if names is None:
        values = sorted(present, key=_order)
        names = [class_name(value) for value in values]
    else:
        names = values = [_text(name) for name in names if name != unlabelled] if present else []
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise UserError(f"data.label_column: two classes have the name {twice[0]}")
    return names, {value: i for i, value in enumerate(values)}


def _order(value: Any) -> tuple[str, Any]:
    return str(type(value)), natural_key(value) if isinstance(value, str) else value


def codes(labels: Sequence[Any], numbers: dict[Any, int]) -> np.ndarray:
    """Return the class of each label, int64 ``(N,)``; ``UNLABELLED`` where there is none."""
    return np.array([numbers.get(label, UNLABELLED) for label in labels], dtype=np.int64)
