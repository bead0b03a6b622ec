"""Dotted keys: convert them to nested mappings and back, correct typos, and map old names."""

import difflib
from collections.abc import Collection, Iterator, Mapping
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from bngan.serialization.problem import Problem
from pipeline.config.schema import RENAMED, SYNONYMS, Config

Path = tuple[Any, ...]
"""Parts of a key, from section to section."""


def dotted(path: Path) -> str:
    """Return a path as one key."""
    return ".".join(map(str, path))


def leaves(tree: Mapping[Any, Any], above: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield path and value of each leaf: a value that is no mapping, or an empty mapping."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, (*above, key))
        else:
            yield (*above, key), value


def nested(path: Path, value: Any) -> dict[Any, Any]:
    """Return the nested mappings that hold one value at a path."""
    for key in reversed(path):
        value = {key: value}
    return cast(dict[Any, Any], value)


def unknown_key(path: Path, known: Mapping[str, Any]) -> str | None:
    """Return a message, with the likely key, if a path names no known value; else None."""
    key = dotted(path)
    if any("." in str(part) for part in path):
        section, _, rest = key.partition(".")
        return f"{key}: in a file a section is written {section}: {{{rest}: VALUE}}"
    if any(name.startswith(f"{key}.") for name in known):
        return f"{key} is a section: set a key in it, as {key}.KEY=VALUE"
    if key in known:
        return None
    close = [name for name in known if name.split(".")[-1] == key.split(".")[-1]]
    close = close or difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    return f"unknown key {key}" + (f": did you mean {close[0]}?" if close else "")


def other_names(kind: type) -> Mapping[str, str]:
    """Return the present names of a schema's keys by their earlier names and synonyms."""
    return RENAMED | SYNONYMS if kind is Config else {}


def given_keys(tree: DictConfig) -> set[str]:
    """Return the dotted keys that ``tree`` has values for, under the names that it uses."""
    values = cast(dict[Any, Any], OmegaConf.to_container(tree))
    return {dotted(path) for path, _ in leaves(values) if not any("." in str(k) for k in path)}


def with_present_names(tree: DictConfig, names: Mapping[str, str]) -> DictConfig:
    """Return ``tree`` with present names; a value that is already under a present name wins."""
    for other, present in names.items():
        values = cast(dict[Any, Any], OmegaConf.to_container(tree))
        section, name = other.split(".")
        if isinstance(place := values.get(section), dict) and name in place:
            moved = nested(tuple(present.split(".")), place.pop(name))
            tree = cast(DictConfig, OmegaConf.merge(moved, values))
    return tree


def with_present_key(override: str, names: Mapping[str, str]) -> str:
    """Return ``key=value`` with the key's present name."""
    key, equals, value = override.partition("=")
    return f"{names.get(key, key)}{equals}{value}"


def name_conflicts(keys: Collection[str], names: Mapping[str, str]) -> Iterator[Problem]:
    """Yield a problem for each setting that ``keys`` has under two names."""
    for other, present in names.items():
        if other in keys and present in keys:
            message = f"{present} and {other} are one setting: give {present} alone"
            yield Problem(present, message)


def renaming_notes(keys: Collection[str]) -> list[str]:
    """Return a line for each of an experiment's ``keys`` that has another name now."""
    return [f"{old} is now {new}" for old, new in RENAMED.items() if old in keys]
