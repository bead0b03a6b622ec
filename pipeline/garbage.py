"""What fills the disk and no run refers to any more: found, and removed when told to."""

from dataclasses import dataclass
from pathlib import Path

from bngan.manifest import remove_folder
from pipeline.errors import UserError
from pipeline.lock import hold
from pipeline.tracking import USES, all_runs, existing_client, tracking_uri


@dataclass
class Item:
    """A folder that no run in the store refers to."""

    path: str
    bytes: int


def garbage(workspace: Path) -> list[Item]:
    """Stage outputs and trainings whose runs, and those that used them, are gone from the store.

    Raises:
        UserError: if there is no store, or one whose runs know nothing of this workspace.
    """
    folders = [f for f in sorted(workspace.glob("stages/*/[!.]*")) if f.is_dir()]
    folders += [f for f in sorted(workspace.glob("training/[!.]*")) if f.is_dir()]
    used = _used(workspace)
    found = [folder for folder in folders if _key(folder) not in used]
    if folders and len(found) == len(folders):
        uri = tracking_uri(workspace)
        raise UserError(f"{uri} has no run that refers to {workspace}: is it the right store?")
    return [Item(str(folder), _size(folder)) for folder in found]


def remove(workspace: Path, item: Item) -> None:
    """Remove a folder; one that somebody holds, or has used meanwhile, stays.

    Raises:
        UserError: naming who holds it, or what is in the way.
    """
    folder = Path(item.path)
    kind, name = _key(folder)
    lock = folder if kind == "training" else workspace / "locks" / f"{kind}-{name}"
    try:
        with hold(lock, f"{kind} {name}"):
            if (kind, name) in _used(workspace):
                raise UserError(f"{folder} is used by a run that began meanwhile")
            remove_folder(folder)
    except OSError as error:
        raise UserError(f"{folder} cannot be removed: {error.strerror}") from error


def _key(folder: Path) -> tuple[str, str]:
    """Stage (or ``training``) and name."""
    return folder.parent.name, folder.name


def _used(workspace: Path) -> set[tuple[str, str]]:
    """What runs made or found, as keys."""
    used = set[tuple[str, str]]()
    for run in all_runs(existing_client(workspace)):
        tags = run.data.tags
        used.add((tags.get("stage", ""), tags.get("fingerprint", "")[:16]))
        used.add(("training", tags.get("training", "")))
        used |= {(k.removeprefix(USES), v) for k, v in tags.items() if k.startswith(USES)}
    return used


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
