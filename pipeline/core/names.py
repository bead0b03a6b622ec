"""Check names against the rules of folders and of MLflow."""

import re
from collections.abc import Iterator

from bngan.serialization.problem import Problem

_LONGEST_NAME = 200
"""Bytes: a file's name may have 255, and something is added to it."""


def name_errors(name: str) -> Iterator[Problem]:
    """Yield the reasons why an experiment, study or schedule, and its folder, cannot have a name."""
    if not re.fullmatch(r"\w[\w .:-]*", name):
        message = (
            "name must begin with a letter or digit and consist of those, ' ', '.', ':', '-' and '_', "
            f"got '{name}'"
        )
        yield Problem("name", message)
    yield from _too_long("name", name)


def model_name_errors(key: str, name: str) -> Iterator[Problem]:
    """Yield the reasons why a registered model cannot have a name. MLflow cannot search for quotes."""
    if not name.strip() or set(name) & set("/:'\"") or name in (".", ".."):
        yield Problem(key, f"{key} must be a name without '/', ':' and quotes, got '{name}'")
    yield from _too_long(key, name)


def _too_long(key: str, name: str) -> Iterator[Problem]:
    if (length := len(name.encode())) > _LONGEST_NAME:
        yield Problem(key, f"{key} must have at most {_LONGEST_NAME} bytes, got {length}")
