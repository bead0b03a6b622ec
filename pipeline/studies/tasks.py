"""Tasks of trials, with data and scores: experiments' prepared images, and small standard tasks.

Ring of 8 and grid of 25 Gaussians: a generated point is good if it lies within three standard
deviations of a centre, and one good point hits a mode (Srivastava et al. 2017; Lin et al. 2018).
Stacked digits: three random digits of 8x8 pixels as channels, 1,000 modes.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from bngan.data.dataset import ImageSplit
from bngan.data.images import from_uint8
from bngan.generation.latents import indexed_latents
from bngan.generation.sampler import Sampler
from bngan.metrics.classifier import train_classifier
from bngan.metrics.evaluation import Reference
from bngan.metrics.features import Extractor, Features
from bngan.metrics.fid import frechet_distance
from bngan.metrics.reconstruction import reconstruction_errors
from bngan.metrics.scores import point_scores
from pipeline.storage.artifacts import SELECT_FEATURES, TRAIN_FEATURES
from pipeline.studies.design import BUILT_IN

Scores = dict[str, float]
POINTS = 2_500
"""Number of generated points for a score."""
TRIPLES = 26_000
"""Number of generated stacked digits for the final score; scores on the way use fewer."""
RECONSTRUCTED = 100
"""Number of images of each split that are reconstructed."""
_TRIPLES_ON_THE_WAY = 5_000
_SEED, _FINAL_SEED = 1_000, 0


class Task(ABC):
    """Images to train on, and scores.

    Attributes:
        data: the training images.
        measure: name of the score that chooses the best generator, the lower the better.
    """

    data: ImageSplit
    measure: str

    @abstractmethod
    def scores(self, sampler: Sampler, final: bool) -> Scores:
        """Return scores that choose the best generator, or ``final`` ones on data of their own."""

    def generalisation(self, sampler: Sampler) -> Scores:
        """Return losses from training images to others; empty if training data is unlimited."""
        return {}


@dataclass
class Images(Task):
    """An experiment's prepared images and its reference."""

    data: ImageSplit
    held_out: ImageSplit
    extractor: Extractor
    select: Features
    test: Features
    train: Features
    measure: str = "fid"

    def scores(self, sampler: Sampler, final: bool) -> Scores:
        """Return scores against the select split, or ``final`` ones against the test split."""
        seed, real = (_FINAL_SEED, self.test) if final else (_SEED, self.select)
        scores = point_scores(self._features(sampler, seed, len(real.features)), real)
        if final and "classes_hit" in scores:
            scores["classes_share"] = scores["classes_hit"] / self.test.logits.shape[1]
        return scores

    def generalisation(self, sampler: Sampler) -> Scores:
        """Return FID against training images, the increase on test images, and errors of both.

        The errors are those of reconstructions of ``RECONSTRUCTED`` images. FID uses only training
        images that the extractor has not learned from, since it has learned from no test image.
        """
        train = self.train.features[self.extractor.info.trained_on :]
        count = min(len(self.test.features), len(train))
        fake = self._features(sampler, _FINAL_SEED, count).features
        known, new = (frechet_distance(fake, real[:count]) for real in (train, self.test.features))
        scores = {"fid_train": known, "generalisation_gap": new - known}
        for name, split in (("train", self.data), ("test", self.held_out)):
            images, labels = split.take(np.arange(min(RECONSTRUCTED, len(split.images))))
            classes = torch.from_numpy(labels) if sampler.model.conditional else None
            errors = reconstruction_errors(sampler, from_uint8(images), classes)
            scores[f"reconstruction_{name}"] = float(errors.mean())
        return scores

    def _features(self, sampler: Sampler, seed: int, count: int) -> Features:
        return self.extractor(sampler.images(seed, range(count)))


@dataclass
class Points(Task):
    """A mixture of Gaussians in the plane, as images of two channels and one pixel."""

    centres: np.ndarray
    spread: float
    data: ImageSplit
    measure: str = "bad_share"

    def scores(self, sampler: Sampler, final: bool) -> Scores:
        """Return the ``mixture_scores`` of generated points."""
        seed = _FINAL_SEED if final else _SEED
        latents = indexed_latents(seed, range(POINTS), sampler.model.latent_dim)
        with torch.inference_mode():
            made = [sampler.generator(part) for part in torch.split(latents, sampler.batch)]
        points = torch.cat(made).flatten(1).double().numpy()
        return mixture_scores(points, self.centres, self.spread)


def mixture_scores(points: np.ndarray, centres: np.ndarray, spread: float) -> Scores:
    """Return scores of points ``(N, 2)`` for centres ``(K, 2)`` and standard deviation ``spread``.

    ``bad_share`` grows with bad points and with missing modes; ``divergence`` is in nats.
    """
    distances = np.linalg.norm(points[:, None] - centres, axis=2)
    mode, good = distances.argmin(axis=1), distances.min(axis=1) < 3 * spread
    hit, divergence = _coverage(np.bincount(mode[good], minlength=len(centres)))
    share, missing = float(good.mean()), 1 - hit / len(centres)
    return {
        "modes": hit,
        "good_share": share,
        "divergence": divergence,
        "bad_share": 1 - share * (1 - missing),
        "modes_share": 1 - missing,
    }


def _coverage(counts: np.ndarray) -> tuple[int, float]:
    """Return the number of modes hit, and KL(mode frequencies || uniform) in nats."""
    frequencies = counts[counts > 0] / max(counts.sum(), 1)
    return len(frequencies), float((frequencies * np.log(frequencies * len(counts))).sum())


@dataclass
class StackedDigits(Task):
    """Triples of digits; a classifier trained on other digits names each channel's digit."""

    data: ImageSplit
    classifier: Extractor
    real: Scores
    measure: str = "divergence"

    def scores(self, sampler: Sampler, final: bool) -> Scores:
        """Return the ``triple_scores`` of 5,000 triples; ``final``: of 26,000, and of real ones."""
        seed, count = (_FINAL_SEED, TRIPLES) if final else (_SEED, _TRIPLES_ON_THE_WAY)
        scores = triple_scores(sampler.images(seed, range(count)), self.classifier)
        real = {f"real_{name}": value for name, value in self.real.items()}
        return scores | real if final else scores


def triple_scores(stacked: np.ndarray, classifier: Extractor) -> Scores:
    """Return scores of uint8 ``(N, H, W, 3)``: modes, of 1,000, and KL to uniform in nats."""
    digit = [classifier(stacked[..., channel, None]).logits.argmax(1) for channel in range(3)]
    counts = np.bincount(digit[0] * 100 + digit[1] * 10 + digit[2], minlength=1000)
    hit, divergence = _coverage(counts)
    return {"modes": hit, "divergence": divergence, "modes_share": hit / 1000}


def mixture(centres: np.ndarray, spread: float, reach: float, count: int = 100_000) -> Points:
    """Return a mixture with ``count`` training points; the plane is scaled by 1 / ``reach``."""
    random = np.random.default_rng(0)
    points = centres[random.integers(len(centres), size=count)]
    points = (points + spread * random.normal(size=points.shape)) / reach
    levels = ((points + 1) * 127.5).astype(np.float32)  # range of stored images, but not rounded
    return Points(centres / reach, spread / reach, ImageSplit(levels[:, None, None, :]))


def ring8() -> Points:
    """Return 8 Gaussians on the unit circle, standard deviation 0.02."""
    angles = np.arange(8) * np.pi / 4
    return mixture(np.stack([np.cos(angles), np.sin(angles)], axis=1), 0.02, 2.0)


def grid25() -> Points:
    """Return 25 Gaussians at {-4, -2, 0, 2, 4} squared, standard deviation 0.05."""
    side = np.arange(-4.0, 5.0, 2.0)
    return mixture(np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2), 0.05, 5.0)


def stacked_digits() -> StackedDigits:
    """Return triples of scikit-learn's digits.

    A third of the digits trains the classifier, a sixth gives the real score, half is data.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)[order][..., None]
    labels = digits.target[order]
    known, test, train = np.split(np.arange(len(images)), [len(images) // 3, len(images) // 2])
    classifier = train_classifier(images[known], labels[known], 10)
    real = triple_scores(stack(images[test], TRIPLES, 2), classifier)
    return StackedDigits(ImageSplit(stack(images[train], 128_000, 1)), classifier, real)


def stack(images: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return stacks ``(count, H, W, 3)`` of random images of ``(N, H, W, 1)``."""
    chosen = np.random.default_rng(seed).integers(len(images), size=(count, 3))
    return np.ascontiguousarray(images[chosen][..., 0].transpose(0, 2, 3, 1))


@lru_cache(maxsize=2)
def load(task: str, prepared: Path | None, reference: Path | None, flip: bool) -> Task:
    """Return a built-in task, or an experiment's task from the folders of its stages."""
    if prepared is None or reference is None:
        makers = (ring8, grid25, stacked_digits)
        return dict(zip(BUILT_IN, makers, strict=True))[task]()
    stored = Reference.load(reference)
    return Images(
        ImageSplit.load(prepared, "train", flip),
        ImageSplit.load(prepared, "test"),
        stored.extractor,
        Features.load(reference / SELECT_FEATURES),
        stored.real,
        Features.load(reference / TRAIN_FEATURES),
    )
