"""Typed values from YAML and the command line: whatever is wrong with them is one clear line."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar, cast, get_origin

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from pipeline.errors import UserError

_Schema = TypeVar("_Schema")


def given_keys(path: Path, overrides: Sequence[str]) -> set[str]:
    """Dotted keys that the user has set, in what ``read`` takes."""
    user = OmegaConf.merge(OmegaConf.load(path), _parse(overrides))
    return set(flatten(cast(dict[str, Any], OmegaConf.to_container(user))))


def read(kind: type[_Schema], path: Path, overrides: Sequence[str] = ()) -> _Schema:
    """A YAML file and ``key=value`` overrides as the dataclass ``kind``, paths as they are given.

    Raises:
        UserError: naming the first key that is unknown, missing or of a wrong type.
    """
    try:
        given = OmegaConf.load(path)
    except FileNotFoundError as error:
        raise UserError(f"there is no configuration file {path}") from error
    except (OmegaConfBaseException, YAMLError, OSError, UnicodeDecodeError) as error:
        raise UserError(_one_line(error, path)) from error
    if not isinstance(given, DictConfig):
        raise UserError(f"{path} is not a mapping of keys to values")
    return structured(kind, given, overrides, str(path))


def structured(
    kind: type[_Schema], given: DictConfig, overrides: Sequence[str], where: str
) -> _Schema:
    """What is given (``where``), and ``key=value`` overrides, as the dataclass ``kind``.

    Raises:
        UserError: naming the first key that is unknown, missing or of a wrong type.
    """
    schema = OmegaConf.structured(kind)
    try:
        user = cast(DictConfig, OmegaConf.merge(given, _parse(overrides)))
        _refuse_unknown(user, schema)
        merged = OmegaConf.merge(schema, user)
        missing = sorted(OmegaConf.missing_keys(merged))
        if missing:
            raise UserError(f"{missing[0]} is not set: give it in {where} or as {missing[0]}=VALUE")
        return cast(_Schema, OmegaConf.to_object(merged))
    except OmegaConfBaseException as error:
        raise UserError(_one_line(error, where)) from error


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        flat |= flatten(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return flat


def _parse(overrides: Sequence[str]) -> DictConfig:
    for override in overrides:
        if "=" not in override or override.startswith("-"):
            raise UserError(
                f"'{override}' is not an override: write key=value, as in train.lr=1e-3"
            )
    try:
        return OmegaConf.from_dotlist(list(overrides))
    except YAMLError as error:
        raise UserError(f"an override has a value that is not valid YAML: {overrides}") from error


def _refuse_unknown(user: DictConfig, schema: DictConfig) -> None:
    known = flatten(cast(dict[str, Any], OmegaConf.to_container(schema)))
    kind = OmegaConf.get_type(schema)
    assert kind is not None
    free = {
        f.name for f in fields(kind) if get_origin(f.type) is dict
    }  # keys of these are the user's
    sections = {key.rsplit(".", depth)[0] for key in known for depth in (1, 2) if "." in key}
    given = OmegaConf.to_container(user, resolve=False)
    for key in flatten(cast(dict[str, Any], given)):
        if key in sections:
            raise UserError(f"{key} is a section: set a key in it, as {key}.KEY=VALUE")
        if key in known or key.split(".")[0] in free:
            continue
        close = [name for name in known if name.split(".")[-1] == key.split(".")[-1]]
        close = close or difflib.get_close_matches(key, known, n=1, cutoff=0.6)
        hint = f": did you mean {close[0]}?" if close else ""
        raise UserError(f"unknown key {key}{hint}")


def _one_line(error: Exception, path: Path | str) -> str:
    key = getattr(error, "full_key", None)
    text = str(error).strip().splitlines()
    if isinstance(error, YAMLError):
        return f"{path} is not valid YAML: {' '.join(line.strip() for line in text)}"
    hint = ": write it out, as 100000" if "converted to Integer" in str(error) else ""
    if "is not a ListConfig" in str(error):
        return f"{key or path} is a list: write it as [ONE,OTHER]"
    return f"{key or path}: {text[0] if text else type(error).__name__}{hint}"
