"""Find folders that no run refers to any more, and remove them."""

from dataclasses import dataclass

from pipeline.core.errors import UserError
from pipeline.core.lock import exclusive_lock
from pipeline.core.uris import redact_uri
from pipeline.storage.workspace import Workspace
from pipeline.tracking.tracker import USES, all_runs, existing_client, tracking_uri


@dataclass
class Item:
    """A folder of a workspace that no run in the store refers to."""

    path: str
    bytes: int


def garbage(storage: Workspace) -> list[Item]:
    """Return stage outputs and trainings that no run in the store made or used.

    Raises:
        UserError: if there is no store, or no run in it refers to this workspace.
    """
    parents = [*storage.folders("stages"), "training"]
    folders = [folder for parent in parents for folder in storage.folders(parent)]
    used = _used(storage)
    unused = [folder for folder in folders if _key(folder) not in used]
    if folders and len(unused) == len(folders):
        uri = redact_uri(tracking_uri(storage.local))
        raise UserError(f"{uri} has no run that refers to {storage}: is it the right store?")
    return [Item(folder, storage.size(folder)) for folder in unused]


def remove(storage: Workspace, item: Item) -> None:
    """Remove a folder, unless a process holds it or a run has used it meanwhile.

    Raises:
        UserError: naming the process that holds the folder, or another obstacle.
    """
    kind, name = _key(item.path)
    held = item.path if kind == "training" else f"locks/{kind}-{name}"
    try:
        with exclusive_lock(storage.local / held, f"{kind} {name}"):
            if (kind, name) in _used(storage):
                raise UserError(f"{item.path} is used by a run that began meanwhile")
            storage.remove(item.path)
    except OSError as error:
        raise UserError(f"{item.path} cannot be removed: {error}") from error


def _key(folder: str) -> tuple[str, str]:
    """Return the stage (or ``training``) and the name of a folder."""
    kind, name = folder.split("/")[-2:]
    return kind, name


def _used(storage: Workspace) -> set[tuple[str, str]]:
    """Return the keys of all folders that runs made or found."""
    used = set[tuple[str, str]]()
    for run in all_runs(existing_client(storage.local)):
        tags = run.data.tags
        used.add((tags.get("stage", ""), tags.get("fingerprint", "")[:16]))
        used.add(("training", tags.get("training", "")))
        used |= {(k.removeprefix(USES), v) for k, v in tags.items() if k.startswith(USES)}
    return used
