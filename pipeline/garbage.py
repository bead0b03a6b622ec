"""What fills the disk and no run refers to any more: found, and removed when told to."""

from dataclasses import dataclass
from pathlib import Path

from bngan.manifest import remove_folder
from pipeline.errors import UserError
from pipeline.lock import hold
from pipeline.tracking import all_runs, existing_client, tracking_uri


@dataclass
class Item:
    """A folder that no run in the store refers to."""

    path: str
    bytes: int


def garbage(workspace: Path) -> list[Item]:
    """Stage outputs and trainings whose runs have been deleted from the store.

    Raises:
        UserError: if there is no store, or one without a single stage's run.
    """
    fingerprints, trainings = set[tuple[str | None, str]](), set[str | None]()
    for run in all_runs(existing_client(workspace)):
        tags = run.data.tags
        fingerprints.add((tags.get("stage"), tags.get("fingerprint", "")[:16]))
        trainings.add(tags.get("training"))
    if not any(fingerprint for _, fingerprint in fingerprints):
        raise UserError(
            f"{tracking_uri(workspace)} has no run of any stage: is it the right store?"
        )
    found = [
        folder
        for folder in sorted(workspace.glob("stages/*/[!.]*"))
        if (folder.parent.name, folder.name) not in fingerprints
    ]
    found += [f for f in sorted(workspace.glob("training/[!.]*")) if f.name not in trainings]
    return [Item(str(folder), _size(folder)) for folder in found if folder.is_dir()]


def remove(item: Item) -> None:
    """Remove a folder; one that somebody holds stays.

    Raises:
        UserError: naming who holds it, or what is in the way.
    """
    folder = Path(item.path)
    try:
        if folder.parent.name == "training":
            with hold(folder, f"training {folder.name}"):
                remove_folder(folder)
        else:
            remove_folder(folder)
    except OSError as error:
        raise UserError(f"{folder} cannot be removed: {error.strerror}") from error


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
