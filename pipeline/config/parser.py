"""Read typed values from YAML and the command line, and collect all mistakes in them."""

import codecs
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import MappingNode, MarkedYAMLError, YAMLError

from bngan.serialization.problem import Problem, first_line, one_line
from pipeline.config.hints import declared, hints_of, mapping_of
from pipeline.config.keys import (
    dotted,
    given_keys,
    leaves,
    name_conflicts,
    nested,
    other_names,
    renaming_notes,
    unknown_key,
    with_present_names,
)
from pipeline.config.omegaconf_errors import as_message, value_message
from pipeline.config.scalars import require_fit, typed
from pipeline.config.yaml_reader import compose, key_lines, override_value, to_value
from pipeline.core.errors import UserError

_Schema = TypeVar("_Schema")
_LONGEST = 1_000_000
"""Most bytes that a configuration file may have."""
_FILLED_IN = re.compile(r"\$\{([\w.]+|oc\.env:BNGAN_\w+(,[^${}]*)?)\}")
"""References that a value may have: to another key, or to an environment variable BNGAN_*."""
_REFERENCE = re.compile(r"\$\{([\w.]+)\}")


@dataclass
class ParsedConfig(Generic[_Schema]):
    """A configuration as a person wrote it, as far as it can be read.

    Attributes:
        values: an instance of the schema; a wrong value is replaced by the default.
        keys: dotted keys that are given.
        wrong: the problem of each wrong key or override, by its text.
        notes: remarks for the user, such as new names of keys.
        where: file of the keys in ``lines``.
        lines: the line, from 1, of each key in the file that no override replaces.
    """

    values: _Schema
    keys: set[str]
    wrong: dict[str, Problem]
    notes: list[str] = field(default_factory=list)
    where: str = ""
    lines: dict[str, int] = field(default_factory=dict)

    def raise_if_invalid(self, problems: Iterable[Problem] = ()) -> None:
        """Raise if anything is wrong, or there are ``problems``.

        A key that could not be read has its default. Problems of that key, or that rest on it, are
        left out.

        Raises:
            UserError: with all problems, each with its place in the file, in the order of the file.
        """
        unread = {problem.key for problem in self.wrong.values()} - {""}
        others = [p for p in problems if not unread.intersection((p.key, *p.rests_on))]
        distinct = {p.message: p for p in reversed([*self.wrong.values(), *others])}
        if distinct:
            placed = sorted((self.lines.get(p.key, 0), one_line(m), p) for m, p in distinct.items())
            raise UserError(
                *(
                    p._replace(message=f"{self.where}:{line}: {text}" if line else text)
                    for line, text, p in placed
                )
            )


def read(kind: type[_Schema], path: Path, overrides: Sequence[str] = ()) -> ParsedConfig[_Schema]:
    """Read a YAML file and ``key=value`` overrides as the dataclass ``kind``; paths stay as given.

    Raises:
        UserError: if the file cannot be read, or is not a YAML mapping.
    """
    try:
        root = compose(_text_of(path))
        if root is not None and not isinstance(root, MappingNode):
            raise UserError(f"{path} is not a mapping of keys to values")
        given = OmegaConf.create(to_value(root, hints_of(kind)) or {})
        lines = dict(key_lines(root))
    except FileNotFoundError as error:
        raise UserError(f"there is no configuration file {path}") from error
    except (OmegaConfBaseException, YAMLError, OSError, UnicodeDecodeError) as error:
        raise UserError(_of_file(error, path)) from error
    except RecursionError as error:
        raise UserError(f"{path} has brackets in brackets, too deep to be read") from error
    parsed, names = to_dataclass(kind, given, overrides, str(path)), other_names(kind)
    replaced = {text.partition("=")[0] for text in overrides}
    replaced |= {names[key] for key in replaced & set(names)}
    lines = {names[key]: lines[key] for key in lines if key in names} | lines
    parsed.where = str(path)
    parsed.lines = {key: line for key, line in lines.items() if key not in replaced}
    return parsed


def top_level_keys(path: Path) -> set[str]:
    """Return the keys at the top of a YAML file, as far as it can be read; nothing is refused."""
    try:
        return {key for key, _ in key_lines(compose(_text_of(path))) if "." not in key}
    except (OSError, RecursionError, UnicodeDecodeError, UserError, YAMLError):
        return set()


def _text_of(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(_LONGEST + 1)
    if len(content) > _LONGEST:
        raise UserError(f"{path} is longer than a configuration can be")
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UserError(f"{path} is UTF-16 text: save it as UTF-8")
    return content.decode("utf-8-sig")


def to_dataclass(
    kind: type[_Schema], given: DictConfig, overrides: Sequence[str], where: str
) -> ParsedConfig[_Schema]:
    """Read ``given``, from ``where``, and ``key=value`` overrides as the dataclass ``kind``."""
    schema, wrong = deepcopy(_schema(cast(Any, kind))), dict[str, Problem]()
    user, notes = _merged(kind, given, overrides, wrong)
    values = list(leaves(cast(dict[str, Any], OmegaConf.to_container(user))))
    known = flatten(cast(dict[str, Any], OmegaConf.to_container(schema)))
    for path, value in values:
        key = dotted(path)
        if value == {} and any(name.startswith(f"{key}.") for name in known):
            continue
        message = _foreign(key, value)
        if not any(mapping_of(declared(kind, path[:n])[1]) for n in range(1, len(path) + 1)):
            message = message or unknown_key(path, known) or _nested_list(key, value)
        try:
            if not message:
                require_fit(value, declared(kind, path)[1])
                schema.merge_with(nested(path, value))
        except OmegaConfBaseException as error:
            message = value_message(error, path, value, kind)
        if message:
            wrong[key] = Problem(key, message)
    for path, value in values:
        if "${" in str(value) and (problem := _not_filled_in(schema, path, value, kind)):
            wrong[problem.key] = problem
            if problem.key not in known:  # in a section without defaults
                raise UserError(*wrong.values())
            OmegaConf.update(schema, problem.key, known[problem.key])
    return _filled(schema, {dotted(path) for path, _ in values}, wrong, notes, where)


@lru_cache
def _schema(kind: Any) -> Any:
    """Return the cached schema, which takes long to build; callers must not change it."""
    return OmegaConf.structured(kind)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one mapping with dotted keys."""
    return {prefix + dotted(path): value for path, value in leaves(tree) if value != {}}


def override_tree(kind: type, override: str) -> DictConfig:
    """Return the value of an override ``key=value`` as a tree, under the key that it uses.

    Raises:
        OmegaConfBaseException: if the key has no such form.
        YAMLError: if the value is no text and no YAML, or the key begins with a bracket.
        RecursionError: if it has too many brackets in brackets.
    """
    key, _, text = override.partition("=")
    if key.startswith("["):  # OmegaConf's answer is an IndexError
        raise YAMLError(f"'{key}' is no key")
    tree = OmegaConf.create({})
    OmegaConf.update(tree, key, None)  # reads a[b] as well as a.b
    ((path, _),) = leaves(cast(dict[str, Any], OmegaConf.to_container(tree)))
    return OmegaConf.create(nested(path, override_value(text, hints_of(kind), path)))


def _merged(
    kind: type, given: DictConfig, overrides: Sequence[str], wrong: dict[str, Problem]
) -> tuple[DictConfig, list[str]]:
    """Merge the overrides into ``given``; return it under present names, and notes on old names.

    Malformed overrides, and settings with two names in the file or in the overrides, go into
    ``wrong``.
    """
    names, here = other_names(kind), set[str]()
    user = deepcopy(with_present_names(given, names))
    for override in overrides:
        place, message = override.partition("=")[0], None
        try:
            if "=" not in override or override.startswith(("-", "[")):
                message = f"'{override}' is not an override: write key=value, as in train.lr=1e-3"
                wrong[f"'{override}'"] = Problem("", message)
                continue
            tree = override_tree(kind, override)
            here |= given_keys(tree)
            if mapping_of(declared(kind, tuple(place.split(".")))[1]):
                OmegaConf.update(user, place, None, force_add=True)  # the override replaces it
            user.merge_with(with_present_names(tree, names))
        except (YAMLError, RecursionError):
            message = f"an override has a value that is not valid YAML: {override}"
        except OmegaConfBaseException as error:
            message = as_message(error, place)
        if message:
            wrong[place] = Problem(names.get(place, place), message)
    there = given_keys(given)
    for problem in (*name_conflicts(there, names), *name_conflicts(here, names)):
        wrong[problem.key] = problem
    return user, renaming_notes(there | here) if names else []


def _filled(
    merged: Any, keys: set[str], wrong: dict[str, Problem], notes: list[str], where: str
) -> ParsedConfig[Any]:
    """Return the values as an object; a missing required value is wrong and becomes empty."""
    for key in sorted(OmegaConf.missing_keys(merged)):
        message = f"{key} is not set: give it in {where} or as {key}=VALUE"
        wrong.setdefault(key, Problem(key, message))
        empty: Any
        for empty in ("", [], {}):
            with suppress(OmegaConfBaseException):
                OmegaConf.update(merged, key, empty)
                break
    try:
        return ParsedConfig(OmegaConf.to_object(merged), keys, wrong, notes)
    except (OmegaConfBaseException, RecursionError) as error:
        key = getattr(error, "full_key", None) or ""
        problem = Problem(key, as_message(error, key or where))
        raise UserError(*wrong.values(), problem) from error


def _not_filled_in(schema: Any, path: tuple[Any, ...], value: Any, kind: type) -> Problem | None:
    """Return the mistake in a value that refers to another one, or None."""
    key, hint = dotted(path), declared(kind, path)[1]
    try:
        OmegaConf.select(schema, key)
        if isinstance(value, str) and (match := _REFERENCE.fullmatch(value)):
            other = OmegaConf.select(schema, match[1])
            require_fit(typed(other, False, hint) if isinstance(other, str) else other, hint)
    except OmegaConfBaseException as error:
        return Problem(key, value_message(error, path, value, kind))
    return None


def _nested_list(key: str, value: Any) -> str | None:
    if isinstance(value, list) and any(isinstance(part, list | dict) for part in value):
        return f"{key} is a list of single values, got {value}"
    return None


def _foreign(key: str, value: Any) -> str | None:
    """Return a message if a value has a reference that is not allowed, or None."""
    for text in value if isinstance(value, list) else [value]:
        if isinstance(text, str) and "${" in _FILLED_IN.sub("", text):
            return (
                f"{key}: only ${{OTHER.KEY}} and ${{oc.env:BNGAN_NAME}} are filled in, not {text}"
            )
    return None


def _of_file(error: Exception, path: Path) -> str:
    if isinstance(error, MarkedYAMLError) and error.problem_mark:
        reason = " ".join((error.problem or str(error.context)).split(". ")[0].split())
        return f"{path}:{error.problem_mark.line + 1}: not valid YAML: {reason}"
    if isinstance(error, OSError):
        return f"{path} cannot be read: {error.strerror}"
    reason = first_line(error)
    if isinstance(error, UnicodeDecodeError):
        reason = f"byte {error.start + 1} is not UTF-8: save the file as UTF-8"
    return f"{path} is not valid YAML: {reason}"
