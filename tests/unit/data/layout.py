"""One row of docs/folders.md: a folder and what it means."""

from dataclasses import dataclass, field
from typing import Any

from tests.unit.data.folder_makers import Make

ANY_SKIPPED = {"max_skipped": 1.0}


@dataclass(frozen=True)
class Layout:
    """A folder and what it means.

    Attributes:
        tree: what lies in the folder: ``cat/ 3`` for three images, a file's name, or a function with
            a docstring that makes something else.
        classes: classes with numbers of used images, or ``none``.
        splits: splits of the source with numbers of used images; empty if only an error comes.
        told: part of the line, warning or error that says what was understood.
        keys: keys of ``data`` that are set.
        skipped: number of images that cannot be used.
        ignored: number of files and folders that are left out.
    """

    tree: tuple[str | Make, ...]
    classes: str
    splits: str
    told: str
    keys: dict[str, Any] = field(default_factory=dict)
    skipped: int = 0
    ignored: int = 0


def error(tree: tuple[str | Make, ...], told: str, keys: dict[str, Any] | None = None) -> Layout:
    """Return a folder that is refused."""
    return Layout(tree, "", "", told, keys or {})
