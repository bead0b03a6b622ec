"""Find folders that no run refers to any more, and remove folders and versions."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from mlflow.entities import Run

from bngan.serialization.manifest import sweep_drafts
from pipeline.core.errors import UserError
from pipeline.core.lock import exclusive_lock
from pipeline.core.uris import REGISTERED, redact_uri
from pipeline.registry.removal import remove_version
from pipeline.storage.workspace import Workspace
from pipeline.tracking.tracker import USES, all_runs, existing_client, tracking_uri

Key = tuple[str, str]
"""Stage (or ``training``) and name of a folder."""
UNREFERRED = "no run refers to it"


@dataclass
class Item:
    """A folder of a workspace, or a registered version, that may go."""

    path: str
    """Name of the folder in the workspace, or address of the version."""
    bytes: int
    written: str
    """When its newest file was written, in UTC."""
    reason: str = UNREFERRED

    @classmethod
    def of_folder(cls, storage: Workspace, folder: str, reason: str) -> "Item":
        """Return a folder with its size."""
        size, written = storage.measure(folder)
        return cls(folder, size, utc(written), reason)


def utc(seconds: float) -> str:
    """Return a time, in seconds since the epoch, as text."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def garbage(storage: Workspace) -> list[Item]:
    """Return stage outputs and trainings that no run in the store made or used.

    Raises:
        UserError: if there is no store, or no run in it refers to this workspace.
    """
    found = folders(storage)
    used = _used(storage)
    unused = [folder for folder in found if key_of(folder) not in used]
    if found and len(unused) == len(found):
        uri = redact_uri(tracking_uri(storage.local))
        raise UserError(f"{uri} has no run that refers to {storage}: is it the right store?")
    return [Item.of_folder(storage, folder, UNREFERRED) for folder in unused]


def remove(storage: Workspace, item: Item, tell: Callable[[str], None]) -> None:
    """Remove a folder, unless a process holds it or a run has used it meanwhile; or a version.

    Raises:
        UserError: naming the process that holds the folder, or another obstacle.
    """
    kind, name = key_of(item.path)
    if item.path.startswith(REGISTERED):
        return remove_version(storage.local, kind, name, tell)
    held = item.path if kind == "training" else f"locks/{kind}-{name}"
    try:
        with exclusive_lock(storage.local / held, f"{kind} {name}"):
            if item.reason == UNREFERRED and (kind, name) in _used(storage):
                raise UserError(f"{item.path} is used by a run that began meanwhile")
            storage.remove(item.path)
    except OSError as error:
        raise UserError(f"{item.path} cannot be removed: {error}") from error


def remove_rest(storage: Workspace) -> Iterator[str]:
    """Remove what killed or failed removals have left; yield a line for each that stays in part."""
    for parent in _parents(storage):
        for path in sweep_drafts(storage.local / parent):
            yield f"{path} cannot be removed whole: see the permissions of its files"


def links(storage: Workspace) -> list[str]:
    """Return the symbolic links in place of folders, which lead out of the workspace perhaps."""
    patterns = ("stages", "training", "stages/*", "training/*", "stages/*/*")
    paths = [path for pattern in patterns for path in storage.local.glob(pattern)]
    names = [path.relative_to(storage.local).as_posix() for path in paths if path.is_symlink()]
    return [] if storage.remote else sorted(names)


def folders(storage: Workspace) -> list[str]:
    """Return the folders of all stage outputs and trainings in a workspace."""
    return [folder for parent in _parents(storage) for folder in storage.folders(parent)]


def _parents(storage: Workspace) -> list[str]:
    parents = [*storage.folders("stages"), "training"]
    return [parent for parent in parents if not storage.is_linked(parent)]


def key_of(folder: str) -> Key:
    """Return the stage (or ``training``) and the name of a folder."""
    kind, name = folder.split("/")[-2:]
    return kind, name


def uses_of(run: Run) -> set[Key]:
    """Return the keys of the folders that a run made or found."""
    tags = run.data.tags
    used = {(k.removeprefix(USES), v) for k, v in tags.items() if k.startswith(USES)}
    return used | {
        (tags.get("stage", ""), tags.get("fingerprint", "")[:16]),
        ("training", tags.get("training", "")),
    }


def _used(storage: Workspace) -> set[Key]:
    """Return the keys of all folders that runs made or found."""
    return set[Key]().union(*map(uses_of, all_runs(existing_client(storage.local))))
