"""Dotted keys: of nested mappings, the one that was meant, and names that keys had or have as well."""

import difflib
from collections.abc import Collection, Iterator, Mapping
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from bngan.serialization.problem import Problem
from pipeline.config.schema import RENAMED, SYNONYMS, Config

Path = tuple[Any, ...]
"""Keys from section to section."""


def dotted(path: Path) -> str:
    """Return a path as one key."""
    return ".".join(map(str, path))


def leaves(tree: Mapping[Any, Any], above: Path = ()) -> list[tuple[Path, Any]]:
    """Return paths and values of what is no mapping, or an empty one."""
    pairs = list[tuple[Path, Any]]()
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            pairs += leaves(value, (*above, key))
        else:
            pairs.append(((*above, key), value))
    return pairs


def nested(path: Path, value: Any) -> dict[Any, Any]:
    """Return the mapping of mappings that has one value, at a path."""
    for key in reversed(path):
        value = {key: value}
    return cast(dict[Any, Any], value)


def unknown_key(path: Path, known: Mapping[str, Any]) -> str | None:
    """Return why there is no value at a path, with the key that was meant; None if there is one."""
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
    """Return the present names of a schema's keys by their earlier and second ones."""
    return RENAMED | SYNONYMS if kind is Config else {}


def given_keys(tree: DictConfig) -> set[str]:
    """Return the dotted keys that ``tree`` has values for, by the names that stand there."""
    values = cast(dict[Any, Any], OmegaConf.to_container(tree))
    return {dotted(path) for path, _ in leaves(values) if not any("." in str(k) for k in path)}


def with_present_names(tree: DictConfig, names: Mapping[str, str]) -> DictConfig:
    """Return ``tree`` with present names for the others in ``names``; where both stand, as it was."""
    for other, present in names.items():
        values = cast(dict[Any, Any], OmegaConf.to_container(tree))
        *sections, name = other.split(".")
        place: Any = values
        for section in sections:
            place = place.get(section) if isinstance(place, dict) else None
        if isinstance(place, dict) and name in place:
            moved = nested(tuple(present.split(".")), place.pop(name))
            tree = cast(DictConfig, OmegaConf.merge(moved, values))
    return tree


def with_present_key(override: str, names: Mapping[str, str]) -> str:
    """Return ``key=value`` with the key's present name."""
    key, equals, value = override.partition("=")
    return f"{names.get(key, key)}{equals}{value}"


def name_conflicts(keys: Collection[str], names: Mapping[str, str]) -> Iterator[Problem]:
    """Yield the settings that ``keys`` has under two names."""
    for other, present in names.items():
        if other in keys and present in keys:
            message = f"{present} and {other} are one setting: give {present} alone"
            yield Problem(present, message)


def renaming_notes(keys: Collection[str]) -> list[str]:
    """Return a line for each of an experiment's ``keys`` that has another name now."""
    return [f"{old} is now {new}" for old, new in RENAMED.items() if old in keys]
