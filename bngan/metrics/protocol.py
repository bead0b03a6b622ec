"""Named protocols: the name of a score says exactly how it was measured.

``fid10k_test`` is the Frechet distance and the Inception Score of 10,000 generated images against
10,000 real ones of the test split: images rounded to 8 bits at the dataset's own size, features of
the extractor named beside it, latents of evaluation seed 0 (1 and 2 show other draws).
"""

import re
from dataclasses import dataclass
from typing import cast

from bngan.data.dataset import SPLITS, Split

EVALUATION_SEEDS = (0, 1, 2)
MIN_COUNT = 20
"""Minimum number of images: one in each group that the jackknife leaves out."""


@dataclass(frozen=True)
class Protocol:
    """Definition of a score's measurement.

    Attributes:
        name: name as configured, such as ``fid360_test``.
        count: number of generated images, and of real ones.
        split: split of the real images.
    """

    name: str
    count: int
    split: Split

    @classmethod
    def parse(cls, name: str) -> "Protocol":
        """Return the protocol ``name``. Raises ``ValueError`` if there is no such protocol."""
        match = re.fullmatch(r"fid([1-9]\d*)(k?)_(\w+)", name)
        if not match or match[3] not in SPLITS:
            raise ValueError(
                f"no protocol '{name}': expected fid<count>_<split> with a split of "
                f"{', '.join(SPLITS)}, such as fid10k_test"
            )
        count = int(match[1]) * (1000 if match[2] else 1)
        if count < MIN_COUNT:
            raise ValueError(f"{name}: scores need at least {MIN_COUNT} images")
        return cls(name, count, cast(Split, match[3]))

    def check(self, available: int) -> None:
        """Raise ``ValueError`` if fewer real images than ``count`` are available."""
        if available < self.count:
            mend = f"use fid{available}_{self.split}, say"
            if available < MIN_COUNT:
                mend = f"scores need {MIN_COUNT}: use more images, or another split"
            raise ValueError(
                f"{self.name} needs {self.count} real images, but the {self.split} split has "
                f"{available} for it: {mend}"
            )
