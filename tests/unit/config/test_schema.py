"""Ranges of workers, sizes of images, and bounds of all numbers."""

import re
from collections.abc import Iterator
from dataclasses import Field, fields, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

import pytest

from bngan.serialization.bounds import out_of_bounds
from pipeline.config.schema import Config, DataConfig, TrainConfig
from pipeline.config.values import ImageSize, WorkerRange
from pipeline.monitoring.schedule import Schedule
from pipeline.studies.design import Study


@pytest.mark.parametrize(("value", "workers"), [(3, (3, 3)), ([2, 8], (2, 8)), ([1, 1], (1, 1))])
def test_a_number_of_workers_is_a_range(value: int | list[int], workers: tuple[int, int]) -> None:
    found = TrainConfig(num_workers=value).workers
    assert found == workers
    assert (found.least, found.most) == workers


@pytest.mark.parametrize("value", [0, -1, [], [1], [1, 2, 3], [2, 1], [0, 1]])
def test_what_is_no_range_of_workers(value: int | list[int]) -> None:
    with pytest.raises(ValueError, match=r"^must be a positive number or \[min, max\], got "):
        WorkerRange.parse(value)


@pytest.mark.parametrize(
    ("value", "size"),
    [(None, None), (32, (32, 32)), ([24, 40], (24, 40)), ([96, 64], (96, 64)), ([4, 64], (4, 64))],
)
def test_a_size_is_one_side_or_height_and_width(value: Any, size: tuple[int, int] | None) -> None:
    found = DataConfig(path="x", image_size=value).size
    assert found == size
    assert found is None or (found.height, found.width) == size


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ([24], "must be a side in pixels or [height, width], got [24]"),
        ([24, 40, 3], "must be a side in pixels or [height, width], got [24, 40, 3]"),
        ([24, None], "must be a side in pixels or [height, width], got [24, None]"),
        ([], "must be a side in pixels or [height, width], got []"),
        (3, "must be at least 4 pixels, got 3"),
        ([24, 3], "must be at least 4 pixels, got [24, 3]"),
        ([8, 2**14 + 1], "must be at most 16,384 pixels, got [8, 16385]"),
        ([65, 4], "must have no side of more than 16 times the other, got [65, 4]"),
    ],
)
def test_sizes_that_cannot_be(value: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(problem)}$"):
        ImageSize.parse(value)


UNBOUNDED = {
    "data.channels": "1 or 3",
    "data.image_size": "one side or two, which are compared with each other too",
    "train.norm_batch": "divides the micro-batch",
    "train.micro_batch": "divides the batch",
    "train.num_workers": "a number or a range, whose parts are compared",
}
"""Numbers without bounds of their own, and what they are checked for instead."""


def numbers(kind: Any, above: str = "") -> Iterator[tuple[str, Field[Any]]]:
    """Keys and fields of the numbers in a dataclass and in those within it."""
    hints = get_type_hints(kind)
    for each in fields(kind):
        key, hint = f"{above}{each.name}", hints[each.name]
        if is_dataclass(hint):
            yield from numbers(hint, f"{key}.")
        elif {int, float} & {hint, *get_args(hint)} and get_origin(hint) not in (list, dict):
            yield key, each


@pytest.mark.parametrize("kind", [Config, Schedule, Study])
def test_every_number_has_bounds_or_a_reason(kind: Any) -> None:
    found = dict(numbers(kind))
    assert len(found) >= 3
    expected = {*UNBOUNDED} if kind is Config else set()
    assert {key for key, each in found.items() if not each.metadata.get("bounds")} == expected
    assert list(out_of_bounds(kind())) == []
