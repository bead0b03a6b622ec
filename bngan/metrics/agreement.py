"""Check whether features agree with eyes: do they see that real images were degraded?"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bngan.metrics.degradations import DEGRADATIONS, LEVELS
from bngan.metrics.features import Extractor
from bngan.metrics.fid import frechet_distance
from bngan.numerics.rng import Stream, generator
from bngan.numerics.threads import limit_blas_threads

_COUNT = 256
"""Most images that are degraded, and most that they are compared with."""
_DRAWS = 12
"""Random halves of the images, of which each gives a distance."""
_SEEN = 0.95
"""Least AUC at full strength of a degradation that the features see."""
_FEWEST = 40


@dataclass(frozen=True)
class Agreement:
    """Distances of degraded real images, by the name of the degradation.

    Attributes:
        auc: probability that a draw of images degraded at full strength is farther from real images
            than a draw of real ones; 0.5 means that the features are blind to it.
        tau: Kendall's rank correlation of distance and strength.
    """

    auc: dict[str, float]
    tau: dict[str, float]

    @classmethod
    def of(
        cls,
        extractor: Extractor,
        images: np.ndarray,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> "Agreement | None":
        """Measure the agreement on real images that the extractor has not learned from.

        Args:
            extractor: the extractor.
            images: uint8 ``(N, H, W, C)`` in random order.
            progress: takes the number of degraded sets so far, and that of all.

        Returns:
            the agreement; None for fewer than 40 images.
        """
        if len(images) < _FEWEST:
            return None
        half = min(len(images) // 2, _COUNT)
        whole, others = images[:half], images[half : 2 * half]
        reference = extractor(others).features
        real = _distances(extractor(whole).features, reference)
        auc, tau = dict[str, float](), dict[str, float]()
        total = len(DEGRADATIONS) * len(LEVELS)
        for number, (name, degrade) in enumerate(DEGRADATIONS.items()):
            means = [real.mean()]
            for level, strength in enumerate(LEVELS):
                random = generator(0, Stream.DEGRADATION, number, level)
                degraded = degrade(whole, strength, random)
                found = _distances(extractor(degraded).features, reference)
                means.append(found.mean())
                progress(number * len(LEVELS) + level + 1, total)
            auc[name] = float((found[:, None] > real).mean())
            tau[name] = _kendall(means)
        return cls(auc, tau)

    @classmethod
    def parse(cls, values: Any) -> "Agreement":
        """Return the agreement from its parsed JSON. Raises ``ValueError`` for anything else."""
        match values:
            case {"auc": dict(auc), "tau": dict(tau)} if auc and auc.keys() == tau.keys():
                if all(isinstance(value, float) for value in (*auc.values(), *tau.values())):
                    return cls(auc, tau)
        raise ValueError("no agreement of features with eyes")

    def describe(self) -> str:
        """Return a sentence about what the features see."""
        blind = [f"{name} (AUC {auc:.2f})" for name, auc in self.auc.items() if auc < _SEEN]
        worst = min(self.auc, key=self.auc.__getitem__)
        tau = float(np.mean(list(self.tau.values())))
        order = f"they order strengths with Kendall's tau {tau:.2f}"
        if blind:
            listed = ", ".join(blind)
            return f"These features hardly see that real images were degraded by {listed}; {order}"
        return (
            f"These features see each of {len(self.auc)} degradations of real images, {worst} the "
            f"least (AUC {self.auc[worst]:.2f}); {order}"
        )

    @property
    def sees_all(self) -> bool:
        """Return whether the features see every degradation at full strength."""
        return min(self.auc.values()) >= _SEEN


def _distances(features: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return distances ``(_DRAWS,)`` of random halves of the features from the reference."""
    orders = (
        generator(0, Stream.DEGRADATION, len(DEGRADATIONS), draw).permutation(len(features))
        for draw in range(_DRAWS)
    )
    halves = (features[order[: len(order) // 2]] for order in orders)
    with limit_blas_threads(features.shape[1]):  # the last digits depend on the threads
        return np.array([frechet_distance(half, reference) for half in halves])


def _kendall(means: list[Any]) -> float:
    from scipy.stats import kendalltau  # slow to import, and most commands never get here

    return float(kendalltau(range(len(means)), means).statistic)
