"""Scores from a classifier's verdicts on generated images: their certainty and their variety."""

import numpy as np

from bngan.metrics.jackknife import Estimate, leave_groups_out

SPLITS = 10


def inception_score(logits: np.ndarray, splits: int = SPLITS) -> tuple[float, float]:
    """Return mean and SD (ddof 0) over ``splits`` consecutive parts of exp E KL(p(y|x) || p(y)).

    ``logits`` are ``(N, classes)``. The score is that of Salimans et al. 2016, with log-softmax in
    float64 so that no logarithm of zero occurs. It lies between 1 and the number of classes.

    Raises:
        ValueError: if there are fewer samples than splits.
    """
    if len(logits) < splits:
        raise ValueError(f"{splits} splits need at least as many samples, got {len(logits)}")
    logits = logits.astype(np.float64)
    log_p = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    scores = []
    for part in np.array_split(log_p, splits):
        # Finite even where a class has probability 0 throughout: its terms are 0 times finite.
        log_marginal = np.logaddexp.reduce(part, axis=0) - np.log(len(part))
        scores.append(np.exp((np.exp(part) * (part - log_marginal)).sum(axis=1).mean()))
    return float(np.mean(scores)), float(np.std(scores))


def inception_estimate(logits: np.ndarray) -> Estimate:
    """Return ``inception_score`` with the jackknife's values."""
    without = leave_groups_out(lambda some: inception_score(some)[0], logits)
    return Estimate(inception_score(logits)[0], {"fake": without})


def class_counts(logits: np.ndarray) -> np.ndarray:
    """Return the images per predicted class, ``(classes,)``; ``logits`` are ``(N, classes)``."""
    return np.bincount(logits.argmax(axis=1), minlength=logits.shape[1])


def classes_hit(logits: np.ndarray) -> int:
    """Return the number of classes that get at least a tenth of an equal share of the images.

    ``logits`` are ``(N, classes)``.
    """
    images, classes = logits.shape
    return int((class_counts(logits) >= max(1.0, 0.1 * images / classes)).sum())


def class_divergence(fake: np.ndarray, real: np.ndarray) -> float:
    """Return KL of the predicted classes of generated images from those of real images, in nats.

    Both are logits ``(N, classes)``. Half an image more in each class keeps it finite (Jeffreys).
    """
    p, q = ((class_counts(x) + 0.5) / (len(x) + 0.5 * x.shape[1]) for x in (fake, real))
    return float((p * np.log(p / q)).sum())
