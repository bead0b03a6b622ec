"""The promotion gate: compare candidate and champion on the same images and fresh latents.

A candidate wins if three things hold. Its distance from real images is lower beyond chance, by enough.
A second space, which has another training signal, rules out that it is worse by more than a margin. No
veto refuses it beyond chance. The first two must both hold, so that neither needs a correction
(intersection-union test, Berger 1982); vetoes share one level by Holm's procedure.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bngan.metrics.features import ExtractorKind, Features
from bngan.metrics.fid import frechet_estimate
from bngan.metrics.kid import kernel_estimate
from bngan.metrics.precision_recall import manifold_estimates
from bngan.metrics.second_space import SecondSpace
from pipeline.config.schema import RegisterConfig
from pipeline.evaluation.vetoes import VETOES, Draw, GateCandidate, Scores, mean_score, vetoes_of
from pipeline.registry.aliases import Verdict

LEVEL, EARLY_LEVEL = 0.95, 0.999
"""One-sided confidence that the candidate is better: after all draws, and at early looks."""
LOOKS = (32, 8, 2)
"""The early looks come after 1 / 32, 1 / 8 and 1 / 2 of the draws."""
_FUTILE = 0.1
_FAST = ("classifier", "random")
"""Kinds of features that take a tenth of the time of others."""
_MANY, _FEW = 320_000, 100_000
"""Most images of a generator by default, with fast and with slow features."""


class Contest(NamedTuple):
    """Distances of both generators by one space, and the champion's advantage."""

    candidate: float
    champion: float
    difference: float
    upper_bound: float
    """Upper bound of the difference; the candidate is better beyond chance if it is below 0."""
    lower_bound: float


def judge(
    config: RegisterConfig,
    real: Features,
    space: SecondSpace,
    candidate: GateCandidate,
    champion: GateCandidate,
    draws: int,
) -> Verdict:
    """Return whether the candidate replaces the champion, why, and the numbers.

    Early looks decide clear and hopeless cases. Their level is so strict that the last look needs no
    correction (Haybittle 1971). What is not clear after all draws is refused.

    Args:
        config: margins.
        real: features of real images that neither generator has seen.
        space: the second space, with such images too.
        candidate: the new generator.
        champion: the present one.
        draws: most draws, as ``most_draws`` returns.
    """
    sides = candidate, champion
    scores: tuple[list[Scores], list[Scores]] = ([], [])
    while True:
        taken = [side.draw(len(scores[0])) for side in sides]
        for side, draw, found in zip(sides, taken, scores, strict=True):
            found.append(_scores(side, draw, real, space))
        images, number = len(taken[0].features.features), len(scores[0])
        if number == draws:
            return _verdict(config, _details(config, space, images, sides, scores, LEVEL))
        if number in {max(draws // part, 1) for part in LOOKS}:
            early = _details(config, space, images, sides, scores, EARLY_LEVEL)
            if _is_hopeless(early, scores) or _is_clear(config, early):
                return _verdict(config, early)


def most_draws(config: RegisterConfig, kind: ExtractorKind, images: int) -> int:
    """Return the most draws of so many images that the gate takes, with features of a kind."""
    most = config.max_images or (_MANY if kind in _FAST else _FEW)
    return max(min(config.draws, most // images), 1)


def _scores(side: GateCandidate, draw: Draw, real: Features, space: SecondSpace) -> Scores:
    ours, theirs = draw.features.features, real.features
    scores = {
        "fid": frechet_estimate(ours, theirs),
        "kid": kernel_estimate(ours, theirs),
        "coverage": manifold_estimates(ours, theirs)["coverage"],
        "second": space.distance(draw.second),
    }
    if side.copies:
        scores |= side.copies(ours)._asdict()
    return scores


def _contest(scores: Sequence[Sequence[Scores]], name: str, level: float) -> Contest:
    ours, theirs = (mean_score(side, name) for side in scores)
    difference = ours - theirs
    return Contest(
        ours.value,
        theirs.value,
        difference.value,
        difference.bound(level),
        difference.bound(1 - level),
    )


def _details(
    config: RegisterConfig,
    space: SecondSpace,
    images: int,
    sides: tuple[GateCandidate, GateCandidate],
    scores: tuple[Sequence[Scores], Sequence[Scores]],
    level: float,
) -> dict[str, Any]:
    """Return the numbers of a decision in JSON values; draws have so many ``images`` each."""
    second = _contest(scores, "second", level)
    # A space that training has used judges no more: the other one takes its place.
    used = any(side.trained_on_features for side in sides)
    return {
        "metric": "second" if used else "fid",
        **(second if used else _contest(scores, "fid", level))._asdict(),
        "level": level,
        "draws": len(scores[0]),
        "images": len(scores[0]) * images,
        "second": {
            "label": space.label,
            **second._asdict(),
            "margin": config.max_second_increase * second.champion,
        },
        "vetoes": vetoes_of(config, sides, scores, used),
    }


def _verdict(config: RegisterConfig, details: dict[str, Any]) -> Verdict:
    shortfall = _shortfall(config, details)
    second = details["second"]
    name = "FID" if details["metric"] == "fid" else second["label"]
    values = f"{name} {details['candidate']:.4g} against {details['champion']:.4g}"
    return Verdict(shortfall is None, f"{shortfall or 'better'}: {values}", details)


def _shortfall(config: RegisterConfig, details: dict[str, Any]) -> str | None:
    """Return why the candidate does not become champion; None if it does."""
    second = details["second"]
    numbers = f"{second['label']} ({_numbers(second, 'champion')})"
    if not details["difference"] < 0:
        return "not better"
    if second["lower_bound"] > second["margin"]:
        return f"worse by {numbers}"
    if not details["upper_bound"] < 0:
        return "undecided, the difference may be chance"
    if not details["difference"] <= -config.min_improvement * details["champion"]:
        return f"better by less than register.min_improvement={config.min_improvement:.3g}"
    if not second["upper_bound"] < second["margin"]:
        return f"undecided, perhaps worse by {numbers}"
    losses = details["vetoes"].items()
    if lost := [
        f"{VETOES[name]} ({_numbers(loss, 'against')})" for name, loss in losses if loss["worse"]
    ]:
        return f"worse by {', '.join(lost)}"
    return None


def _numbers(pair: Mapping[str, Any], other: str) -> str:
    return f"{pair['candidate']:.3g} against {pair[other]:.3g}"


def _is_hopeless(details: Mapping[str, Any], scores: Sequence[Sequence[Scores]]) -> bool:
    """Return whether more draws are useless: hardly better, or surely worse elsewhere."""
    ours, theirs = (mean_score(side, details["metric"]) for side in scores)
    second = details["second"]
    return (ours - theirs).bound(_FUTILE) > 0 or second["lower_bound"] > second["margin"]


def _is_clear(config: RegisterConfig, details: dict[str, Any]) -> bool:
    """Return whether a candidate wins so surely that no loss needs a closer look."""
    losses = details["vetoes"].values()
    return _shortfall(config, details) is None and all(
        loss["loss"] <= loss["margin"] for loss in losses
    )
