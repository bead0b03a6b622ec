"""Find folders that no run refers to any more, and remove folders and versions.

A store knows its own runs alone: what another store uses, or may use, goes by its name only.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from mlflow.entities import Run

from bngan.serialization.manifest import sweep_drafts
from pipeline.core.errors import RetryableError, UserError
from pipeline.core.lock import exclusive_lock
from pipeline.core.uris import REGISTERED
from pipeline.registry.removal import remove_version
from pipeline.storage.stores import forget, release, store_of, users_of
from pipeline.storage.workspace import Workspace
from pipeline.tracking.database import database_path
from pipeline.tracking.tracker import USES, all_runs, existing_client, store_ids, tracking_uri

Key = tuple[str, str]
"""Stage (or ``training``) and name of a folder."""
UNREFERRED = "no run refers to it"
UNKNOWN = "unknown: made by hand, or before bngan recorded which stores use a folder"


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
        UserError: if there is no store.
    """
    used = _used(storage)
    unused = [folder for folder in folders(storage) if key_of(folder) not in used]
    return [Item.of_folder(storage, folder, UNREFERRED) for folder in unused]


def named(storage: Workspace, names: Iterable[str]) -> list[Item]:
    """Return the folders that a person names, with what is known of each.

    Raises:
        UserError: if there is no such folder, or no store.
    """
    here, own, used = folders(storage), store_ids(existing_client(storage.local)), _used(storage)
    found = list[Item]()
    for name in dict.fromkeys(name.rstrip("/") for name in names):
        if name not in here:
            raise UserError(
                f"there is no {name} in {storage}: name folders as bngan gc prints them"
            )
        reason = "runs refer to it" if key_of(name) in used else UNREFERRED
        found.append(Item.of_folder(storage, name, strangers(storage, name, own) or reason))
    return found


def divided(storage: Workspace, items: Iterable[Item]) -> tuple[list[Item], list[Item]]:
    """Return the items that this store alone can use, and those that go by name only."""
    own, ours, others = store_ids(existing_client(storage.local)), list[Item](), list[Item]()
    for item in items:
        if reason := strangers(storage, item.path, own):
            others.append(replace(item, reason=reason))
        else:
            ours.append(item)
    return ours, others


def strangers(storage: Workspace, folder: str, own: set[str]) -> str | None:
    """Return in words which other stores use a folder, or may use it; None if none can."""
    users = users_of(storage, folder)
    ours = _own_marks(storage, users.addresses, own)
    if others := {address for mark, address in users.addresses.items() if mark not in ours}:
        return f"used by another store, {', '.join(sorted(others))}"
    return None if users.complete and users.addresses else UNKNOWN


def give_up(storage: Workspace, item: Item) -> None:
    """Record that this store does not use a folder any more, which others may then remove."""
    own = store_ids(existing_client(storage.local))
    if not (ours := _own_marks(storage, users_of(storage, item.path).addresses, own)):
        return
    with suppress(RetryableError), _held(storage, item.path):
        if key_of(item.path) not in _used(storage):
            for mark in ours:
                release(storage, item.path, mark)


def _own_marks(storage: Workspace, addresses: dict[str, str], own: set[str]) -> set[str]:
    """Return the marks of this store, wherever it was, without those of its copies."""
    return {
        mark
        for mark, address in addresses.items()
        if store_of(mark) in own and not _is_copy(storage, address)
    }


def _is_copy(storage: Workspace, address: str) -> bool:
    """Return whether an address is that of another database than this store's, which has its id.

    The database of another workspace does not count: this one is a copy of that, marks and all.
    """
    here, there = database_path(tracking_uri(storage.local)), database_path(address)
    if not (here and there and there.is_file() and here.is_file()) or there.samefile(here):
        return False
    parent = there.resolve().parent
    elsewhere = parent != storage.local.resolve() and (parent / "stores").is_dir()
    return not (elsewhere and there.name == "mlflow.db")


def remove(
    storage: Workspace, item: Item, tell: Callable[[str], None], named: bool = False
) -> None:
    """Remove a folder, unless a process holds it or a run has used it meanwhile; or a version.

    Args:
        storage: the workspace.
        item: the folder or the version.
        tell: takes a line for the person at the command.
        named: whether a person has named the folder, so that it goes whatever runs refer to it.

    Raises:
        UserError: naming the process that holds the folder, or another obstacle.
    """
    kind, name = key_of(item.path)
    if item.path.startswith(REGISTERED):
        return remove_version(storage.local, kind, name, tell)
    try:
        with _held(storage, item.path):
            own = store_ids(existing_client(storage.local))
            unreferred = not named and item.reason == UNREFERRED
            if unreferred and (kind, name) in _used(storage):
                raise UserError(f"{item.path} is used by a run that began meanwhile")
            if not named and (reason := strangers(storage, item.path, own)):
                raise UserError(f"{item.path} is {reason}")
            storage.remove(item.path)
            forget(storage, item.path)
    except OSError as error:
        raise UserError(f"{item.path} cannot be removed: {error}") from error


def _held(storage: Workspace, folder: str) -> AbstractContextManager[str]:
    """Lock a folder as the stage that makes it does."""
    kind, name = key_of(folder)
    held = folder if kind == "training" else f"locks/{kind}-{name}"
    return exclusive_lock(storage.local / held, f"{kind} {name}")


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
