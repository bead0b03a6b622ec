"""Keep Ray's names and habits that its documentation does not promise. Importing it imports no Ray."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

JOB_ENVIRONMENT = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Environment variable that Ray sets for the driver of a job."""
OVERRIDE_JOB_ENVIRONMENT = "RAY_OVERRIDE_JOB_RUNTIME_ENV"
"""Environment variable that lets a driver give its workers another environment than its job has."""
TALKATIVE_LOGGERS = (
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
    "ray._private.runtime_env.packaging",
)
"""Loggers that report each step of a job's submission."""
_INNER = ("worker_failures", "controller_failure", "cause")
"""Attributes of errors of Ray Train and of Ray's tasks: the errors that they stand for."""


def inner_error(error: BaseException) -> BaseException | None:
    """Return the error that one of Ray's stands for, or None if there is none.

    Of the failures of several workers, the first one that is not a ConnectionError comes back: a worker
    that lost another worker is not the cause.
    """
    inner = next(filter(None, (getattr(error, name, None) for name in _INNER)), None)
    if isinstance(inner, dict):
        inner = min(inner.values(), key=lambda failure: isinstance(failure, ConnectionError))
    return inner if isinstance(inner, BaseException) else None


@contextmanager
def on_loopback() -> Iterator[None]:
    """Let a cluster that starts in the block have the address 127.0.0.1, as Ray does on macOS.

    Its servers listen there alone, and else on all interfaces. If ``ray.init`` is given that address,
    it takes the machine's.
    """
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


@contextmanager
def hangups_held_back() -> Iterator[None]:
    """Start processes of Ray's that a terminal which goes away does not end; this one ends them.

    Without its raylet Ray would end this process at once, before it has closed its runs.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def running_cluster() -> str | None:
    """Return the address of a cluster on this machine, as Ray resolves ``auto``, or None."""
    from ray._private.services import canonicalize_bootstrap_address

    try:
        return canonicalize_bootstrap_address("auto")  # type: ignore[no-any-return]
    except ConnectionError:
        return None


def is_job_known(client: Any, job: str) -> bool:
    """Return whether a cluster has a job of this id; False if the cluster cannot tell.

    Args:
        client: a ``ray.job_submission.JobSubmissionClient``.
        job: the submission id.
    """
    try:
        client.get_job_info(job)
    except RuntimeError:  # of which Ray has no subclass for a job that does not exist
        return False
    return True
