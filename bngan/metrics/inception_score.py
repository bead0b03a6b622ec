"""What a classifier's verdicts on generated images say: how sure they are, and how varied."""

import numpy as np


def inception_score(logits: np.ndarray, splits: int = 10) -> tuple[float, float]:
    """Mean and SD (ddof 0) over ``splits`` consecutive parts of exp E KL(p(y|x) || p(y)).

    ``logits`` are ``(N, classes)``; Salimans et al. 2016, with log-softmax in float64 so that no
    logarithm of zero occurs. The score lies between 1 and the number of classes.

    Raises:
        ValueError: for fewer samples than splits.
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


def classes_hit(logits: np.ndarray) -> int:
    """Classes that at least a tenth as many images are taken for as if all were equally frequent.

    ``logits`` are ``(N, classes)``.
    """
    images, classes = logits.shape
    counts = np.bincount(logits.argmax(axis=1), minlength=classes)
    return int((counts >= max(1.0, 0.1 * images / classes)).sum())
