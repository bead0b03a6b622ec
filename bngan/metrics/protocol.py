"""Named protocols: the name of a score says exactly how it was measured.

``fid10k_test`` is the Frechet distance and the Inception Score of 10,000 generated images against
10,000 real ones of the test split: images rounded to 8 bits at the dataset's own size, features of
the dataset's own extractor, latents of evaluation seed 0.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from bngan.data import SPLITS, Split
from bngan.metrics.features import Features
from bngan.metrics.frechet import frechet_distance
from bngan.metrics.inception_score import classes_hit, inception_score
from bngan.randomness import Stream, generator

EVALUATION_SEED = 0
FLOOR_DRAWS = 20
MIN_COUNT = 10


@dataclass(frozen=True)
class Protocol:
    """How a score is measured.

    Attributes:
        name: as configured, such as ``fid360_test``.
        count: generated images, and equally many real ones.
        split: where the real images come from.
    """

    name: str
    count: int
    split: Split

    @classmethod
    def parse(cls, name: str) -> "Protocol":
        """The protocol called ``name``. Raises ``ValueError`` if there is no such protocol."""
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
            raise ValueError(
                f"{self.name} needs {self.count} real images, but the {self.split} split has "
                f"{available} for it: use fid{available}_{self.split}, say"
            )


def score(fake: Features, real: np.ndarray) -> dict[str, float]:
    """FID, and the Inception Score where there are labels, of generated against real features."""
    scores = {"fid": frechet_distance(fake.features, real)}
    if fake.logits.shape[1]:
        scores["inception_score"], scores["inception_score_sd"] = inception_score(fake.logits)
        scores["classes_hit"] = classes_hit(fake.logits)
    return scores


def floor(unseen: Sequence[Features], count: int) -> dict[str, float]:
    """What real images score against real images: mean and SD over random disjoint draws.

    Args:
        unseen: features of real images the extractor has not learned from.
        count: images on each side; smaller where fewer than twice as many are there.
    """
    features = np.concatenate([part.features for part in unseen])
    logits = np.concatenate([part.logits for part in unseen])
    count = min(count, len(features) // 2)
    draws = []
    for draw in range(FLOOR_DRAWS):
        order = generator(0, Stream.FLOOR, draw).permutation(len(features))
        one, other = order[:count], order[count : 2 * count]
        draws.append(score(Features(features[one], logits[one]), features[other]))
    summary = {"count": float(count)}
    for name in draws[0]:
        values = [draw[name] for draw in draws]
        summary[name] = float(np.mean(values))
        if not name.endswith("_sd"):
            summary[f"{name}_spread"] = float(np.std(values, ddof=1))
    return summary
