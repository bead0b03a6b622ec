"""Replace folders whole, and read folders that are replaced meanwhile.

To replace a folder takes two renames. Whoever comes between them makes the second one: a reader, a
sweep or the writer itself. The result is the same, on file systems without locks too.
"""

import shutil
from collections.abc import Callable
from contextlib import suppress
from glob import escape
from pathlib import Path
from typing import TypeVar

DRAFT, OLD = ".tmp-", "-old"
"""Parts of the hidden names of a folder that is not finished, and of an old one that makes way."""
_Result = TypeVar("_Result")


def replace(folder: Path, draft: Path) -> None:
    """Replace a ``folder`` that is not empty by ``draft``, which is whole."""
    old = draft.with_name(f"{draft.name}{OLD}")
    folder.rename(old)
    finish_replacement(folder)
    shutil.rmtree(old, ignore_errors=True)


def finish_replacement(folder: Path) -> None:
    """Give ``folder`` its new content, if a writer, living or dead, has only moved the old one."""
    if _identity(folder):
        return
    for old in folder.parent.glob(f".{escape(folder.name)}{DRAFT}*{OLD}"):
        try:
            old.with_name(old.name.removesuffix(OLD)).rename(folder)
        except OSError as error:  # another process may be faster
            if not _identity(folder) and not isinstance(error, FileNotFoundError):
                raise


def whole_folders(parent: Path) -> set[str]:
    """Return the names of the folders in ``parent``, those among them whose replacement is half done.

    Hidden names are not returned.
    """
    # One look at the parent finds a folder by its own name, or by that of its old content.
    names = {path.name for path in parent.iterdir()} if parent.is_dir() else set[str]()
    moved = {original_name(name) for name in names if name.startswith(".") and name.endswith(OLD)}
    for name in moved - names - {""}:
        finish_replacement(parent / name)
        names |= {name} if _identity(parent / name) else set()
    return {name for name in names if not name.startswith(".")}


def original_name(name: str) -> str:
    """Return the name of the folder of which ``name`` is a draft or the old content."""
    return name[1:].rpartition(DRAFT)[0]


def consistent_read(folder: Path, read: Callable[[], _Result]) -> _Result:
    """Return ``read()`` of one content of ``folder``: call it again if it was replaced meanwhile."""
    for _ in range(10):
        finish_replacement(folder)
        before = _identity(folder)
        try:
            result = read()
        except Exception:
            finish_replacement(folder)
            if _identity(folder) == before:
                raise
        else:
            if _identity(folder) == before:
                return result
    return read()  # a file system whose folders are others at each look


def _identity(folder: Path) -> tuple[int, int, int] | None:
    """Return what tells a folder from one that takes its place; None if there is none."""
    with suppress(OSError):
        facts = folder.stat()
        return facts.st_dev, facts.st_ino, facts.st_ctime_ns
    return None
