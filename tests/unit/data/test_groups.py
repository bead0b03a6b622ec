"""Names and keys of groups, and messages about them."""

import hashlib
import math
from typing import Any

import numpy as np
import pytest

from pipeline.core.errors import UserError
from pipeline.data.groups import (
    described_groups,
    group_keys,
    group_names,
    require_groups,
    share_warnings,
    shared_groups,
)
from pipeline.data.splits import Shares


def test_any_value_is_a_name_and_whole_numbers_are_alike() -> None:
    values = [7, 7.0, "7", b"7", 0.5, True, "", None, math.nan, "e\u0301", "é"]
    names = ["7", "7", "7", "7", "0.5", "True", None, None, None, "é", "é"]
    assert group_names(values) == names


@pytest.mark.parametrize("value", [[1], {"a": 1}])
def test_lists_are_no_groups(value: Any) -> None:
    with pytest.raises(UserError, match=r"^data\.group: a group must be one value, not a list"):
        group_names(["a", value])


def test_a_group_has_the_key_of_its_name_and_lone_images_keep_theirs() -> None:
    key = (5).to_bytes(8, "little")
    expected = int.from_bytes(hashlib.blake2b(b"p1", digest_size=8, key=key).digest(), "little")
    own = np.array([2**64 - 1, 3, 4, 5], np.uint64)
    keys, numbers = group_keys(5, own, ["p1", None, "p1", None])
    assert keys.tolist() == [expected, 3, expected, 5]
    assert numbers[0] == numbers[2]
    assert len(set(numbers.tolist())) == 3
    lone, _ = group_keys(5, own, [None] * 4)
    assert lone.tolist() == own.tolist()
    group_keys(5, own[:1], ["\ud800"])  # JSON may hold it


def test_rules_that_find_no_groups_or_too_few() -> None:
    with pytest.raises(
        UserError, match=r"^data\.group: no image .* by name:x: the expression finds"
    ):
        require_groups("name:x", [None, None], 3)
    with pytest.raises(UserError, match=r"^data\.group: folder:1 gives only 2 groups \(cat, dog\)"):
        require_groups("folder:1", ["cat", "dog", "cat"], 3)
    require_groups("folder:1", ["cat", "dog", "cat"], 2)
    require_groups("folder:1", ["cat", "dog", None], 3)


def test_numbers_of_groups_and_of_images_without_one() -> None:
    assert described_groups("r", ["a", "a", "b"]) == (
        "data.group: r puts 3 images into 2 groups; a is the largest with 2"
    )
    line = described_groups("r", ["a", "a", None])
    assert line.endswith("with 2; 1 images have no group: each goes by its own content")
    assert "2 images (more than half) have no group" in described_groups("r", ["a", None, None])


def test_groups_to_train_on_and_to_test_with_are_told() -> None:
    assert shared_groups(["a", None], ["b", None]) == ""
    assert shared_groups(["a", "b", "b"], ["b", "c", "a"]).startswith(
        "data.group: 2 groups have images to train on and to test with, such as a:"
    )


def told(sizes: list[int], select: float, test: float, fewest: int = 20) -> list[str]:
    """Sizes of train, select and test, which are one group of 30 images and others of one."""
    keys = np.arange(sum(sizes), dtype=np.uint64)
    keys[:30] = 0
    parts = np.split(np.arange(len(keys)), np.cumsum(sizes)[:-1])
    places: Any = dict(zip(("train", "select", "test"), parts, strict=True))
    return list(share_warnings(Shares(select, test, fewest), places, keys))


def test_shares_that_are_off_by_more_than_a_factor_of_two_are_told() -> None:
    assert told([700, 199, 101], 0.1, 0.2) == []
    assert told([700, 201, 99], 0.1, 0.2) == [
        "data.group: 201 images are in select instead of 100, 99 images are in test instead of 200, "
        "since up to 30 of 1,000 images stay together"
    ]
    assert told([60, 40, 0], 0.01, 0) == [], (
        "the fewest images are a share, and the data has a test split"
    )
    with pytest.raises(UserError, match=r"^data\.group: 19 images are left for the train split"):
        told([19, 50, 50], 0.3, 0.3)
