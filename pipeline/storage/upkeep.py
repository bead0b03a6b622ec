"""Keep the commands that use a workspace apart from its cleanup, and measure the workspace."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pipeline.core.errors import RetryableError
from pipeline.core.lock import (
    WORKSPACE_LOCK,
    exclusive_lock,
    make_private_dir,
    shared_lock,
)
from pipeline.storage.sharing import FOLDER
from pipeline.storage.workspace import Workspace, measure_files

_TIMEOUT_S = 600.0
"""Seconds that a command waits for a cleanup to end."""
_KINDS = {"stages": "stages", "training": "training", "studies": "studies", FOLDER: "cache"}
"""Kind of each folder of a workspace, besides MLflow's."""


@contextmanager
def in_use(storage: Workspace) -> Iterator[None]:
    """Keep ``reserved`` away inside the block, after waiting for one that is under way.

    Raises:
        RetryableError: if a cleanup takes longer than ten minutes, with its process.
    """
    with shared_lock(
        make_private_dir(storage.local) / WORKSPACE_LOCK, f"workspace {storage}", _TIMEOUT_S
    ):
        yield


@contextmanager
def reserved(storage: Workspace) -> Iterator[None]:
    """Keep all commands that use the folders of a workspace waiting inside the block.

    Raises:
        RetryableError: if such a command runs on a machine that shares the locks.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(
                exclusive_lock(
                    make_private_dir(storage.local) / WORKSPACE_LOCK, f"workspace {storage}"
                )
            )
        except RetryableError as error:
            raise at_work(storage) from error
        yield


def at_work(storage: Workspace, who: str = "a command") -> RetryableError:
    """Return the error that says that a cleanup must wait."""
    return RetryableError(f"{who} works in {storage}: try again when it has ended (bngan status)")


def sizes(storage: Workspace) -> dict[str, int]:
    """Return the bytes of a workspace by kind: stages, training, studies, cache and mlflow.

    The cache has downloads, and for a URI this machine's copies. MLflow's bytes are those of the
    database and the artifacts in the workspace; a server keeps its own elsewhere.
    """
    local = storage.local
    found = {kind: storage.measure(part)[0] for part, kind in _KINDS.items()}
    if storage.remote:
        found["cache"] += sum(_bytes(local / part) for part in _KINDS)
    databases = [path for path in local.glob("mlflow.db*") if path.is_file()]
    found["mlflow"] = sum(path.stat().st_size for path in databases) + _bytes(local / "artifacts")
    return found


def _bytes(folder: Path) -> int:
    return sum(size for size, _ in measure_files(folder))
