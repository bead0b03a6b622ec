"""Set defaults of environment variables for Ray, MLflow and datasets; the user's values win."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from pipeline.core.ray_internals import JOB_ENVIRONMENT

_DEFAULTS = {
    # Nothing reports home.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_UPDATE_DOWNLOAD_COUNTS": "0",
    # Models are safetensors; a pickle among them is an attack.
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    # How often Ray Train looks at its workers; every report waits for the next look (default 2 s).
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    # A cluster of our own would begin with a worker for each CPU, and training use hardly one of them:
    # Ray Train's have an environment of their own. That took seconds, and more on larger machines.
    "RAY_prestart_worker_first_driver": "0",
    # MLflow's own 7 retries of 2 minutes leave a person in the dark when a server is not there; what a
    # run logs is tried again anyway.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    # The same sums in the same order every time: MKL else shares work out as threads happen to be free.
    "MKL_CBWR": "AUTO",
    "MKL_DYNAMIC": "FALSE",
    # One progress display is enough, and one mention of where runs are.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
}
_KEPT = {"trim_threshold": 1 << 30, "mmap_max": 0, "arena_max": 1, "hugetlb": 1}
"""Names and values of glibc's allocator, with which it gives next to nothing back to the system.

A step frees its maps, and the next asks for as many again: each page between costs a fault, 12,500 in
a step of DCGAN (32x32, width 64), a tenth of its time. One arena, since those of other threads give
empty heaps back whatever the threshold, and Ray trains in a thread. Pages of 2 MB, where the system
leaves them to programs.
"""


def workers_defaults() -> dict[str, str]:
    """Return environment variables for processes that train; none if the user sets the allocator."""
    if any(name == "GLIBC_TUNABLES" or name.startswith("MALLOC_") for name in os.environ):
        return {}
    settings = (f"glibc.malloc.{name}={value}" for name, value in _KEPT.items())
    return {"GLIBC_TUNABLES": ":".join(settings)}


def set_defaults() -> None:
    """Set the defaults. Call it before Ray, MLflow or datasets are imported: they read some then."""
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    if "RAY_ADDRESS" not in os.environ:
        # A cluster of our own takes Ray's default, said aloud so that Ray need not warn about it.
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def own_token() -> None:
    """Create ``~/.ray/auth_token`` with mode 0600; Ray's own would be world-readable."""
    given = any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    if given or os.environ.get("RAY_AUTH_MODE") != "token":
        return
    path = Path.home() / ".ray" / "auth_token"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists() or not path.stat().st_size:
        draft = path.with_name(f".auth_token-{secrets.token_hex(8)}")
        file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "w") as opened:
            opened.write(secrets.token_hex(32))
        with suppress(FileExistsError):  # by another process
            if path.exists():
                draft.replace(path)  # an empty one
            else:
                os.link(draft, path)
        draft.unlink(missing_ok=True)
    if path.stat().st_uid == os.geteuid() and path.stat().st_mode & 0o077:
        path.chmod(0o600)


def inside_a_job() -> bool:
    """Return whether this process is the driver of a job on a Ray cluster."""
    return JOB_ENVIRONMENT in os.environ
