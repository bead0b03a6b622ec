"""Names that folders and MLflow take."""

import re
from collections.abc import Iterator

_LONGEST_NAME = 200
"""Bytes: a file's name may have 255, and something is added to it."""


def misnamed(name: str) -> Iterator[str]:
    """What is wrong with the name of an experiment, study or schedule, which folders are called by."""
    if not re.fullmatch(r"\w[\w .-]*", name):
        yield (
            "name must begin with a letter or digit and consist of those, ' ', '.', '-' and '_', got "
            f"'{name}'"
        )
    yield from _too_long("name", name)


def misnamed_model(key: str, name: str) -> Iterator[str]:
    """What is wrong with a name for MLflow's registry, which cannot look for quotes."""
    if not name.strip() or set(name) & set("/:'\"") or name in (".", ".."):
        yield f"{key} must be a name without '/', ':' and quotes, got '{name}'"
    yield from _too_long(key, name)


def _too_long(key: str, name: str) -> Iterator[str]:
    if (length := len(name.encode())) > _LONGEST_NAME:
        yield f"{key} must have at most {_LONGEST_NAME} bytes, got {length}"
