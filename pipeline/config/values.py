"""Values of the configuration that have several forms."""

from typing import NamedTuple

WORKERS = "be a positive number or [min, max]"
SIZE = "be a side in pixels or [height, width]"
"""Texts after "must" about values of another form."""
SMALLEST, LARGEST, _MOST_RATIO = 4, 2**14, 16
"""Bounds of an image's sides in pixels, and of the longer side as a multiple of the shorter one."""


class WorkerRange(NamedTuple):
    """Number of workers: as many as the cluster holds, from ``least`` up to ``most``."""

    least: int
    most: int

    @classmethod
    def parse(cls, value: int | list[int]) -> "WorkerRange":
        """Read ``train.num_workers``. Raises ``ValueError`` if it has no such form."""
        pair = value if isinstance(value, list) else [value, value]
        if len(pair) != 2 or not 1 <= pair[0] <= pair[1]:
            raise ValueError(f"must {WORKERS}, got {value}")
        return cls(*pair)


class ImageSize(NamedTuple):
    """Height and width of the prepared images in pixels."""

    height: int
    width: int

    @classmethod
    def parse(cls, value: int | list[int]) -> "ImageSize":
        """Read ``data.image_size``. Raises ``ValueError`` if it has no such form."""
        sides = value if isinstance(value, list) else [value, value]
        if len(sides) != 2 or any(type(side) is not int for side in sides):
            raise ValueError(f"must {SIZE}, got {value}")
        if min(sides) < SMALLEST:
            raise ValueError(f"must be at least {SMALLEST} pixels, got {value}")
        if max(sides) > LARGEST:
            raise ValueError(f"must be at most {LARGEST:,} pixels, got {value}")
        if max(sides) > _MOST_RATIO * min(sides):
            limit = f"have no side of more than {_MOST_RATIO} times the other"
            raise ValueError(f"must {limit}, got {value}")
        return cls(*sides)
