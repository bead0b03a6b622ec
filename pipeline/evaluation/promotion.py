"""The promotion gate: compare candidate and champion on the same images and fresh latents."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from bngan.metrics.features import Features
from bngan.metrics.fid import frechet_estimate
from bngan.metrics.jackknife import Estimate, average, student_t
from bngan.metrics.kid import kernel_estimate
from bngan.metrics.precision_recall import manifold_estimates
from bngan.metrics.protocol import EVALUATION_SEEDS
from pipeline.config.schema import RegisterConfig
from pipeline.registry.aliases import Verdict

LEVEL, EARLY_LEVEL = 0.95, 0.999
"""One-sided confidence that the candidate is better: after all draws, and at the early look."""
EARLY_SHARE = 4
"""The early look comes after 1 / ``EARLY_SHARE`` of the draws."""
_FUTILE = 0.2


class Gap(NamedTuple):
    """FID with batch statistics minus FID with stored ones, over the evaluation seeds."""

    mean: float
    standard_error: float


@dataclass
class GateCandidate:
    """One of the two generators that the gate compares.

    Attributes:
        draw: returns features of a draw's images, by its number; both use the same latents.
        authenticity: estimates from features the share of images that copy no training image.
        gap: the change of FID with batch statistics.
    """

    draw: Callable[[int], Features]
    authenticity: Callable[[Features], Estimate] | None = None
    gap: Gap | None = None


def judge(
    config: RegisterConfig, real: Features, candidate: GateCandidate, champion: GateCandidate
) -> Verdict:
    """Promote if the candidate's FID is lower beyond chance and by ``config.min_improvement``.

    A second opinion can veto: it must not be worse by more than its margin. A NaN does not win. An
    early look decides clear and hopeless cases. Its level is so strict that the last look needs no
    correction (Haybittle 1971).
    """
    sides = candidate, champion
    firsts = [side.draw(0) for side in sides]
    fids = [[frechet_estimate(first.features, real.features)] for first in firsts]
    early = max(config.draws // EARLY_SHARE, 1)
    for number in range(1, config.draws):
        if number == early and _decided(fids):
            break
        for side, estimates in zip(sides, fids, strict=True):
            estimates.append(frechet_estimate(side.draw(number).features, real.features))
    ours, theirs = (average(estimates) for estimates in fids)
    level = LEVEL if len(fids[0]) == config.draws else EARLY_LEVEL
    difference = ours - theirs
    details = {
        "candidate": ours.value,
        "champion": theirs.value,
        "difference": difference.value,
        "upper_bound": difference.bound(level),
        "level": level,
        "draws": len(fids[0]),
        "images": len(fids[0]) * len(firsts[0].features),
        "second_opinions": _losses(config, real, sides, firsts, theirs.value),
    }
    shortfall = _shortfall(config, details)
    reason = f"{shortfall or 'better'}: FID {ours.value:.4g} against {theirs.value:.4g}"
    return Verdict(shortfall is None, reason, details)


def _decided(estimates: Sequence[Sequence[Estimate]]) -> bool:
    """Return whether the draws so far decide: surely better, or probably worse."""
    difference = average(estimates[0]) - average(estimates[1])
    return difference.bound(EARLY_LEVEL) < 0 or difference.bound(_FUTILE) > 0


def _shortfall(config: RegisterConfig, details: dict[str, Any]) -> str | None:
    """Return why the candidate does not become champion; None if it does."""
    if not details["upper_bound"] < 0:
        return "not better beyond chance"
    if not details["difference"] <= -config.min_improvement * details["champion"]:
        return f"better by less than register.min_improvement={config.min_improvement:.3g}"
    if worse := [name for name, loss in details["second_opinions"].items() if loss["worse"]]:
        return f"lower FID, but worse by {', '.join(worse)}"
    return None


def _losses(
    config: RegisterConfig,
    real: Features,
    sides: tuple[GateCandidate, GateCandidate],
    firsts: Sequence[Features],
    fid: float,
) -> dict[str, dict[str, Any]]:
    """Return each second opinion's loss, its margin, and whether the candidate is worse.

    A loss counts only if it is beyond chance as well.
    """
    candidate, champion = sides
    ours, theirs = (first.features for first in firsts)
    kid = kernel_estimate(theirs, real.features)
    kid_more = kernel_estimate(ours, real.features) - kid
    coverage, other = (
        manifold_estimates(side, real.features)["coverage"] for side in (theirs, ours)
    )
    losses = {
        "kid": _loss(kid_more, config.max_kid_increase * abs(kid.value)),
        "coverage": _loss(coverage - other, config.max_coverage_loss),
    }
    if candidate.authenticity and champion.authenticity:
        lost = champion.authenticity(firsts[1]) - candidate.authenticity(firsts[0])
        losses["authenticity"] = _loss(lost, config.max_authenticity_loss)
    if candidate.gap and champion.gap:
        margin = config.max_gap_increase * fid
        losses["batch_norm_gap"] = _gap_loss(candidate.gap, champion.gap, margin)
    return losses


def _loss(lost: Estimate, margin: float) -> dict[str, Any]:
    return _loss_record(lost.value, margin, lost.bound(1 - LEVEL))


def _gap_loss(candidate: Gap, champion: Gap, margin: float) -> dict[str, Any]:
    """Compare the gaps by Student's t of two samples; each has a gap per evaluation seed."""
    more = abs(candidate.mean) - abs(champion.mean)
    error = math.hypot(candidate.standard_error, champion.standard_error)
    reach = student_t(2 * (len(EVALUATION_SEEDS) - 1), LEVEL)
    return _loss_record(more, margin, more - reach * error)


def _loss_record(value: float, margin: float, least: float) -> dict[str, Any]:
    """Return a loss, its margin, and whether it is beyond it; ``least`` is its lower bound."""
    return {"loss": value, "margin": margin, "worse": not value <= margin and not least <= 0}
