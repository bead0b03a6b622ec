"""Bounds of the numbers in a configuration, declared beside the fields."""

import math
import operator
from collections.abc import Iterator, Mapping
from dataclasses import field, fields, is_dataclass
from typing import Any, TypeVar

from bngan.serialization.problem import Problem

_T = TypeVar("_T")
_HOLDS = {"gt": operator.gt, "ge": operator.ge, "lt": operator.lt, "le": operator.le}
_WORDS = {"gt": "be more than", "ge": "be at least", "lt": "be less than", "le": "be at most"}


def bounded(default: _T, *, most: int | None = None, message: str = "", **bounds: float) -> _T:
    """Return a dataclass field whose number must be finite and within bounds, if it is not None.

    Args:
        default: the field's default.
        most: cap on a whole number; a higher number is a slip, and would take the machine's memory.
        message: sentence about a number out of ``bounds``, with {key} and {value}; "" gives the
            usual sentence.
        bounds: ``gt``, ``ge``, ``lt`` and ``le``; of two the lower comes first.
    """
    if bounds and not message:
        message = f"{{key}} must {_demand(bounds)}, got {{value}}"
    checks = [(_HOLDS[name], limit, message) for name, limit in bounds.items()]
    if most is not None:
        checks.append((operator.le, most, f"{{key}} must be at most {most:,}, got {{value:,}}"))
    return field(default=default, metadata={"bounds": checks})


def _demand(bounds: Mapping[str, float]) -> str:
    match list(bounds.items()):
        case [("gt", 0)]:
            return "be positive"
        case [("ge", 0)]:
            return "not be negative"
        case [(name, limit)]:
            return f"{_WORDS[name]} {limit}"
    low, high = bounds.values()
    return f"lie in {'[' if 'ge' in bounds else '('}{low}, {high}{']' if 'le' in bounds else ')'}"


def out_of_bounds(config: Any, above: str = "") -> Iterator[Problem]:
    """Yield a problem for each number of ``config`` that is out of its bounds.

    The search includes dataclasses in ``config``.

    Args:
        config: a dataclass with ``bounded`` fields.
        above: prefix of the keys, such as ``train.``.
    """
    for each in fields(config):
        key, value = f"{above}{each.name}", getattr(config, each.name)
        if is_dataclass(value):
            yield from out_of_bounds(value, f"{key}.")
        elif value is not None:
            for holds, limit, message in each.metadata.get("bounds", ()):
                if not (holds(value, limit) and abs(value) < math.inf):
                    yield Problem(key, message.format(key=key, value=value))
                    break
