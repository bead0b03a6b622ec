"""Telling of an alarm: a webhook, a command."""

import base64
import http.client
import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from pipeline.core.errors import RetryableError
from pipeline.monitoring.schedule import AlarmConfig

_TRIES, _PAUSE, _TIMEOUT = 3, 2.0, 10.0
_COMMAND_TIMEOUT = 60.0


def tell(config: AlarmConfig, alarm: Mapping[str, Any]) -> list[str]:
    """Tell everybody whom ``config`` names; who they were, in words without secrets.

    Raises:
        RetryableError: if one of them could not be told.
    """
    text, told = json.dumps(alarm).encode(), []
    if config.webhook:
        told.append(_post(config.webhook, text))
    if config.command:
        told.append(_run(config.command, text))
    return told


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect is an error: followed, it is a GET, and hands what authorizes us to another host."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _post(address: str, text: bytes) -> str:
    parts = urlsplit(address)
    user, _, host = parts.netloc.rpartition("@")
    headers = {"Content-Type": "application/json"}
    if user:
        pair = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    bare = urlunsplit(parts._replace(netloc=host))
    opener = urllib.request.build_opener(_NoRedirects)
    for attempt in range(1, _TRIES + 1):
        try:
            with opener.open(urllib.request.Request(bare, text, headers), timeout=_TIMEOUT):  # noqa: S310 (load_schedule lets http and https through)
                return f"webhook at {host}"
        except urllib.error.HTTPError as error:
            reason = f"it answers {error.code}"
        except OSError as error:
            reason = str(error) or type(error).__name__
        except (ValueError, http.client.HTTPException) as error:
            reason = type(error).__name__  # what they say may have the path and the query in it
        if attempt < _TRIES:
            time.sleep(_PAUSE)
    raise RetryableError(f"alarm.webhook at {host} could not be told, {_TRIES} times: {reason}")


def _run(command: str, text: bytes) -> str:
    try:
        done = subprocess.run(command, shell=True, input=text, timeout=_COMMAND_TIMEOUT)  # noqa: S602 (the user's own command line)
    except subprocess.TimeoutExpired:
        raise RetryableError(f"alarm.command took more than {_COMMAND_TIMEOUT:.0f} s") from None
    if done.returncode:
        raise RetryableError(f"alarm.command ended with exit code {done.returncode}")
    return "command"
