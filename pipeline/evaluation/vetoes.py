"""The gate's candidates, and its vetoes: what must not be worse by more than a margin and chance."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from bngan.metrics.features import Features
from bngan.metrics.jackknife import GROUPS, Estimate, average, holm, p_above
from bngan.metrics.memorization import CopyDetector
from bngan.metrics.protocol import EVALUATION_SEEDS
from pipeline.config.schema import RegisterConfig

LEVEL = 0.05
"""Most probability that all vetoes together refuse a candidate without any loss beyond its margin."""
VETOES = {
    "kid": "KID",
    "coverage": "coverage",
    "authenticity": "authenticity",
    "copies": "copies of training images",
    "batch_norm_gap": "the batch-norm gap",
}
"""Names of vetoes in sentences."""
Scores = Mapping[str, Estimate]
"""Scores of a draw by name."""


class Draw(NamedTuple):
    """One draw of a generator's images, as the gate sees it."""

    features: Features
    second: np.ndarray
    """The images in the form that the second space takes."""


class Gap(NamedTuple):
    """FID with batch statistics minus FID with stored ones, over the evaluation seeds."""

    mean: float
    standard_error: float


@dataclass
class GateCandidate:
    """One of the two generators that the gate compares.

    Attributes:
        draw: returns a draw by its number; both generators use the same latents.
        copies: finds copies of the images that it was trained on; None if these are not known.
        gap: the change of FID with batch statistics.
        trained_on_features: whether its training used the extractor that the gate uses.
    """

    draw: Callable[[int], Draw]
    copies: CopyDetector | None = None
    gap: Gap | None = None
    trained_on_features: bool = False


def mean_score(scores: Sequence[Scores], name: str) -> Estimate:
    """Return the mean score of several draws."""
    return average([each[name] for each in scores])


@dataclass
class _Veto:
    """A loss against something, a margin for it, and the p-value of no more than the margin."""

    candidate: float
    against: float
    loss: float
    margin: float
    p_value: float

    @classmethod
    def of(cls, candidate: Estimate, against: Estimate, loss: Estimate, margin: float) -> "_Veto":
        return cls(candidate.value, against.value, loss.value, margin, loss.p_above(margin))


def vetoes_of(
    config: RegisterConfig,
    sides: tuple[GateCandidate, GateCandidate],
    scores: tuple[Sequence[Scores], Sequence[Scores]],
    used: bool,
) -> dict[str, dict[str, Any]]:
    """Return each veto's numbers, and whether the candidate is worse; Holm shares the level.

    If a training has ``used`` the features, only copies are looked for by them.
    """
    vetoes = {} if used else _losses(config, sides, scores)
    if detector := sides[0].copies:
        vetoes |= _copies(config, detector, *scores)
    worse = holm({name: veto.p_value for name, veto in vetoes.items()}, LEVEL)
    return {name: {**asdict(veto), "worse": name in worse} for name, veto in vetoes.items()}


def _losses(
    config: RegisterConfig,
    sides: tuple[GateCandidate, GateCandidate],
    scores: tuple[Sequence[Scores], Sequence[Scores]],
) -> dict[str, _Veto]:
    """Return the vetoes against what the champion does better."""
    kid, their_kid = (mean_score(side, "kid") for side in scores)
    ours, theirs = (mean_score(side, "coverage") for side in scores)
    margin = config.max_kid_increase * abs(their_kid.value)
    vetoes = {
        "kid": _Veto.of(kid, their_kid, kid - their_kid, margin),
        "coverage": _Veto.of(ours, theirs, theirs - ours, config.max_coverage_loss),
    }
    candidate, champion = sides
    if candidate.gap and champion.gap:
        margin = config.max_gap_increase * mean_score(scores[1], "fid").value
        vetoes["batch_norm_gap"] = _gap(candidate.gap, champion.gap, margin)
    return vetoes


def _copies(
    config: RegisterConfig,
    detector: CopyDetector,
    ours: Sequence[Scores],
    theirs: Sequence[Scores],
) -> dict[str, _Veto]:
    """Return the vetoes against copies of training images.

    Authenticity must be below that of unseen real images, and below the champion's if it is known: a
    champion whose images are far from all real ones copies nothing.
    """
    authenticity, real, share = (
        mean_score(ours, name) for name in ("authenticity", "real_authenticity", "copy_share")
    )
    lost, margin = real - authenticity, config.max_authenticity_loss
    error = max(lost.standard_error, detector.least_error)
    p_value = p_above(lost.value - margin, error, GROUPS - 1)
    if "authenticity" in theirs[0]:
        p_value = max(p_value, (mean_score(theirs, "authenticity") - authenticity).p_above(0))
    limit = config.max_copy_share
    copied = detector.p_copies(share, limit)
    return {
        "authenticity": _Veto(authenticity.value, real.value, lost.value, margin, p_value),
        "copies": _Veto(share.value, limit, share.value, limit, copied),
    }


def _gap(candidate: Gap, champion: Gap, margin: float) -> _Veto:
    """Compare the gaps by Student's t of two samples; each has a gap per evaluation seed."""
    ours, theirs = abs(candidate.mean), abs(champion.mean)
    error = math.hypot(candidate.standard_error, champion.standard_error)
    degrees = 2 * (len(EVALUATION_SEEDS) - 1)
    p_value = p_above(ours - theirs - margin, error, degrees)
    return _Veto(ours, theirs, ours - theirs, margin, p_value)
