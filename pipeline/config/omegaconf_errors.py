"""OmegaConf's errors in a person's words.

OmegaConf raises one class for most mistakes, and tells them apart in its texts alone. An error's class,
the value that it carries and the type of the key say as much; ``test_omegaconf_errors`` holds OmegaConf
to what is used of that here.
"""

from collections.abc import Sequence
from dataclasses import Field, fields, is_dataclass
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from omegaconf.errors import (
    InterpolationValidationError,
    OmegaConfBaseException,
    ValidationError,
)

from pipeline.config.schema import MUST

_SCALARS = (bool, int, float, str)


def as_message(error: Exception, key: str, path: Sequence[Any] = (), kind: Any = None) -> str:
    """Return what a person reads about the value of ``key``.

    Args:
        error: OmegaConf's, or one that came of its work.
        key: dotted key.
        path: the same key as a path, into the dataclass ``kind``; none where no schema was asked.
    """
    field, hint = _declared(kind, path)
    text = next(iter(str(error).strip().splitlines()), type(error).__name__)
    if not isinstance(error, ValidationError):
        return f"{key}: {text}"
    if field is not None and MUST in field.metadata:
        return f"{key} must {field.metadata[MUST]}, got {error.value}"
    hint, optional = _without_none(hint)
    if get_origin(hint) is list:
        if _is_no_list(error):
            return f"{key} is a list: write it as [ONE,OTHER]"
        hint, optional = get_args(hint)[0], True  # of an element
    if error.value is None:
        empty = _is_scalar(hint) and not optional
        return f"{key} must not be empty" if empty else f"{key}: {text}"
    return f"{key}: {text}" + (": write it out, as 100000" if hint is int else "")


def _is_no_list(error: OmegaConfBaseException) -> bool:
    """Whether the value is none, not one of its elements wrong, whose ``key`` is their number."""
    unknown = isinstance(
        error, InterpolationValidationError
    )  # carries no value where it wants a list
    return not isinstance(error.key, int) and (error.value is not None or unknown)


def _declared(kind: Any, path: Sequence[Any]) -> tuple[Field[Any] | None, Any]:
    """The field of the dataclass ``kind`` at a path, if it is a field's, and the type there."""
    field, hint = None, kind
    for part in path:
        if isinstance(hint, type) and is_dataclass(hint):
            known = {each.name: each for each in fields(hint)}
            if part not in known:
                return None, Any
            field, hint = known[part], _hints(hint)[part]
        elif get_origin(hint) is dict:
            field, hint = None, get_args(hint)[1]
        else:
            return None, Any
    return field, hint


@lru_cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _without_none(hint: Any) -> tuple[Any, bool]:
    """A type but for None, if that leaves one, and whether None was in it."""
    args = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    others = [arg for arg in args if arg is not NoneType]
    return (others[0] if len(others) == 1 else hint), len(others) < len(args)


def _is_scalar(hint: Any) -> bool:
    return hint in _SCALARS or get_origin(hint) is Literal
