"""Readable messages for OmegaConf's errors.

OmegaConf raises one class for most mistakes, and only its texts tell them apart. These functions
use the class, the given value and the type in the schema instead.
"""

from types import NoneType
from typing import Any, Literal, get_args, get_origin

from omegaconf.errors import InterpolationValidationError, ValidationError

from bngan.serialization.problem import first_line
from pipeline.config.hints import alternatives, declared, mapping_of
from pipeline.config.scalars import mend
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
    if mapping_of(declared(kind, path)[1]):
        return f"{key} is a mapping: write it as {{NAME: VALUE}}"
    if not isinstance(error, ValidationError):
        return as_message(error, key)
    field, hint = declared(kind, path)
    part = error.key if isinstance(error.key, int) else None  # index in a list
    if isinstance(error, InterpolationValidationError):
        value = error.value
    elif part is not None and isinstance(value, list):
        value = value[part]
    if field is not None and MUST in field.metadata:
        return f"{key} must {field.metadata[MUST]}, got {value}"
    kinds, optional = alternatives(hint), NoneType in get_args(hint)
    hint = kinds[0] if len(kinds) == 1 else None
    if get_origin(hint) is list:
        if part is None:
            return f"{key} is a list: write it as [ONE,OTHER]"
        if value is None:
            return f"{key} must have no empty values"
        hint = get_args(hint)[0]
    if value is None and not optional and (hint in _SCALARS or get_origin(hint) is Literal):
        return f"{key} must not be empty"
    return as_message(error, key) + mend(value, hint)
