"""Parse URIs, and redact secrets from text that reaches jobs, logs or MLflow."""

import os
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from bngan.serialization.problem import Problem
from pipeline.core.errors import UserError

REGISTERED = "models:/"
"""Prefix of the address of a registered model."""
_LOGIN = re.compile(  # abfs:// has its container before the @
    r"((?<=http://)|(?<=https://))[^/\s\"'<>]*@|(?<=://)[^/\s\"'<>:@]*:[^/\s\"'<>]*@", re.IGNORECASE
)
_KEY = re.compile(
    r"([?&][^=?&#\s]{0,60}?(?:secret|password|token|key|sig)[^=?&#\s]{0,60}=)[^&#\s\"'<>]*", re.I
)
_SECRET_NAME = re.compile(
    r"(secret|passw(or)?d|(?<![^_])token(?![^_])|credential|webhook|(api|access|private)key"
    r"|(?<![^_])key(?![^_]))"
    r"(?!.*_(path|file|dir)$)",
    re.IGNORECASE,
)
_SHORTEST = 8
"""Characters of a secret that is looked for in text: shorter ones would be found everywhere."""
_SWITCH = re.compile(r"true|false|disabled|enabled", re.IGNORECASE)
_COUNTED, _COUNT = re.compile(r"token|key", re.IGNORECASE), re.compile(r"[\d.,_+-]*")
"""Names of settings that may be counts, and values that are counts: these are no secrets."""


def is_uri(text: str) -> bool:
    """Return whether ``text`` is a URI and not a path."""
    return "://" in text


def local_path(uri: str) -> Path | None:
    """Return the path that a ``file:`` URI or a path means; None for other URIs."""
    if urlsplit(uri).scheme == "file":
        return Path(unquote(urlsplit(uri).path))
    return None if urlsplit(uri).scheme else Path(uri)


def carries_secret(uri: str) -> bool:
    """Return whether a URI has a login, or a query that looks like a key."""
    return bool(_LOGIN.search(uri) or _KEY.search(uri))


def redact_uri(uri: str) -> str:
    """Return a URI without its login, its keys and its query."""
    return redact(uri).split("?")[0]


def redact(text: str) -> str:
    """Return ``text`` without the secrets in it, ready for jobs, logs and MLflow.

    Logins in URIs are removed. ``***`` replaces keys in URIs, passwords in environment variables that
    hold a URI, and the values of environment variables whose names speak of secrets.
    """
    for secret in sorted(set(_secrets()), key=len, reverse=True):
        text = text.replace(secret, "***")
    return _KEY.sub(r"\1***", _LOGIN.sub("", text))


def _secrets() -> Iterator[str]:
    """Yield the secrets in the environment, as they are and as URIs write them."""
    for name, value in os.environ.items():
        counts = _COUNTED.search(name) and _COUNT.fullmatch(value)
        named = _SECRET_NAME.search(name) and not (counts or _SWITCH.fullmatch(value))
        passwords = [login[0][:-1].partition(":")[2] for login in _LOGIN.finditer(value)]
        for secret in [value, *passwords] if named else passwords:
            for form in (secret, quote(secret, safe=""), unquote(secret)):
                if len(form) >= _SHORTEST:
                    yield form


@lru_cache
def filesystem_of(uri: str) -> tuple[Any, str]:
    """Return pyarrow's file system of a URI, which may wrap one of fsspec, and the path in it.

    Raises:
        UserError: if no file system opens the URI.
    """
    from pyarrow.fs import FileSystem

    opened: tuple[Any, str]
    try:
        opened = FileSystem.from_uri(uri)
    except (ValueError, OSError) as unknown:  # pyarrow.lib.ArrowInvalid is a ValueError
        try:
            opened = FileSystem.from_uri(f"fsspec+{uri}")
        except Exception:  # whatever a foreign file system has against it
            reason = str(unknown).replace(uri, redact_uri(uri))
            message = f"workspace: {redact_uri(uri)} cannot be opened: {reason}"
            raise UserError(Problem("workspace", message)) from unknown
    return opened


def secrets(values: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield the values, by dotted keys, that are URIs with a login or a key in them."""
    for key, value in values.items():
        if isinstance(value, str) and is_uri(value) and carries_secret(value):
            message = (
                f"{key} has a login or key in it, which jobs and MLflow would show: leave it out"
            )
            yield Problem(key, message)


def absolute_workspace(text: str) -> str:
    """Return the absolute path or the URI of a workspace, from the text that a person wrote.

    Raises:
        UserError: for a URI with a secret in it, or without an MLflow server beside it.
    """
    if not is_uri(text):
        return str(Path(text).expanduser().absolute())
    if carries_secret(text):
        message = "workspace: no secrets in a URI, which everybody sees: set them as AWS_... are"
        raise UserError(Problem("workspace", message))
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        message = f"workspace: {text.split('?')[0]} needs an MLflow server: set MLFLOW_TRACKING_URI"
        raise UserError(Problem("workspace", message))
    return text
