"""Set environment variables for Ray, MLflow, matplotlib and datasets.

Preferences are defaults: the user's values win. Variables that would make this code wrong are set or
removed, whatever the user's values are.
"""

import codecs
import locale
import os
import secrets
import sys
from contextlib import suppress
from pathlib import Path

from pipeline.core.ray_internals import JOB_ENVIRONMENT

_DEFAULTS = {
    # Nothing reports home.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_UPDATE_DOWNLOAD_COUNTS": "0",
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
_REQUIRED = {
    # Models are safetensors; a pickle among them is an attack.
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    # The training loop knows only this version of Ray Train.
    "RAY_TRAIN_V2_ENABLED": "1",
    # Under `uv run` Ray would start workers in the project of the current folder, with other packages.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    # Plots go into files; a notebook hands its own backend on to the commands that it starts.
    "MPLBACKEND": "agg",
}
_EMPTY = ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_TMPDIR", "TMPDIR")
"""Variables that Ray takes for set even if they are empty, in some places or in all."""
_REMOVED = ("NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE")
"""Variables that give float32 another precision than the configuration says."""
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


def on_loopback_alone() -> dict[str, str]:
    """Return environment variables with which workers of one machine find each other on it alone."""
    names = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
    return {name: "lo" for name in names if name not in os.environ}


def required() -> dict[str, str]:
    """Return environment variables that the processes of a run must have, on each node of a cluster.

    With PYTHONUTF8 all text is UTF-8, whatever the locale of a node says.
    """
    return {**_REQUIRED, "PYTHONUTF8": "1"}


def cluster_address() -> str | None:
    """Return the address of an existing Ray cluster; None if this process is to start its own.

    It is RAY_ADDRESS, unless that is empty or ``local``. For ``auto`` Ray looks for a cluster that
    runs on this machine.
    """
    address = os.environ.get("RAY_ADDRESS", "")
    return None if address in ("", "local") else address


def set_defaults() -> None:
    """Set the variables. Call it before Ray, MLflow or datasets are imported: they read some then."""
    for name in _EMPTY:
        if not os.environ.get(name):
            os.environ.pop(name, None)
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    os.environ.update(_REQUIRED)
    for name in _REMOVED:
        os.environ.pop(name, None)
    if cluster_address() is None:
        # A cluster of our own takes Ray's default, said aloud so that Ray need not warn about it.
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def require_utf8() -> None:
    """Start this process again in Python's UTF-8 mode, unless the locale has UTF-8.

    Names of files and classes would else depend on the locale, and text that this code and its
    libraries read and write. Standard output keeps its encoding if PYTHONIOENCODING gives one.
    """
    names = (sys.getfilesystemencoding(), locale.getpreferredencoding(do_setlocale=False))
    other = any(codecs.lookup(name).name != "utf-8" for name in names)
    if other and os.environ.get("PYTHONUTF8") != "1":
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 (this program)


def own_token() -> None:
    """Create ``~/.ray/auth_token`` with mode 0600; Ray's own would be world-readable.

    If that is impossible, set RAY_AUTH_TOKEN for this process and those that it starts.
    """
    given = any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    if given or os.environ.get("RAY_AUTH_MODE") != "token":
        return
    try:
        _write_token(Path.home() / ".ray" / "auth_token")
    except (OSError, RuntimeError):  # a home folder that cannot be written to, or none
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _write_token(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists() or not path.stat().st_size:
        draft = path.with_name(f".auth_token-{secrets.token_hex(8)}")
        file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "w", encoding="ascii") as opened:
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
