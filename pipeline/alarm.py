"""Telling of an alarm: a webhook, a command."""

import base64
import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from pipeline.errors import UserError
from pipeline.schedule import AlarmConfig

_TRIES, _PAUSE, _TIMEOUT = 3, 2.0, 10.0
_COMMAND_TIMEOUT = 60.0


def tell(config: AlarmConfig, alarm: Mapping[str, Any]) -> list[str]:
    """Tell everybody whom ``config`` names; who they were, in words without secrets.

    Raises:
        UserError: if one of them could not be told.
    """
    text, told = json.dumps(alarm).encode(), []
    if config.webhook:
        told.append(_post(config.webhook, text))
    if config.command:
        told.append(_run(config.command, text))
    return told


def _post(address: str, text: bytes) -> str:
    parts = urlsplit(address)
    host = f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
    headers = {"Content-Type": "application/json"}
    if parts.username:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    bare = urlunsplit(parts._replace(netloc=host))
    for attempt in range(1, _TRIES + 1):
        try:
            with urllib.request.urlopen(
                urllib.request.Request(bare, text, headers), timeout=_TIMEOUT
            ):
                return f"webhook at {host}"
        except urllib.error.HTTPError as error:
            reason = f"it answers {error.code}"
        except OSError as error:
            reason = type(error).__name__ if not str(error) else str(error)
        if attempt < _TRIES:
            time.sleep(_PAUSE)
    raise UserError(f"alarm.webhook at {host} could not be told, {_TRIES} times: {reason}")


def _run(command: str, text: bytes) -> str:
    try:
        done = subprocess.run(command, shell=True, input=text, timeout=_COMMAND_TIMEOUT)
    except subprocess.TimeoutExpired:
        raise UserError(f"alarm.command took more than {_COMMAND_TIMEOUT:.0f} s") from None
    if done.returncode:
        raise UserError(f"alarm.command ended with exit code {done.returncode}")
    return "command"
