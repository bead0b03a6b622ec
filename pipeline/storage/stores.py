"""Record which MLflow stores use the folders of a workspace, since each knows its own runs alone.

``stores/train/0123`` is about ``stages/train/0123``. It has a mark for each store and address, a file
that is called by the store's id and the digest of the address, with the address in it; and ``complete``
if the folder is younger than the records. Earlier versions called a mark by the store's id alone.
"""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bngan.serialization.manifest import digest
from pipeline.core.uris import redact_uri
from pipeline.storage.workspace import Workspace

_COMPLETE = "complete"


@dataclass(frozen=True)
class Users:
    """The stores that use a folder.

    Attributes:
        addresses: their addresses, by the names of their marks.
        complete: whether every use is recorded. Earlier versions recorded none.
    """

    addresses: dict[str, str]
    complete: bool


def store_of(mark: str) -> str:
    """Return the id of the store that made a mark."""
    return mark.partition(".")[0]


def record_use(storage: Workspace, folder: str, store: str, address: str) -> None:
    """Record that a store uses a folder, or is about to make it."""
    address = redact_uri(address)
    mark, content = f"{_records(folder)}/{store}.{digest(address)[:8]}", address.encode()
    with suppress(FileNotFoundError):
        if storage.read(mark) == content:
            return
    if folder not in storage.folders(str(Path(folder).parent)):
        storage.write(f"{_records(folder)}/{_COMPLETE}", b"")
    storage.write(mark, content)


def release(storage: Workspace, folder: str, mark: str) -> None:
    """Record that the store that made a mark does not use the folder any more."""
    storage.write(f"{_records(folder)}/{mark}", b"")


def users_of(storage: Workspace, folder: str) -> Users:
    """Return the stores that use a folder."""
    records, read = _records(folder), dict[str, str]()
    for name in _files(storage, records):
        with suppress(FileNotFoundError):  # another gc has removed the folder meanwhile
            read[name] = storage.read(f"{records}/{name}").decode()
    complete = read.pop(_COMPLETE, None) is not None
    return Users({name: address for name, address in read.items() if address}, complete)


def forget(storage: Workspace, folder: str) -> None:
    """Remove the records of a folder that is gone."""
    storage.remove(_records(folder))


def _files(storage: Workspace, folder: str) -> list[str]:
    if storage.remote:
        return [name for name, _ in storage.written(folder)]
    return [path.name for path in (storage.local / folder).glob("[!.]*")]


def _records(folder: str) -> str:
    kind, name = folder.split("/")[-2:]
    return f"stores/{kind}/{name}"
