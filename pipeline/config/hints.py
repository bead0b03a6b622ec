"""Find the type that a schema declares for a key."""

from collections.abc import Callable
from dataclasses import Field, fields, is_dataclass
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from pipeline.config.keys import Path, dotted, other_names
from pipeline.config.schema import KEYS_OF

HintAt = Callable[[Path], Any]
"""Function from a path to the type that a schema declares there; None for any type."""


def hints_of(kind: type) -> HintAt:
    """Return the function for a schema's paths, under present or other names."""
    names = other_names(kind)

    def hint_at(path: Path) -> Any:
        present = names.get(dotted(path))
        return declared(kind, tuple(present.split(".")) if present else path)[1]

    return hint_at


def declared(kind: type, path: Path) -> tuple[Field[Any] | None, Any]:
    """Return the field of the dataclass ``kind`` at a path, if it has one, and the type there.

    The type is None if the schema does not know the path.
    """
    field: Field[Any] | None = None
    hint: Any = kind
    for part in path:
        if isinstance(hint, type) and is_dataclass(hint):
            field = next((each for each in fields(hint) if each.name == part), None)
            hint = _types(hint).get(part)
        elif field is not None and (schema := field.metadata.get(KEYS_OF)):
            key = other_names(schema).get(part, part)
            field, hint = None, list[declared(schema, tuple(key.split(".")))[1]]  # type: ignore[misc]
        else:  # a value of a mapping, or unknown to the schema
            mapping = mapping_of(hint)
            field, hint = None, get_args(mapping)[1] if mapping else None
    return field, hint


@lru_cache
def _types(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def alternatives(hint: Any) -> tuple[Any, ...]:
    """Return the members of a union, or the type alone; without None."""
    args = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return tuple(arg for arg in args if arg not in (NoneType, None))


def mapping_of(hint: Any) -> Any:
    """Return the type of the mapping if a type is one, or has one in its union; else None."""
    return next((each for each in alternatives(hint) if get_origin(each) is dict), None)


def element(hint: Any) -> Any:
    """Return the type of the elements if a type is a list, or has one in its union; else None."""
    lists = (each for each in alternatives(hint) if get_origin(each) is list)
    return next((get_args(each)[0] for each in lists), None)
