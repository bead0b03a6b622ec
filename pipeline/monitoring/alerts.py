"""Telling of an alarm: a webhook, a command."""

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
from requests.auth import HTTPBasicAuth

from pipeline.core.errors import RetryableError
from pipeline.core.urllib3_errors import connection_reason
from pipeline.core.waiting import within
from pipeline.monitoring.schedule import AlarmConfig

_TRIES, _PAUSE_S, _WEBHOOK_TIMEOUT_S = 3, 2.0, 10.0
"""Seconds of a webhook: between tries, and for all of one, until its status is here."""
_COMMAND_TIMEOUT_S, _CLOSING_TIMEOUT_S = 60.0, 5.0
"""Seconds of a command and all that it starts: until SIGTERM, and from then on until SIGKILL."""
_LOOK_EVERY_S = 0.05
"""Seconds between two looks whether a command's processes are gone."""


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

    def post() -> int:
        with requests.post(
            address,
            text,
            headers={"Content-Type": "application/json"},
            auth=auth,
            timeout=_WEBHOOK_TIMEOUT_S,
            allow_redirects=False,
            stream=True,  # the status is all we need
        ) as answer:
            return answer.status_code

    for attempt in range(_TRIES):
        time.sleep(_PAUSE_S if attempt else 0)
        try:
            if 200 <= (status := within(_WEBHOOK_TIMEOUT_S, post)) < 300:
                return f"webhook at {host}"
            reason = f"it answers {status}"
        except (OSError, ValueError) as error:  # their text may have the path and the query in it
            reason = connection_reason(error) or type(error).__name__
    raise RetryableError(f"alarm.webhook at {host} could not be told, {_TRIES} times: {reason}")


def _run(command: str, text: bytes) -> str:
    """Run a command line with JSON as its input; leave none of the processes that it starts.

    The input is a file, since a pipe that nobody reads would hold us up.
    """
    over = time.monotonic() + _COMMAND_TIMEOUT_S
    with tempfile.TemporaryFile() as given:
        given.write(text)
        given.seek(0)
        process = subprocess.Popen(command, shell=True, stdin=given, start_new_session=True)  # noqa: S602 (the user's own command line)
    try:
        code = process.wait(_COMMAND_TIMEOUT_S)
        while _lives(process.pid) and time.monotonic() < over:  # what it has left in the background
            time.sleep(_LOOK_EVERY_S)
    except subprocess.TimeoutExpired:
        raise RetryableError(f"alarm.command took more than {_COMMAND_TIMEOUT_S:.0f} s") from None
    finally:
        _end(process)
    if code:
        raise RetryableError(f"alarm.command ended with exit code {code}")
    return "command"


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a process and its group, kindly at first."""
    over = time.monotonic() + _CLOSING_TIMEOUT_S
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not _lives(process.pid):
            break
        with suppress(ProcessLookupError, PermissionError):  # it is gone, or another user's
            os.killpg(process.pid, number)
        while _lives(process.pid) and time.monotonic() < over:
            process.poll()  # or it would stay as a zombie, and its group with it
            time.sleep(_LOOK_EVERY_S)
    process.poll()


def _lives(group: int) -> bool:
    """Return whether a process group has processes, be they another user's."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
