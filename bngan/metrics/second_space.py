"""The second space: a distance between sets of images by features with another training signal.

A generator can lower a distance in one space without better images: it is enough that somebody
trains it on that space. The second space has seen another task, or none, so that both distances
fall only for images that are better.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from bngan.metrics.extractors import load_extractor
from bngan.metrics.features import INFO, Extractor, Features
from bngan.metrics.fid import frechet_estimate
from bngan.metrics.jackknife import Estimate
from bngan.metrics.pyramid import pyramid_estimate, pyramid_patches
from bngan.serialization.json_records import read_json_object

MOST_IMAGES = 2000
"""Most real images, and most generated images of a draw."""
_REAL = "real.npz"


@dataclass(frozen=True)
class SecondSpace:
    """Distance of generated images from real ones, by a classifier's features or by patches.

    Attributes:
        real: of real images, what ``describe`` returns.
        classifier: the classifier; None: patches of a Laplacian pyramid.
    """

    real: np.ndarray
    classifier: Extractor | None = None

    @classmethod
    def load(cls, folder: Path) -> "SecondSpace":
        """Return the space of the classifier that ``save_classifier`` wrote.

        Raises:
            ValueError: if a file is wrong.
        """
        info = read_json_object(folder / INFO)
        if info.get("kind") != "classifier" or info.get("weights") is not None:
            raise ValueError(f"{folder.name}/{INFO} is no classifier of bngan's")
        classifier, real = load_extractor(folder), Features.load(folder / _REAL).features
        if real.ndim != 2 or real.shape[1] != classifier.info.features:
            raise ValueError(f"{folder.name}/{_REAL} does not belong to the classifier")
        return cls(real, classifier)

    @property
    def label(self) -> str:
        """Return a phrase for the distance."""
        if self.classifier:
            return "the classifier's Frechet distance"
        return "the pyramid's sliced distance"

    def take(self, chosen: np.ndarray) -> "SecondSpace":
        """Return the space with the first chosen real images, at most ``MOST_IMAGES``.

        ``chosen`` is bool ``(M,)`` with M at least the number of real images.
        """
        first = np.flatnonzero(chosen[: len(self.real)])[:MOST_IMAGES]
        return replace(self, real=np.array(self.real[first]))

    def describe(self, images: np.ndarray) -> np.ndarray:
        """Return what ``distance`` takes of uint8 images ``(N, H, W, C)``."""
        return self.classifier(images).features if self.classifier else images

    def distance(self, fake: np.ndarray) -> Estimate:
        """Return the distance of generated images from the real ones.

        It is the Frechet distance of features, or ``pyramid_estimate`` of equally many images.

        Raises:
            ValueError: for images of another shape, or fewer than the jackknife needs.
        """
        if self.classifier:
            return frechet_estimate(fake, self.real)
        count = min(len(fake), len(self.real))
        real = [level[:count] for level in self._real_patches]
        return pyramid_estimate(pyramid_patches(fake[:count]), real)

    @cached_property
    def _real_patches(self) -> list[np.ndarray]:
        return pyramid_patches(self.real)


def save_classifier(folder: Path, classifier: Extractor, real: np.ndarray) -> None:
    """Write a classifier into ``folder``, and its features of real images uint8 ``(N, H, W, C)``."""
    classifier.save(folder)
    classifier(real).save(folder / _REAL)
