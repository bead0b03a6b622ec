"""Telling of an alarm: a webhook, a command."""

import json
import subprocess
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
from requests.auth import HTTPBasicAuth

from pipeline.core.errors import RetryableError
from pipeline.core.urllib3_errors import connection_reason
from pipeline.monitoring.schedule import AlarmConfig

_TRIES, _PAUSE_S, _WEBHOOK_TIMEOUT_S = 3, 2.0, 10.0
_COMMAND_TIMEOUT_S = 60.0


def tell(config: AlarmConfig, alarm: Mapping[str, Any]) -> list[str]:
    """Tell everybody whom ``config`` names; who they were, in words without secrets.

    Raises:
        RetryableError: if one of them could not be told.
    """
    text, receivers = json.dumps(alarm).encode(), []
    if config.webhook:
        receivers.append(_post(config.webhook, text))
    if config.command:
        receivers.append(_run(config.command, text))
    return receivers


def _post(address: str, text: bytes) -> str:
    """Post JSON, and follow no redirect: it would be a GET, and hand the login to another host.

    The tries are not urllib3's, which logs the path and the query of what it tries again.
    """
    parts = urlsplit(address)
    login, _, host = parts.netloc.rpartition("@")
    user, password = (unquote(part or "").encode() for part in (parts.username, parts.password))
    auth = HTTPBasicAuth(user, password) if login else lambda bare: bare  # nothing from ~/.netrc
    for attempt in range(_TRIES):
        time.sleep(_PAUSE_S if attempt else 0)
        try:
            with requests.post(
                address,
                text,
                headers={"Content-Type": "application/json"},
                auth=auth,
                timeout=_WEBHOOK_TIMEOUT_S,
                allow_redirects=False,
                stream=True,  # the status is all we need
            ) as answer:
                if 200 <= answer.status_code < 300:
                    return f"webhook at {host}"
                reason = f"it answers {answer.status_code}"
        except (OSError, ValueError) as error:  # their text may have the path and the query in it
            reason = connection_reason(error) or type(error).__name__
    raise RetryableError(f"alarm.webhook at {host} could not be told, {_TRIES} times: {reason}")


def _run(command: str, text: bytes) -> str:
    try:
        done = subprocess.run(command, shell=True, input=text, timeout=_COMMAND_TIMEOUT_S)  # noqa: S602 (the user's own command line)
    except subprocess.TimeoutExpired:
        raise RetryableError(f"alarm.command took more than {_COMMAND_TIMEOUT_S:.0f} s") from None
    if done.returncode:
        raise RetryableError(f"alarm.command ended with exit code {done.returncode}")
    return "command"
