"""The tables of docs/folders.md: ``python -m tests.unit.data.layouts`` writes them."""

from collections.abc import Sequence

from tests.environment import ROOT
from tests.unit.data.folder_layouts import (
    FOLDERS_THAT_MAKE_CLASSES,
    FOLDERS_THAT_MAKE_SPLITS,
    OTHER_FILES,
)
from tests.unit.data.layout import Layout
from tests.unit.data.table_layouts import METADATA, TABLES

_HEAD = ("in the folder", "keys", "classes", "splits", "skipped", "ignored", "told")
PAGE = ROOT / "docs" / "folders.md"
GROUPS = {
    "Folders that make splits": FOLDERS_THAT_MAKE_SPLITS,
    "Folders that make classes": FOLDERS_THAT_MAKE_CLASSES,
    "Other files": OTHER_FILES,
    "Metadata files": METADATA,
    "Tables": TABLES,
}


def page() -> str:
    """Return the tables of docs/folders.md, in Markdown."""
    lines = []
    for title, layouts in GROUPS.items():
        lines += [f"## {title}", "", _line(_HEAD), _line(["---"] * len(_HEAD))]
        lines += [_line(_cells(layout)) for layout in layouts]
        lines.append("")
    return "\n".join(lines)


def _cells(layout: Layout) -> list[object]:
    parts = [f"`{part}`" if isinstance(part, str) else part.__doc__ or "" for part in layout.tree]
    keys = [f"`data.{key}={value}`" for key, value in layout.keys.items()]
    splits, counts = layout.splits or "refused", [layout.skipped or "", layout.ignored or ""]
    return ["<br>".join(parts), "<br>".join(keys), layout.classes, splits, *counts, layout.told]


def _line(cells: Sequence[object]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "&#124;") for cell in cells) + " |"


if __name__ == "__main__":
    head = PAGE.read_text(encoding="utf-8").partition("## ")[0]
    PAGE.write_text(head + page(), encoding="utf-8")
