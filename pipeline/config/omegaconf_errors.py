"""Readable messages for OmegaConf's errors.

OmegaConf raises one class for most mistakes, and only its texts tell them apart. These functions
use the class, the given value and the type in the schema instead.
"""

from dataclasses import Field, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from omegaconf.errors import InterpolationValidationError, ValidationError

from bngan.serialization.problem import first_line
from pipeline.config.schema import MUST

_SCALARS = (bool, int, float, str)


def as_message(error: Exception, key: str) -> str:
    """Return a message about ``key`` from the text of the error alone."""
    return f"{key}: {first_line(error)}"


def value_message(error: Exception, path: tuple[Any, ...], value: Any, kind: type) -> str:
    """Return a message about a value that does not fit its key.

    Args:
        error: OmegaConf's error.
        path: the key, from section to section, in the dataclass ``kind``.
        value: the given value; if it refers to another key, the message names that key's value.
        kind: the schema.
    """
    key = ".".join(map(str, path))
    if not isinstance(error, ValidationError):
        return as_message(error, key)
    field, hint = _declared(kind, path)
    part = error.key if isinstance(error.key, int) else None  # index in a list
    if isinstance(error, InterpolationValidationError):
        value = error.value
    elif part is not None and isinstance(value, list):
        value = value[part]
    if field is not None and MUST in field.metadata:
        return f"{key} must {field.metadata[MUST]}, got {value}"
    hint, optional = _without_none(hint)
    if get_origin(hint) is list:
        if part is None:
            return f"{key} is a list: write it as [ONE,OTHER]"
        if value is None:
            return f"{key} must have no empty values"
        hint = get_args(hint)[0]
    if value is None and not optional and (hint in _SCALARS or get_origin(hint) is Literal):
        return f"{key} must not be empty"
    return as_message(error, key) + (": write it out, as 100000" if hint is int else "")


def _declared(kind: type, path: tuple[Any, ...]) -> tuple[Field[Any] | None, Any]:
    """Return the field of the dataclass ``kind`` at a path, if it has one, and the type there."""
    field: Field[Any] | None = None
    hint: Any = kind
    for part in path:
        if isinstance(hint, type) and is_dataclass(hint):
            field = next((each for each in fields(hint) if each.name == part), None)
            hint = get_type_hints(hint).get(part)
        else:  # a value of a mapping, or unknown to the schema
            field, hint = None, get_args(hint)[1] if get_origin(hint) is dict else None
    return field, hint


def _without_none(hint: Any) -> tuple[Any, bool]:
    """Return a type without None, if that leaves one type, and whether None was in it."""
    args = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    others = [arg for arg in args if arg is not NoneType]
    return (others[0] if len(others) == 1 else hint), len(others) < len(args)
