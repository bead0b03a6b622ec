"""Whether a candidate replaces the champion: both scored on the same images, from fresh latents."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bngan.metrics.confidence import Estimate, average
from bngan.metrics.features import Features
from bngan.metrics.frechet import frechet_estimate
from bngan.metrics.kernel import kernel_estimate
from bngan.metrics.manifold import manifold_estimates
from pipeline.aliases import Verdict
from pipeline.config import RegisterConfig

LEVEL = 0.95
"""Confidence, one-sided, that the candidate is better."""


@dataclass
class Contender:
    """What is known of one of two generators.

    Attributes:
        draws: features of its images, from the same latents as the other's, one draw after the other.
        authenticity: share of its images that are no copies of training images.
        gap: its FID by batch statistics less that by the stored ones.
    """

    draws: Sequence[Features]
    authenticity: float | None = None
    gap: float | None = None


def judge(
    config: RegisterConfig, real: Features, candidate: Contender, champion: Contender
) -> Verdict:
    """Promote if the candidate's FID is lower beyond chance and by ``config.min_improvement``.

    Unless a second opinion finds it worse by more than its margin. What is not a number does not win.
    """
    ours, theirs = (_fid(side.draws, real) for side in (candidate, champion))
    difference = ours - theirs
    bound = difference.bound(LEVEL)
    told = f"FID {ours.value:.4g} against {theirs.value:.4g}"
    details: dict[str, Any] = {
        "fid": {
            "candidate": ours.value,
            "champion": theirs.value,
            "difference": difference.value,
            "upper_bound": bound,
            "level": LEVEL,
        },
        "draws": len(candidate.draws),
        "images": sum(len(draw.features) for draw in candidate.draws),
    }
    losses = _losses(config, real, candidate, champion, theirs.value)
    details["second_opinions"] = losses
    if not bound < 0:
        return Verdict(False, f"not better beyond chance: {told}", details)
    if not difference.value <= -config.min_improvement * theirs.value:
        needed = f"{config.min_improvement:.3g}"
        return Verdict(
            False, f"better by less than register.min_improvement={needed}: {told}", details
        )
    if worse := [name for name, loss in losses.items() if loss["worse"]]:
        return Verdict(False, f"lower FID, but worse by {', '.join(worse)}: {told}", details)
    return Verdict(True, f"better: {told}", details)


def _fid(draws: Sequence[Features], real: Features) -> Estimate:
    return average([frechet_estimate(draw.features, real.features) for draw in draws])


def _losses(
    config: RegisterConfig, real: Features, candidate: Contender, champion: Contender, fid: float
) -> dict[str, dict[str, Any]]:
    """What the candidate loses by each second opinion, what it may lose, and whether that is too much.

    Where chance errors are known, a loss counts if it is beyond chance as well.
    """
    ours, theirs = (side.draws[0].features for side in (candidate, champion))
    kid = kernel_estimate(theirs, real.features)
    kid_more = kernel_estimate(ours, real.features) - kid
    coverage, other = (
        manifold_estimates(side, real.features)["coverage"] for side in (theirs, ours)
    )
    lost_coverage = coverage - other
    found = {
        "kid": _loss(kid_more.value, config.max_kid_increase * abs(kid.value), kid_more),
        "coverage": _loss(lost_coverage.value, config.max_coverage_loss, lost_coverage),
    }
    if candidate.authenticity is not None and champion.authenticity is not None:
        lost = champion.authenticity - candidate.authenticity
        found["authenticity"] = _loss(lost, config.max_authenticity_loss)
    if candidate.gap is not None and champion.gap is not None:
        more = abs(candidate.gap) - abs(champion.gap)
        found["batch_norm_gap"] = _loss(more, config.max_gap_increase * fid)
    return found


def _loss(value: float, margin: float, estimate: Estimate | None = None) -> dict[str, Any]:
    beyond_chance = estimate is None or not estimate.bound(1 - LEVEL) <= 0
    return {"loss": value, "margin": margin, "worse": not value <= margin and beyond_chance}
