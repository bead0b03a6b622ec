"""Typed values from YAML and the command line: all that is wrong with them, a clear line each."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, TypeVar, cast, get_origin

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError, YAMLError

from bngan.data.decoding import one_line
from pipeline.core.errors import UserError

_Schema = TypeVar("_Schema")
_LONGEST = 1_000_000
"""Characters of a configuration file: more is no configuration."""
_FILLED_IN = re.compile(r"\$\{([\w.]+|oc\.env:BNGAN_\w+(,[^${}]*)?)\}")
"""What a value may take from elsewhere: another key, or a variable that is bngan's by its name."""


@dataclass
class ParsedConfig(Generic[_Schema]):
    """What a person has written, as far as it can be read.

    Attributes:
        values: the schema's, with its defaults where what is given is wrong.
        keys: dotted keys that are given.
        wrong: what is wrong by itself, key by key.
        where: file of the keys in ``lines``.
        lines: the line, from 1, of each key in the file that no override replaces.
    """

    values: _Schema
    keys: set[str]
    wrong: dict[str, str]
    where: str = ""
    lines: dict[str, int] = field(default_factory=dict)

    def refuse(self, problems: Iterable[str] = ()) -> None:
        """Raise if anything is wrong, or ``problems``, each beginning with its key, has any.

        Raises:
            UserError: with a line for each, and its place in the file.
        """
        # What is said of a key that could not be read is said of its default.
        others = [text for text in problems if not _keys_in(text) & set(self.wrong)]
        found = sorted(map(self._placed, dict.fromkeys([*self.wrong.values(), *others])))
        if found:
            places = (f"{self.where}:{line}: " if line else "" for line, _ in found)
            raise UserError(
                "\n".join(f"{p}{text}" for p, (_, text) in zip(places, found, strict=True))
            )

    def _placed(self, text: str) -> tuple[int, str]:
        """With the line of its key, or 0."""
        key = re.match(r"(?:unknown key )?([\w.]*)", text)
        return self.lines.get(key[1] if key else "", 0), one_line(text)


def read(kind: type[_Schema], path: Path, overrides: Sequence[str] = ()) -> ParsedConfig[_Schema]:
    """A YAML file and ``key=value`` overrides as the dataclass ``kind``, paths as they are given.

    Raises:
        UserError: if the file cannot be read, or is no mapping in YAML.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            text = file.read(_LONGEST + 1)
        if len(text) > _LONGEST:
            raise UserError(f"{path} is longer than a configuration can be")
        root = yaml.compose(text, yaml.SafeLoader)
        if root is not None and not isinstance(root, yaml.MappingNode):
            raise UserError(f"{path} is not a mapping of keys to values")
        given = cast(DictConfig, OmegaConf.create(text))  # which refuses aliases without end
        lines = dict(_lines(root))
    except FileNotFoundError as error:
        raise UserError(f"there is no configuration file {path}") from error
    except (OmegaConfBaseException, YAMLError, OSError, UnicodeDecodeError) as error:
        raise UserError(_of_file(error, path)) from error
    except RecursionError as error:
        raise UserError(f"{path} has brackets in brackets, too deep to be read") from error
    found = structured(kind, given, overrides, str(path))
    replaced = {text.partition("=")[0] for text in overrides}
    found.where = str(path)
    found.lines = {key: line for key, line in lines.items() if key not in replaced}
    return found


def structured(
    kind: type[_Schema], given: DictConfig, overrides: Sequence[str], where: str
) -> ParsedConfig[_Schema]:
    """What is given (``where``), and ``key=value`` overrides, as the dataclass ``kind``."""
    schema, wrong = deepcopy(_schema(cast(Any, kind))), dict[str, str]()
    user = _merged(given, overrides, wrong)
    leaves = _leaves(cast(dict[str, Any], OmegaConf.to_container(user)))
    free = {f.name for f in fields(cast(Any, kind)) if get_origin(f.type) is dict}
    known = flatten(cast(dict[str, Any], OmegaConf.to_container(schema)))
    for path, value in leaves:
        key = ".".join(map(str, path))
        if value == {} and any(name.startswith(f"{key}.") for name in known):
            continue
        problem = _foreign(key, value)
        if path[0] not in free:
            problem = problem or _unknown(path, known) or _nested_list(key, value)
        try:
            if not problem:
                schema.merge_with(_nested(path, value))
        except OmegaConfBaseException as error:
            problem = _of_value(error, key)
        if problem:
            wrong[key] = problem
    for key in (".".join(map(str, path)) for path, value in leaves if "${" in str(value)):
        try:
            OmegaConf.select(schema, key)
        except OmegaConfBaseException as error:
            wrong[key] = _of_value(error, key)
            if key not in known:  # of a section without defaults
                raise UserError("\n".join(wrong.values())) from error
            OmegaConf.update(schema, key, known[key])
    return _filled(schema, {".".join(map(str, path)) for path, _ in leaves}, wrong, where)


@lru_cache
def _schema(kind: Any) -> Any:
    """Not to be changed: what a study reads for each trial takes long to make."""
    return OmegaConf.structured(kind)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        flat |= flatten(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return flat


def _keys_in(text: str) -> set[str]:
    """The key that a problem begins with, and others that it names in full."""
    words = re.findall(r"\w[\w.]*\w|\w", text)
    return {word for place, word in enumerate(words) if place == 0 or "." in word}


def _leaves(tree: Mapping[Any, Any], above: tuple[Any, ...] = ()) -> list[tuple[Any, Any]]:
    """Paths and values of what is no mapping, or an empty one."""
    found = []
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            found += _leaves(value, (*above, key))
        else:
            found.append(((*above, key), value))
    return found


def _nested(path: tuple[Any, ...], value: Any) -> dict[Any, Any]:
    for key in reversed(path):
        value = {key: value}
    return cast(dict[Any, Any], value)


def _lines(node: Any, above: str = "") -> Iterator[tuple[str, int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name = f"{above}{key.value}"
            yield name, key.start_mark.line + 1
            yield from _lines(value, f"{name}.")


def _merged(given: DictConfig, overrides: Sequence[str], wrong: dict[str, str]) -> DictConfig:
    """What is given with the overrides in it; those that are none are entered into ``wrong``."""
    user = deepcopy(given)
    for override in overrides:
        problem = None
        try:
            if "=" not in override or override.startswith("-"):
                problem = f"'{override}' is not an override: write key=value, as in train.lr=1e-3"
            else:
                user.merge_with(OmegaConf.from_dotlist([override]))
        except (YAMLError, RecursionError):
            problem = f"an override has a value that is not valid YAML: {override}"
        except OmegaConfBaseException as error:
            problem = _of_value(error, override.partition("=")[0])
        if problem:
            wrong[override.partition("=")[0]] = problem
    return user


def _filled(merged: Any, keys: set[str], wrong: dict[str, str], where: str) -> ParsedConfig[Any]:
    """As an object; what must be given and is not is wrong, and stands there as something empty."""
    for key in sorted(OmegaConf.missing_keys(merged)):
        wrong.setdefault(key, f"{key} is not set: give it in {where} or as {key}=VALUE")
        empty: Any
        for empty in ("", [], {}):
            with suppress(OmegaConfBaseException):
                OmegaConf.update(merged, key, empty)
                break
    try:
        return ParsedConfig(OmegaConf.to_object(merged), keys, wrong)
    except (OmegaConfBaseException, RecursionError) as error:
        problem = _of_value(error, getattr(error, "full_key", None) or where)
        raise UserError("\n".join([*wrong.values(), problem])) from error


def _unknown(path: tuple[Any, ...], known: Mapping[str, Any]) -> str | None:
    key = ".".join(map(str, path))
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


def _nested_list(key: str, value: Any) -> str | None:
    if isinstance(value, list) and any(isinstance(part, list | dict) for part in value):
        return f"{key} is a list of single values, got {value}"
    return None


def _foreign(key: str, value: Any) -> str | None:
    """What is wrong with a value that names what is to be filled in."""
    for text in value if isinstance(value, list) else [value]:
        if isinstance(text, str) and "${" in _FILLED_IN.sub("", text):
            return (
                f"{key}: only ${{OTHER.KEY}} and ${{oc.env:BNGAN_NAME}} are filled in, not {text}"
            )
    return None


def _of_value(error: Exception, key: str) -> str:
    text = str(error).strip().splitlines()
    hint = ": write it out, as 100000" if "converted to Integer" in str(error) else ""
    if "Incompatible value 'None'" in str(error):
        return f"{key} must not be empty"
    if "is not a ListConfig" in str(error):
        return f"{key} is a list: write it as [ONE,OTHER]"
    return f"{key}: {text[0] if text else type(error).__name__}{hint}"


def _of_file(error: Exception, path: Path) -> str:
    if isinstance(error, MarkedYAMLError) and error.problem_mark:
        told = " ".join((error.problem or str(error.context)).split(". ")[0].split())
        return f"{path}:{error.problem_mark.line + 1}: not valid YAML: {told}"
    if isinstance(error, OSError):
        return f"{path} cannot be read: {error.strerror}"
    told = str(error).strip().splitlines()[0]
    if isinstance(error, UnicodeDecodeError):
        told = f"byte {error.start + 1} is not UTF-8"
    return f"{path} is not valid YAML: {told}"
