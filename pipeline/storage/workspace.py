"""Read and write a workspace: a shared folder, or a URI of which each machine keeps verified copies.

At a URI only finished folders count, and their manifest is written last. Locks stay on the machine of
the driver: the drivers of a cluster's jobs all run on its head.
"""

import os
import shutil
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from bngan.serialization.manifest import (
    NAME,
    atomic_folder,
    damage,
    digest,
    parse_manifest,
    remove_folder,
    scratch_folder,
)
from bngan.serialization.problem import first_line
from pipeline.core.errors import ServerUnavailableError, UserError
from pipeline.core.lock import exclusive_lock, make_private_dir
from pipeline.core.uris import absolute_workspace, filesystem_of, is_uri
from pipeline.storage.permissions import access_problem
from pipeline.storage.pyarrow_errors import is_temporary

CACHE = "BNGAN_CACHE"
"""Environment variable: where a machine keeps its copies, by default ``~/.cache/bngan``."""
DAMAGED = "damaged.json"
"""Name of the manifest of a damaged folder."""
_MARK = "workspace.txt"
_LOCK_TIMEOUT_S = 3600.0
_FLAT = ("s3", "gcs", "abfs")
"""Types of file systems that have no folders to create."""
_STREAMS = 8


@dataclass(frozen=True)
class Workspace:
    """Hold a workspace by its absolute path or URI; names of its files and folders are relative."""

    workspace: str

    @classmethod
    def parse(cls, text: str) -> "Workspace":
        """Return the workspace at a path or URI. Raises ``UserError`` like ``absolute_workspace``."""
        return cls(absolute_workspace(text))

    def __str__(self) -> str:
        return self.workspace.split("?")[0] if is_uri(self.workspace) else self.workspace

    @property
    def remote(self) -> tuple[Any, str] | None:
        """Return pyarrow's file system of the URI and the path in it; None for a folder."""
        return filesystem_of(self.workspace) if is_uri(self.workspace) else None

    @property
    def local(self) -> Path:
        """Return the folder itself, or the folder of this machine's copies."""
        if not is_uri(self.workspace):
            return Path(self.workspace)
        cache = Path(os.environ.get(CACHE) or "~/.cache/bngan").expanduser().absolute()
        return cache / digest(self.workspace)[:16]

    def check_writable(self) -> None:
        """Check that the workspace can be used, and mark a new one at a URI, to try the right to write.

        Raises:
            ServerUnavailableError: if its server does not answer.
            UserError: if the workspace cannot be used for another reason.
        """
        if problem := access_problem(self.local):
            raise UserError(f"workspace: {problem}")
        if not self.remote:
            return
        try:
            if not self.has(_MARK):
                self.write(_MARK, b"A workspace of bngan.\n")
        except Exception as error:  # every file system has its own
            reason = first_line(error)
            kind = ServerUnavailableError if is_temporary(error) else UserError
            raise kind(f"workspace: {self} cannot be reached: {reason}") from error

    def key(self, folder: Path) -> str:
        """Return the name by which other machines find a folder of this machine."""
        return str(folder.relative_to(self.local)) if self.remote else str(folder)

    def path(self, name: str) -> Path:
        """Return a finished folder on this machine, copied if need be.

        Raises:
            OSError: if the folder is missing or damaged.
        """
        if self.remote and (problem := self.damage(name)):
            raise OSError(problem)
        return self.local / name

    def damage(self, name: str) -> str | None:
        """Return the damage of a folder, copied if need be, or None if each file is as recorded."""
        folder = self.local / name
        if not self.remote:
            return damage(folder)
        lock = make_private_dir(self.local) / "locks" / f"copy-{digest(name)[:16]}"
        with exclusive_lock(lock, name, _LOCK_TIMEOUT_S):
            try:
                manifest = self.read(f"{name}/{NAME}")
            except FileNotFoundError:
                return f"no outputs at {self}/{name}"
            if self.has_copy(name, manifest):
                return None
            # The second try is for damage on the way.
            return self._copy(name, manifest) and self._copy(name, manifest)

    def has_copy(self, name: str, manifest: bytes) -> bool:
        """Return whether this machine has a folder with this manifest, and undamaged."""
        path = self.local / name / NAME
        return path.is_file() and path.read_bytes() == manifest and not damage(path.parent)

    def _copy(self, name: str, manifest: bytes) -> str | None:
        """Replace this machine's copy of a folder, and return the damage of the original, if any."""
        problem = None
        with suppress(_Damaged), atomic_folder(self.local / name, None) as draft:
            (draft / NAME).write_bytes(manifest)
            files: list[str] = []
            with suppress(ValueError):  # which counts as damage below
                files += parse_manifest(manifest)["files"]  # all of them below the folder
            with ThreadPoolExecutor(_STREAMS) as pool, suppress(FileNotFoundError):
                list(pool.map(lambda f: self._download(f"{name}/{f}", draft / f), files))
            if problem := damage(draft):
                problem = problem.replace(str(draft), f"{self}/{name}")
                raise _Damaged
        return problem

    def publish(self, name: str) -> None:
        """Upload a finished folder of this machine to the URI, its manifest last."""
        if not self.remote:
            return
        folder = self.local / name
        files = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
        self._delete(f"{name}/{NAME}")
        with ThreadPoolExecutor(_STREAMS) as pool:
            list(pool.map(self.upload, (f"{name}/{file}" for file in files if file != NAME)))
        self.upload(f"{name}/{NAME}")
        self._delete(f"{name}/{DAMAGED}")

    def mark_damaged(self, name: str) -> None:
        """Mark a folder at the URI as damaged, so that nobody uses it; its files stay."""
        with suppress(FileNotFoundError):
            content = self.read(f"{name}/{NAME}")
            with self._filesystem.open_output_stream(self._at(f"{name}/{DAMAGED}")) as file:
                file.write(content)
            self._delete(f"{name}/{NAME}")

    def written(self, parent: str) -> Iterator[tuple[str, float]]:
        """Yield the files below a folder at the URI: relative name, seconds since the epoch."""
        begin = len(self._at(parent)) + 1
        for info in self._infos(parent, True):
            if info.is_file and info.mtime_ns is not None:
                yield info.path[begin:], info.mtime_ns / 1e9

    @contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        """Yield a new folder, and remove it with the block, here and at the URI."""
        with scratch_folder(self.local, name) as folder, ExitStack() as cleanup:
            if self.remote:
                cleanup.callback(self.unpublish, self.key(folder))
            yield folder

    def folders(self, parent: str) -> list[str]:
        """Return the sorted names of the folders in ``parent``, without drafts."""
        if self.remote:
            names = [Path(i.path).name for i in self._infos(parent) if not i.is_file]
        elif self.is_linked(parent):
            return []
        else:
            names = [path.name for path in (self.local / parent).glob("*") if path.is_dir()]
        found = sorted(f"{parent}/{name}" for name in names if not name.startswith("."))
        return [name for name in found if not self.is_linked(name)]

    def is_linked(self, name: str) -> bool:
        """Return whether a name leads through a symbolic link in the workspace, to wherever."""
        local, parts = self.local, Path(name).parts
        return any(local.joinpath(*parts[: end + 1]).is_symlink() for end in range(len(parts)))

    def measure(self, name: str) -> tuple[int, float]:
        """Return the bytes below a folder, and when its newest file was written.

        The time is in seconds since the epoch, 0 without files. Links in it are not followed.
        """
        if self.remote:
            files = [info for info in self._infos(name, True) if info.is_file]
            facts = [(info.size, (info.mtime_ns or 0) / 1e9) for info in files]
        else:
            facts = list(measure_files(self.local / name))
        return sum(size for size, _ in facts), max((written for _, written in facts), default=0.0)

    def remove(self, name: str) -> None:
        """Remove a folder everywhere but from other machines' copies."""
        if self.remote:
            self.unpublish(name)
        remove_folder(self.local / name)

    def read(self, name: str) -> bytes:
        """Return the content of a file. Raises ``FileNotFoundError`` if there is none."""
        if not self.remote:
            return (self.local / name).read_bytes()
        with self._filesystem.open_input_stream(self._at(name)) as file:
            return cast(bytes, file.read())

    def write(self, name: str, content: bytes) -> None:
        """Replace a file, atomically in a folder and in an object store."""
        path = make_private_dir(self.local) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}")
        draft.write_bytes(content)
        draft.replace(path)
        self.upload(name)

    def has(self, name: str) -> bool:
        """Return whether a file exists."""
        if not self.remote:
            return (self.local / name).is_file()
        return bool(self._filesystem.get_file_info(self._at(name)).is_file)

    def upload(self, name: str) -> None:
        """Upload a file of this machine to the URI, where all machines find it."""
        if not self.remote:
            return
        key = self._at(name)
        if self._filesystem.type_name not in _FLAT:
            self._filesystem.create_dir(key.rpartition("/")[0], recursive=True)
        source = self.local / name
        with source.open("rb") as file, self._filesystem.open_output_stream(key) as target:
            shutil.copyfileobj(file, cast(IO[bytes], target), 1 << 20)

    def for_ray(self, folder: Path) -> dict[str, Any]:
        """Return the arguments of Ray's ``RunConfig`` that say where its files go."""
        if not self.remote:
            return {"storage_path": str(folder)}
        return {"storage_path": self._at(self.key(folder)), "storage_filesystem": self._filesystem}

    @property
    def _filesystem(self) -> Any:
        return filesystem_of(self.workspace)[0]

    def _at(self, name: str) -> str:
        """Return the path of a name in the file system of the URI."""
        return f"{filesystem_of(self.workspace)[1].rstrip('/')}/{name}"

    def _infos(self, parent: str, recursive: bool = False) -> list[Any]:
        from pyarrow.fs import FileSelector

        where = FileSelector(self._at(parent), allow_not_found=True, recursive=recursive)
        return list(self._filesystem.get_file_info(where))

    def unpublish(self, name: str) -> None:
        """Remove a folder from the URI; copies on machines stay."""
        begin = len(self._at(""))
        for info in self._infos(name, True):
            if info.base_name == NAME:
                self._delete(info.path[begin:])  # what counts goes first
        with suppress(FileNotFoundError):
            self._filesystem.delete_dir(self._at(name))

    def _delete(self, name: str) -> None:
        with suppress(FileNotFoundError):
            self._filesystem.delete_file(self._at(name))

    def _download(self, name: str, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        with self._filesystem.open_input_stream(self._at(name)) as file, target.open("wb") as out:
            shutil.copyfileobj(cast(IO[bytes], file), out, 1 << 20)


def measure_files(folder: Path) -> Iterator[tuple[int, float]]:
    """Yield bytes and time of writing of the files below a folder; what vanishes meanwhile is not."""
    pending = [folder]
    while pending:
        with suppress(OSError), os.scandir(pending.pop()) as entries:
            for entry in entries:
                with suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(Path(entry.path))
                    else:
                        facts = entry.stat(follow_symlinks=False)
                        yield facts.st_size, facts.st_mtime


SHARED = Workspace("/")
"""The workspace of folders that every machine sees under one path."""


class _Damaged(Exception):
    pass
