"""Read dataclasses from JSON files that are not trusted."""

import json
import math
from collections.abc import Mapping
from dataclasses import is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

_Record = TypeVar("_Record")
_LARGEST = 2**24
"""Maximum bytes of a file that is read; usual files have some thousands."""


def read_json_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file of at most 16 MiB.

    Raises:
        ValueError: if the file holds no JSON object; the message names the file.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError("too large")
        values = json.loads(path.read_bytes())
        if not isinstance(values, dict):
            raise ValueError("no object")
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path.name} is no description in JSON: {error}") from error
    return values


def json_object(text: str) -> dict[str, Any]:
    """Return the JSON object in a text that anybody may have edited; an empty one if it is none."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def dataclass_from_json(kind: type[_Record], values: Any, where: str) -> _Record:
    """Return a ``kind`` with the fields of the JSON object ``values``, else with defaults.

    Args:
        kind: a dataclass.
        values: a parsed JSON value.
        where: the place of ``values`` in the file, for messages.

    Raises:
        ValueError: if a key is unknown or missing, or has a value of another type; the message
            names it.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{where} must be an object of keys and values")
    hints, fields = get_type_hints(kind), dict[str, Any]()
    for key, value in values.items():
        if key not in hints:
            raise ValueError(f"{where} has an unknown key {key!r:.60}")
        hint = hints[key]
        if isinstance(hint, type) and is_dataclass(hint):
            fields[key] = dataclass_from_json(hint, value, f"{where}.{key}")
        elif not _fits(value, hint):
            raise ValueError(f"{where}.{key} cannot be {value!r:.60}")
        else:
            fields[key] = tuple(value) if get_origin(hint) is tuple else value
    try:
        return kind(**fields)
    except TypeError as error:
        raise ValueError(f"{where}: {str(error).partition('() ')[2]}") from error


def _fits(value: Any, hint: Any) -> bool:
    """Return whether a JSON value has a type, or the type that stands for it in JSON."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return isinstance(value, str) and value in args
    if origin is UnionType:
        return any(_fits(value, arg) for arg in args)
    if origin is list or (origin is tuple and args[-1] is Ellipsis):
        return isinstance(value, list | tuple) and all(_fits(part, args[0]) for part in value)
    if origin is tuple:
        if not isinstance(value, list | tuple) or len(value) != len(args):
            return False
        return all(map(_fits, value, args))
    if origin is dict:
        fits_all = isinstance(value, dict) and all(_fits(part, args[1]) for part in value.values())
        return fits_all and all(_fits(key, args[0]) for key in value)
    if hint is float:
        return type(value) is int or (type(value) is float and math.isfinite(value))
    return type(value) is hint
