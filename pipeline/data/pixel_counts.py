"""Colours, sizes and levels of the images of a data set, and the doubts about them."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bngan.data.decoding import Decoded

_BLACK = 16
"""Largest level, of 255, under which an image is nearly black."""
_SOME = 0.1
"""Share of nearly black images above which they are not black by chance."""


@dataclass
class PixelCounts:
    """Counts over the images that are used, and of those that have another size.

    Attributes:
        grey: images that are stored in grey.
        coloured: images that are stored in colours.
        other_size: images that are skipped because ``data.image_size`` is not set.
        high_bits: images of 9 to 16 bits per sample.
        largest: largest value that images of 9 to 16 bits store.
        maximum: largest value that their headers allow.
        largest_of_8_bits: largest level of the other images.
        black: images of 9 to 16 bits that are nearly black after conversion.
        black_of_8_bits: other images that are nearly black.
    """

    grey: int = 0
    coloured: int = 0
    other_size: int = 0
    high_bits: int = 0
    largest: int = 0
    maximum: int = 0
    largest_of_8_bits: int = 0
    black: int = 0
    black_of_8_bits: int = 0

    def add(self, decoded: Decoded, pixels: np.ndarray) -> None:
        """Count an image, and ``pixels``, which were made of it."""
        if decoded.image.mode == "L":
            self.grey += 1
        else:
            self.coloured += 1
        level = int(pixels.max())
        if decoded.largest is None:
            self.largest_of_8_bits = max(self.largest_of_8_bits, level)
            self.black_of_8_bits += level < _BLACK
        else:
            self.high_bits += 1
            self.largest = max(self.largest, decoded.largest)
            self.maximum = max(self.maximum, decoded.maximum)
            self.black += level < _BLACK

    @classmethod
    def total(cls, parts: Iterable["PixelCounts"]) -> "PixelCounts":
        """Return the counts of several splits together."""
        rows = [asdict(part) for part in parts]
        largest = ("largest", "maximum", "largest_of_8_bits")
        return cls(
            **{
                name: (max if name in largest else sum)(row[name] for row in rows)
                for name in rows[0]
            }
        )

    def record(self, channels: int) -> dict[str, int]:
        """Return the entry ``pixels`` of ``contents.json``; ``channels`` is that of the arrays."""
        return {
            "grey_made_rgb": self.grey if channels == 3 else 0,
            "rgb_made_grey": self.coloured if channels == 1 else 0,
            "other_size": self.other_size,
            "high_bits": self.high_bits,
            "largest": self.largest,
            "maximum": self.maximum,
        }

    def doubts(self, channels: int | None, white: int | None) -> list[str]:
        """Return warnings, in lines; the arguments are the values of ``data``'s keys."""
        lines = []
        if self.other_size:
            lines.append(
                f"data.image_size is not set, so {self.other_size:,} images of another size than "
                "the first ones are skipped"
            )
        if channels is None and self.grey and self.coloured:
            lines.append(
                f"{self.coloured:,} images have colours, so {self.grey:,} grey ones become RGB; "
                "data.channels=1 makes all grey"
            )
        if self.high_bits and white is None and self._dark():
            likely = 2 ** self.largest.bit_length() - 1
            example = f", such as {likely}" if 0 < likely < self.maximum else ""
            lines.append(
                f"{self.black:,} of {self.high_bits:,} images of more than 8 bits become nearly "
                f"black: the largest value is {self.largest:,}, and their files take "
                f"{self.maximum:,} for white; set data.white to the value that is white{example}"
            )
        if white is not None and self.high_bits and self.largest > white:
            lines.append(
                f"data.white={white}: values up to {self.largest:,} occur, and all above it are white"
            )
        if white is not None and not self.high_bits:
            lines.append(f"data.white={white} has no effect: no image has more than 8 bits")
        others = self.grey + self.coloured - self.high_bits
        if others and self.black_of_8_bits > _SOME * others:
            lines.append(
                f"{self.black_of_8_bits:,} of {others:,} images of 8 bits are nearly black: no value "
                f"is above {_BLACK - 1}, and 255 is white; save them with levels from 0 to 255"
            )
        return lines

    def _dark(self) -> bool:
        return 2 * self.largest <= self.maximum or self.black > _SOME * self.high_bits


def conversions(record: Mapping[str, int]) -> list[str]:
    """Return lines about converted images, from the entry ``pixels`` of ``contents.json``."""
    lines = []
    if record.get("grey_made_rgb"):
        lines.append(f"{record['grey_made_rgb']:,} grey images made RGB")
    if record.get("rgb_made_grey"):
        lines.append(f"{record['rgb_made_grey']:,} coloured images made grey")
    return lines


def stored_levels(record: Mapping[str, Any]) -> str:
    """Return a line about images of 9 to 16 bits; empty if there is none."""
    if not record.get("high_bits"):
        return ""
    return (
        f"{record['high_bits']:,} images store more than 8 bits; the largest value is "
        f"{record['largest']:,} of {record['maximum']:,}"
    )
