"""What is told of the raw data is what became of it."""

import json
import re
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from bngan.data.dataset import SPLITS, ImageSplit
from pipeline.core.errors import UserError
from pipeline.data.digests import ImageDigests
from pipeline.data.inventory import duplicates, listing
from pipeline.reports.data_section import as_html
from tests.unit.workflow.stages.test_prepare import Silence, prepared, write_table


def told(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    found, data = (
        json.loads((folder / name).read_text()) for name in ("contents.json", "dataset.json")
    )
    return found, data


def test_duplicates_are_counted_as_comparing_all_pairs_counts_them() -> None:
    random = np.random.default_rng(0)
    pixels = {split: random.integers(0, 30, 20).astype(np.uint64) for split in SPLITS}
    everything = [value for split in SPLITS for value in pixels[split].tolist()]
    repeated = sum(value in everything[:i] for i, value in enumerate(everything))
    among = {s: sum(v in pixels["train"].tolist() for v in pixels[s].tolist()) for s in SPLITS}
    assert duplicates({s: ImageDigests(each, each) for s, each in pixels.items()}) == {
        "repeated": repeated,
        "select_in_train": among["select"],
        "test_in_train": among["test"],
    }


def test_pictures_that_are_in_train_and_in_test_are_said_and_kept(tmp_path: Path) -> None:
    write_table(tmp_path / "data", "train", [0, 1] * 100)
    write_table(tmp_path / "data", "test", [0] * 40)  # the first 40 of the same pictures
    events = Silence()
    folder, summary = prepared(tmp_path / "data", tmp_path / "a", events, select=0.2)
    train, select, test = (ImageSplit.load(folder, split).images for split in SPLITS)
    assert len(train) + len(select) == 200
    levels = {split: set(part[:, 0, 0, 0].tolist()) for split, part in
              {"train": train, "select": select, "test": test}.items()}  # fmt: skip
    in_train = len(levels["test"] & levels["train"])
    assert 0 < in_train < 40
    assert summary["duplicates"] == {
        "repeated": 40,
        "select_in_train": 0,
        "test_in_train": in_train,
    }
    *_, message = events.messages
    assert message.startswith(f"{in_train} of 40 test images are in train as well")
    assert summary["note"].endswith("40 duplicates")
    assert message in as_html(*told(folder))


def test_no_duplicates_no_warning(tmp_path: Path) -> None:
    write_table(tmp_path / "data", "train", None)
    events = Silence()
    folder, summary = prepared(tmp_path / "data", tmp_path / "a", events)
    assert (events.messages, set(summary["duplicates"].values())) == ([], {0})
    assert 'class="note"' not in as_html(*told(folder))


def test_pictures_of_each_class_and_without_one_are_counted_by_split(tmp_path: Path) -> None:
    labels = [0.0, 1.0, float("nan"), None] * 50
    write_table(tmp_path / "data", "train", labels, datasets.Value("float64"))
    folder, _ = prepared(tmp_path / "data", tmp_path / "a", select=0.2, test=0.2)
    found, data = told(folder)
    assert data["classes"] == ["0", "1"]
    for split in SPLITS:
        codes = ImageSplit.load(folder, split).labels
        assert found["class_counts"][split] == [int((codes == c).sum()) for c in (0, 1)]
        assert found["unlabelled"][split] == int((codes == -1).sum()) > 0
    row = [f"{found['class_counts'][split][1]}" for split in SPLITS]
    page = as_html(found, data)
    assert f"<td>1</td><td>{'</td><td>'.join(row)}</td>" in page
    assert "without a class" in page


def folder_with_broken_files(folder: Path, broken: int) -> Path:
    (folder / "<b>cat").mkdir(parents=True)
    (folder / "dog").mkdir()
    for i in range(300):
        picture = Image.new("L", (6, 6), i % 256)
        picture.save(folder / ("dog" if i % 2 else "<b>cat") / f"{i:03}.png")
    for i in range(broken):
        (folder / "dog" / f"broken [red]<script>{i:03}\n.png").write_bytes(b"none")
    (folder / "<i>.txt").write_text("a note")
    return folder


def test_what_is_skipped_is_listed_in_full_with_the_run_and_in_part_in_the_report(
    tmp_path: Path,
) -> None:
    folder, events = folder_with_broken_files(tmp_path / "data", 30), Silence()
    output, summary = prepared(folder, tmp_path / "a", events, max_skipped=0.5)
    assert summary["skipped"] == 30
    assert sum(summary["counts"].values()) == 300
    lines = events.artifacts["skipped.txt"].decode().splitlines()
    reason = r"dog/broken \[red\]<script>0\d\d\\n\.png: unreadable: no image format that is known"
    assert len(set(lines)) == 30
    assert all(re.fullmatch(reason, line) for line in lines)
    page = as_html(*told(output))
    assert page.count("dog/broken [red]&lt;script&gt;0") == 20
    assert "<summary>30 images cannot be used" in page
    assert "<li>and 10 more</li>" in page
    assert "&lt;i&gt;.txt: no image by its name" in page
    assert "<td>0 &lt;b&gt;cat</td>" in page
    assert not re.search(r"<(script|b|i)>", page)


def test_too_many_are_an_error_that_names_the_first_and_keeps_them_all(tmp_path: Path) -> None:
    folder, events = folder_with_broken_files(tmp_path / "data", 30), Silence()
    with pytest.raises(UserError) as raised:
        prepared(folder, tmp_path / "a", events, max_skipped=0.05)
    first, *lines = str(raised.value).splitlines()
    assert first.startswith("data.path: 30 of 330 images cannot be used, more than data.max_skip")
    assert len(lines) == 21
    assert lines[-1] == "  and 10 more"
    kept = events.artifacts["skipped.txt"].decode().splitlines()
    assert len(kept) == 30
    assert [line.strip() for line in lines[:-1]] == kept[:20]


def test_where_none_can_be_used_the_reasons_are_given(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for i in range(200):
        (tmp_path / "data" / f"{i:03}.png").write_bytes(b"")
    message = r"none of the first 100 images of .* can be used:\n  \d+\.png: an empty file\n"
    with pytest.raises(UserError, match=message):
        prepared(tmp_path / "data", tmp_path / "a")


def test_a_short_listing_is_whole() -> None:
    assert listing(["a", "b"]) == "  a\n  b"


def test_a_validation_split_beside_a_test_split_is_said_to_be_unused(tmp_path: Path) -> None:
    for split in ("train", "test", "validation"):
        write_table(tmp_path / "data", split, None)
    folder, _ = prepared(tmp_path / "data", tmp_path / "a")
    assert told(folder)[0]["ignored"]["first"] == [
        "split validation: 200 images, and there is a test split to test on"
    ]
