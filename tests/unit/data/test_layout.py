"""Each row of docs/folders.md: the folder is made, prepared, and compared with what it means."""

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import schema
from pipeline.core.errors import UserError
from pipeline.workflow.stages import assignment
from tests.unit.data.folder_makers import make
from tests.unit.data.layout import Layout
from tests.unit.data.layouts import GROUPS, PAGE, page
from tests.unit.workflow.stages.test_prepare import Silence, prepared

ROWS = [layout for layouts in GROUPS.values() for layout in layouts]


@pytest.mark.parametrize("layout", ROWS, ids=[str(i) for i in range(len(ROWS))])
def test_a_folder_is_read_as_its_row_says(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assignment, "FEWEST", 1)
    monkeypatch.setattr(schema, "FEWEST", 1)
    (folder := tmp_path / "data").mkdir()
    make(folder, layout.tree)
    events = Silence()
    if not layout.splits:
        with pytest.raises(UserError, match=re.escape(layout.told)):
            prepared(folder, tmp_path / "out", events, **layout.keys)
        return
    output, summary = prepared(folder, tmp_path / "out", events, **layout.keys)
    contents = json.loads((output / "contents.json").read_text())
    counts, classes = summary["counts"], Counter[int]()
    for split in counts:
        classes.update(np.load(output / f"{split}_labels.npy").tolist())
    named = [f"{name} {classes[number]}" for number, name in enumerate(summary["classes"])]
    parts = {"train": counts["train"] + counts["select"], "test": counts["test"]}
    if "test" not in contents["splits"].values():
        parts = {"train": sum(counts.values())}
    assert (", ".join(named) or "none") == layout.classes
    assert ", ".join(f"{split} {count}" for split, count in parts.items()) == layout.splits
    assert contents["skipped"]["count"] == layout.skipped
    assert contents["ignored"]["count"] == layout.ignored
    assert layout.told in "\n".join([summary["note"], *events.messages])


def test_the_page_has_these_rows() -> None:
    assert len(ROWS) >= 60
    assert PAGE.read_text(encoding="utf-8").endswith(page())
