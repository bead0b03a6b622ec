"""Jobs on a running Ray cluster, with the code and the configuration of this machine."""

import asyncio
import logging
import os
import re
import shlex
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.cluster.launch import missing_workers, resolve_workers
from pipeline.cluster.working_dir import working_folder
from pipeline.core.errors import ServerUnavailableError, UserError
from pipeline.core.ray_internals import TALKATIVE_LOGGERS, is_job_known
from pipeline.core.uris import redact, secrets
from pipeline.core.waiting import within

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
_TRACKING = "MLFLOW_TRACKING_URI"
_ADDRESSES = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")
_ANSWER_TIMEOUT_S = 5.0
"""Seconds that a dashboard may take to say that it is there."""
_CLUSTER_TIMEOUT_S = 60.0
"""Seconds that a cluster may take to start its agents, to come back during ``follow``, or for one
request: Ray's client would wait for ever."""


@dataclass(frozen=True)
class Work:
    """The work of a job.

    Attributes:
        name: start of the job's id; equal work has equal names.
        file: the configuration that the job reads.
        command: arguments of ``python -m pipeline``, in which ``FILE`` stands for the file.
        once: whether a job that has succeeded prevents a new one.
    """

    name: str
    file: Path
    command: tuple[str, ...]
    once: bool = False


@dataclass(frozen=True)
class Submission:
    """The id of a job, and whether the job began now or existed before."""

    id: str
    began: bool


def submit(work: Work, address: str) -> Submission:
    """Submit work to a cluster; return its new job, or the job that already does the work.

    Raises:
        UserError: if the address is wrong, or the work has a secret in it.
        ServerUnavailableError: if the cluster does not answer.
    """
    with job_client(address) as client:
        return submit_work(client, work)


def follow(address: str, job: str, show: Callable[[str], None]) -> int:
    """Show a job's log to its end; return the job's exit code, or 1 if Ray knows none.

    If ``show`` raises ``BrokenPipeError``, since nobody reads on, return that of SIGPIPE.

    Raises:
        ServerUnavailableError: if the cluster does not answer.
    """
    with job_client(address) as client:
        try:
            asyncio.run(_show_log(client, job, show))
        except BrokenPipeError:
            return 128 + signal.SIGPIPE
        info = _asked(client.get_job_info, job)
    if info.status == "SUCCEEDED":
        return 0
    code = info.driver_exit_code or 1
    return int(code) if 0 < code < 256 else 1


def how_to_go_on(address: str, job: str) -> str:
    """Return a message for a user who stops following a job."""
    at = shlex.join(("--address", address))
    return (
        f"the job goes on: ray job logs {job} --follow {at} follows it, "
        f"ray job stop {job} {at} ends it"
    )


def job_name(*parts: str) -> str:
    """Return the parts as one name that is valid in a URL."""
    return "-".join(re.sub(r"[^A-Za-z0-9_.]+", "-", part) for part in parts)


def _environment() -> dict[str, str]:
    """Return a job's environment variables: the address of MLflow's server, and nothing else."""
    if not (uri := os.environ.get(_TRACKING)):
        return {}
    for _ in secrets({_TRACKING: uri}):
        raise UserError(
            f"{_TRACKING} has a user or password in it, which the job would show: give the address "
            "alone, and MLFLOW_TRACKING_USERNAME and _PASSWORD to the cluster's nodes where they start"
        )
    if not uri.startswith(("http://", "https://")):
        raise UserError(
            f"{_TRACKING} is no server that nodes could reach: start one with mlflow server, or unset "
            "it for a database in the workspace"
        )
    return {_TRACKING: uri}


def _referenced(texts: Iterable[str]) -> dict[str, str]:
    """Return the variables that references in a configuration take their values from."""
    names = {name for text in texts for name in re.findall(r"oc\.env:(BNGAN_\w+)", text)}
    found = {name: os.environ[name] for name in sorted(names) if name in os.environ}
    for problem in secrets(found):
        raise UserError(problem)
    return found


def submit_work(client: Any, work: Work) -> Submission:
    """Submit under the first free id of NAME, NAME-2, NAME-3 ..., unless the last job still runs.

    If ``work.once``, a last job that has succeeded also prevents a new one.
    """
    until = time.monotonic() + _CLUSTER_TIMEOUT_S
    entrypoint = f"python -m pipeline {shlex.join(work.command)}"
    texts = {"the command": entrypoint, str(work.file): work.file.read_text(encoding="utf-8")}
    environment = _environment() | _referenced(texts.values())
    for what, text in texts.items():
        if redact(text) != text:
            raise UserError(
                f"{what} has a login, key or secret of the environment in it: leave it out"
            )
    with working_folder(work.file) as folder:
        while True:
            number, last = _last(client, work.name)
            if last and (
                not last.status.is_terminal() or (work.once and last.status == "SUCCEEDED")
            ):
                return Submission(last.submission_id, False)
            job = work.name if number == 0 else f"{work.name}-{number + 1}"
            try:
                _asked(
                    client.submit_job,
                    entrypoint=entrypoint,
                    submission_id=job,
                    runtime_env={"working_dir": str(folder), "env_vars": environment},
                )
            except RuntimeError:
                if time.monotonic() > until:
                    raise
                if not _asked(
                    is_job_known, client, job
                ):  # else another process was faster: find its job
                    time.sleep(1.0)  # the head answers before it can take jobs
            else:
                return Submission(job, True)


def _asked(request: Callable[..., Any], *given: Any, **named: Any) -> Any:
    """Return the answer to a request of Ray's client. Raise ``TimeoutError`` if none comes."""
    return within(_CLUSTER_TIMEOUT_S, partial(request, *given, **named))


def _last(client: Any, name: str) -> tuple[int, Any]:
    """Return number and details of the newest job of a name; (0, None) if there is none."""
    numbered = re.compile(rf"{re.escape(name)}(?:-(\d+))?")
    listed = _asked(client.list_jobs)
    jobs = ((numbered.fullmatch(job.submission_id or ""), job) for job in listed)
    attempts = [(int(match[1] or 1), job) for match, job in jobs if match]
    return max(attempts, key=lambda entry: entry[0], default=(0, None))


def require_room(address: str, num_workers: tuple[int, int], accelerator: str) -> None:
    """Raise ``UserError`` if the cluster has too few CPUs or GPUs: Ray would wait for ever."""
    from ray.util.state import list_nodes

    until = time.monotonic() + _CLUSTER_TIMEOUT_S
    # Ray calls the output of dead machines missing.
    alive: dict[str, Any] = {"filters": [("state", "=", "ALIVE")], "raise_on_missing_output": False}
    while not (nodes := list_nodes(address, limit=10_000, **alive)) and time.monotonic() < until:
        time.sleep(1.0)  # the head answers before it counts itself
    total = {unit: sum(n.resources_total.get(unit, 0) for n in nodes) for unit in ("CPU", "GPU")}
    (least, _), use_gpu = resolve_workers(total, num_workers, accelerator)
    if problem := missing_workers(total, least, use_gpu):
        raise UserError(f"{problem} on {len(nodes)} node{'s'[: len(nodes) != 1]}")


@contextmanager
def job_client(address: str) -> Iterator[Any]:
    """Yield Ray's client for the cluster at ``address``, and convert its errors.

    RAY_ADDRESS has no effect on the client: it is unset inside the block.
    """
    address = address.rstrip("/")
    if not re.fullmatch(r"https?://(\[[^]@]+\]|[^/@:]+)(:\d{1,5})?", address):
        raise UserError(f"--address must be that of the dashboard, such as {DEFAULT_ADDRESS}")
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient
    from requests.exceptions import RequestException

    for name in TALKATIVE_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    given = {name: os.environ.pop(name) for name in _ADDRESSES if name in os.environ}
    try:
        _require_answer(address)
        yield JobSubmissionClient(address)
    except AuthenticationError as error:
        reason = error.message.splitlines()[0]
        raise UserError(
            f"the cluster at {address} wants its token ({reason}): RAY_AUTH_MODE=token and "
            "RAY_AUTH_TOKEN_PATH=FILE, or ~/.ray/auth_token"
        ) from error
    except (RequestException, ConnectionError, TimeoutError) as error:
        raise ServerUnavailableError(f"no Ray cluster answers at {address}") from error
    finally:
        os.environ.update(given)


def _require_answer(address: str) -> None:
    """Raise ``ConnectionError`` unless Ray answers.

    Ray's client would wait for minutes for a missing machine, and trust any server.
    """
    import requests

    def ask() -> int:
        with requests.get(
            f"{address}/api/version", timeout=_ANSWER_TIMEOUT_S, stream=True
        ) as answer:
            return answer.status_code

    try:
        if within(_ANSWER_TIMEOUT_S, ask) == 404:
            raise ConnectionError("another server")
    except (OSError, ValueError) as error:
        raise ConnectionError(str(error)) from error


async def _show_log(client: Any, job: str, show: Callable[[str], None]) -> None:
    """Show a job's log; after a broken connection, go on if the cluster is back in time."""
    from aiohttp import ClientError
    from requests.exceptions import RequestException

    printed, until = 0, time.monotonic() + _CLUSTER_TIMEOUT_S
    while True:
        position = 0
        try:
            async for text in client.tail_job_logs(job):
                position += len(text)
                if position > printed:
                    show(text[max(printed - position, -len(text)) :])
                    printed, until = position, time.monotonic() + _CLUSTER_TIMEOUT_S
            if _asked(client.get_job_status, job).is_terminal():
                return
        except BrokenPipeError:  # the reader of the output is gone
            raise
        except (RuntimeError, ClientError, RequestException, OSError):
            if time.monotonic() > until:
                raise
        await asyncio.sleep(1)
