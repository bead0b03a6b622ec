"""Scores of generated against real images: values, intervals, real against real."""

from collections.abc import Sequence

import numpy as np

from bngan.metrics.features import Features
from bngan.metrics.fid import frechet_distance, frechet_estimate
from bngan.metrics.inception_score import (
    class_divergence,
    classes_hit,
    inception_estimate,
    inception_score,
)
from bngan.metrics.jackknife import Estimate
from bngan.metrics.kid import kernel_estimate
from bngan.metrics.mind import mind_estimate
from bngan.metrics.precision_recall import manifold_estimates
from bngan.numerics.rng import Stream, generator
from bngan.numerics.threads import limit_blas_threads

_FLOOR_DRAWS = 10


def point_scores(fake: Features, real: Features) -> dict[str, float]:
    """Return the cheap scores by name, without intervals.

    FID is always there; the classifier's scores are there if the extractor has classes.
    """
    with limit_blas_threads(real.features.shape[1]):  # the last digits depend on the threads
        scores = {"fid": frechet_distance(fake.features, real.features)}
    if fake.logits.shape[1]:
        scores["inception_score"], scores["inception_score_sd"] = inception_score(fake.logits)
        scores["classes_hit"] = classes_hit(fake.logits)
        scores["class_divergence"] = class_divergence(fake.logits, real.logits)
    return scores


def interval_scores(fake: Features, real: Features, sha256: str) -> dict[str, Estimate]:
    """Return the scores that have intervals, by name; MIND is there for equally many images.

    ``sha256`` is the hash of the extractor.
    """
    estimates = {
        "fid": frechet_estimate(fake.features, real.features),
        "kid": kernel_estimate(fake.features, real.features),
        **manifold_estimates(fake.features, real.features),
    }
    if len(fake.features) == len(real.features):
        estimates["mind"] = mind_estimate(fake.features, real.features, sha256)
    if fake.logits.shape[1]:
        estimates["inception_score"] = inception_estimate(fake.logits)
    return estimates


def real_vs_real(unseen: Sequence[Features], count: int, sha256: str) -> dict[str, float]:
    """Return the scores of real against real images: mean and SD over random disjoint draws.

    MIND depends on the number of images: it is there if there are twice ``count``.

    Args:
        unseen: features of real images that the extractor has not learned from.
        count: images on each side; at most half of the images are taken.
        sha256: hash of the extractor.
    """
    pool, asked = Features.join(unseen), count
    count = min(asked, len(pool.features) // 2)
    draws = []
    for draw in range(_FLOOR_DRAWS):
        order = generator(0, Stream.FLOOR, draw).permutation(len(pool.features))
        one, other = pool.take(order[:count]), pool.take(order[count : 2 * count])
        estimates = interval_scores(one, other, sha256)
        whole = {name: estimate.value for name, estimate in estimates.items()}
        draws.append({**point_scores(one, other), **whole})
    summary = {"count": float(count)}
    for name in draws[0]:
        if name == "mind" and count < asked:
            continue
        values = [draw[name] for draw in draws]
        summary[name] = float(np.mean(values))
        if not name.endswith("_sd"):
            summary[f"{name}_spread"] = float(np.std(values, ddof=1))
    return summary
