"""Prepare images whose content decides their split."""

from pathlib import Path

import numpy as np
from PIL import Image

from bngan.data.dataset import SPLITS, ImageSplit
from tests.unit.workflow.stages.test_prepare import prepared, write_table


def split_of_each(output: Path) -> dict[bytes, str]:
    arrays = {split: ImageSplit.load(output, split).images for split in SPLITS}
    return {image.tobytes(): split for split, images in arrays.items() for image in images}


def test_by_content_new_images_move_no_other_and_copies_stay_together(tmp_path) -> None:
    """Copies are the same pixels in another format: other bytes, and one split."""
    folder, random = tmp_path / "data", np.random.default_rng(0)
    folder.mkdir()
    for i in range(300):
        image = Image.fromarray(random.integers(0, 256, (6, 6, 3), np.uint8))
        image.save(folder / f"{i:03}.png")
        if i % 3 == 0:
            image.save(folder / f"{i:03}.bmp")
    output, summary = prepared(folder, tmp_path / "a", split_by="content")
    before = split_of_each(output)
    assert len(before) == 300
    assert summary["duplicates"] == {"repeated": 100, "select_in_train": 0, "test_in_train": 0}
    for i in range(60):
        image = Image.fromarray(random.integers(0, 256, (6, 6, 3), np.uint8))
        image.save(folder / f"a{i:03}.png")
    for i in range(1, 30, 3):
        (folder / f"{i:03}.png").unlink()
    after = split_of_each(prepared(folder, tmp_path / "b", split_by="content")[0])
    both = before.keys() & after.keys()
    assert len(both) == 290
    assert all(before[image] == after[image] for image in both)


def test_by_content_a_label_moves_nothing_and_a_limit_takes_from_train_alone(tmp_path) -> None:
    write_table(tmp_path / "data", "x", [0, 1] * 120)
    write_table(tmp_path / "other", "x", [1, 1, 0] * 80)
    first, _ = prepared(tmp_path / "data", tmp_path / "a", split_by="content")
    second, _ = prepared(tmp_path / "other", tmp_path / "b", split_by="content")
    assert split_of_each(first) == split_of_each(second)
    limited, summary = prepared(tmp_path / "data", tmp_path / "c", split_by="content", limit=50)
    assert summary["counts"]["train"] == 50
    for split in ("select", "test"):
        images = [ImageSplit.load(each, split).images for each in (first, limited)]  # type: ignore[arg-type]
        np.testing.assert_array_equal(*images)
