"""Only what is better beyond chance, by enough, and not at another's cost becomes champion."""

import math
from typing import Any

import numpy as np
import pytest
import scipy.stats

from bngan.metrics.features import Features
from bngan.metrics.jackknife import GROUPS, Estimate
from bngan.metrics.memorization import CopyDetector, Copying
from bngan.metrics.second_space import SecondSpace
from pipeline.config.schema import RegisterConfig
from pipeline.evaluation import promotion
from pipeline.evaluation.promotion import judge, most_draws
from pipeline.evaluation.vetoes import Draw, Gap, GateCandidate
from pipeline.registry.aliases import Verdict

DIM, COUNT = 6, 500
CONFIG = RegisterConfig("model")


def features(seed: int, shift: float = 0.0, count: int = COUNT) -> Features:
    values = np.random.default_rng(seed).normal(0, 1, (count, DIM)).astype(np.float32)
    values[:, 0] += shift
    return Features(values, np.zeros((count, 0), np.float32))


def images(seed: int, contrast: float = 1.0, count: int = 100) -> np.ndarray:
    random = np.random.default_rng(seed).normal(0, 40 * contrast, (count, 4, 4, 1))
    return (128 + random).round().clip(0, 255).astype(np.uint8)


REAL = features(0)
SPACE = SecondSpace(images(0))


def contender(
    seed: int, shift: float, contrast: float = 0.5, gap: Gap | None = None, **more: Any
) -> GateCandidate:
    """A generator whose features are off by ``shift``, and whose images have less contrast."""

    def draw(number: int) -> Draw:
        return Draw(features(seed + number, shift), images(seed + number, contrast))

    return GateCandidate(draw, gap=gap, **more)


def decide(
    candidate: GateCandidate,
    champion: GateCandidate,
    config: RegisterConfig = CONFIG,
    draws: int = 2,
) -> Verdict:
    return judge(config, REAL, SPACE, candidate, champion, draws)


def test_a_better_one_is_promoted_with_the_numbers() -> None:
    verdict = decide(contender(10, 0.2), contender(10, 1.0))
    assert verdict.promote
    assert verdict.reason.startswith("better: FID ")
    told = verdict.details
    assert told["candidate"] < told["champion"]
    assert told["difference"] <= told["upper_bound"] < 0
    assert (told["draws"], told["images"], told["level"]) == (1, COUNT, 0.999)  # clear at once
    assert set(told["vetoes"]) == {"kid", "coverage"}
    assert told["second"]["upper_bound"] < told["second"]["margin"]


@pytest.mark.parametrize(
    ("shift", "reason", "draws"), [(0.48, "undecided", 2), (0.52, "not better", 2), (1, "not", 1)]
)
def test_what_is_not_surely_better_stays_challenger(shift: float, reason: str, draws: int) -> None:
    verdict = decide(contender(20, shift), contender(30, 0.5))
    assert not verdict.promote
    assert verdict.reason.startswith(reason)
    assert verdict.details["draws"] == draws


@pytest.mark.parametrize(
    ("limit", "kind", "images", "draws"),
    [
        (None, "classifier", 10_000, 32),
        (None, "classifier", 20_000, 16),
        (None, "imagenet", 10_000, 10),
        (None, "imagenet", 300, 256),
        (1499, "imagenet", 500, 2),
        (10, "imagenet", 500, 1),
    ],
)
def test_images_have_a_limit(limit: int | None, kind: Any, images: int, draws: int) -> None:
    assert most_draws(RegisterConfig("model", max_images=limit), kind, images) == draws


def test_a_difference_that_is_sure_but_small_is_not_worth_it() -> None:
    config = RegisterConfig("model", min_improvement=0.9)
    verdict = decide(contender(10, 0.6), contender(10, 1.0), config)
    assert not verdict.promote
    assert "register.min_improvement=0.9" in verdict.reason


@pytest.mark.parametrize(
    ("contrast", "reason"), [(0.3, "worse by"), (0.473, "undecided, perhaps worse by")]
)
def test_the_second_space_must_agree(contrast: float, reason: str) -> None:
    assert decide(contender(10, 0.2), contender(10, 1.0), draws=1).promote
    verdict = decide(contender(10, 0.2, contrast), contender(10, 1.0), draws=1)
    assert not verdict.promote
    assert verdict.reason.startswith(f"{reason} the pyramid's sliced distance (")
    assert verdict.details["second"]["upper_bound"] >= verdict.details["second"]["margin"]


def test_a_space_that_training_has_used_does_not_judge() -> None:
    """Neither for the candidate nor for the champion."""
    worse, better = contender(10, 1.0, 0.8), contender(10, 0.2, 0.5)
    assert not decide(worse, better).promote
    for used in (True, False):
        candidate = contender(10, 1.0, 0.8, trained_on_features=used)
        champion = contender(10, 0.9, 0.5, trained_on_features=not used)
        verdict = decide(candidate, champion)
        assert verdict.promote
        assert verdict.reason.startswith("better: the pyramid's sliced distance ")
        assert verdict.details["vetoes"] == {}  # KID and coverage are of the same features
        assert not decide(champion, candidate).promote


def test_what_is_not_a_number_does_not_win(monkeypatch: pytest.MonkeyPatch) -> None:
    spoilt = features(10)
    spoilt.features[0, 0] = np.nan
    with pytest.raises(ValueError, match="finite"):
        decide(GateCandidate(lambda number: Draw(spoilt, images(1))), contender(30, 1.0))
    nan = Estimate(float("nan"), {"fake": np.full(GROUPS, np.nan)})
    monkeypatch.setattr(promotion, "frechet_estimate", lambda *args: nan)
    assert not decide(contender(10, 0.0), contender(30, 1.0)).promote


def share(value: float, count: int = COUNT) -> Estimate:
    """The chance error of a share of so many images."""
    error = np.sqrt(value * (1 - value) / count)
    signs = np.resize([1, -1], GROUPS)
    return Estimate(value, {f"{value} of {count}": value + signs * error / np.sqrt(GROUPS - 1)})


AUTHENTIC = {"real_authenticity": share(0.5, 10**6), "copy_share": share(0.01)}


class Known(CopyDetector):
    """Estimates that are known, beside so many real images."""

    def __init__(self, copying: Copying, count: int = 2000) -> None:
        self.copying, self.count, self.rank = copying, count, math.ceil(count / 100)
        self.real_authenticity = copying.real_authenticity

    def __call__(self, fake: np.ndarray) -> Copying:
        return self.copying


def copies(ours: Copying, theirs: Copying | None) -> Verdict:
    """The verdict on a better candidate with these copies of its training images."""
    champion = None if theirs is None else Known(theirs)
    return decide(contender(10, 0.0, copies=Known(ours)), contender(10, 1.0, copies=champion))


@pytest.mark.parametrize(
    ("ours", "theirs", "promoted"),
    [
        (share(0.46), share(0.99), True),  # as authentic as real images
        (share(0.44), share(0.99), True),  # less, perhaps by chance
        (share(0.30), share(0.99), False),
        (share(0.30), None, False),
        (share(0.30), share(0.31), True),  # less, but not less than the champion
        (share(float("nan")), share(0.5), False),
    ],
)
def test_authenticity_is_held_against_real_images_first(
    ours: Estimate, theirs: Estimate | None, promoted: bool
) -> None:
    champion = theirs and Copying(theirs, **AUTHENTIC)
    verdict = copies(Copying(ours, **AUTHENTIC), champion)
    assert verdict.promote == promoted
    if not promoted:
        assert verdict.reason.startswith(f"worse by authenticity ({ours.value:.3g} against 0.5)")


@pytest.mark.parametrize(("copied", "promoted"), [(0.015, True), (0.025, True), (0.06, False)])
def test_copies_are_refused_beyond_chance(copied: float, promoted: bool) -> None:
    ours = Copying(share(0.5), **{**AUTHENTIC, "copy_share": share(copied)})
    verdict = copies(ours, Copying(share(0.5), **AUTHENTIC))
    assert verdict.promote == promoted
    assert ("worse by copies of training images (0.06 against 0.02)" in verdict.reason) == (
        not promoted
    )


@pytest.mark.parametrize(("error", "promoted"), [(0.1, False), (2.0, True)])
def test_the_gap_of_batch_norm_is_a_veto_beyond_chance(error: float, promoted: bool) -> None:
    candidate = contender(10, 0.0, gap=Gap(-2.0, error))
    verdict = decide(candidate, contender(10, 1.0, gap=Gap(0.1, 0.1)))
    told = verdict.details["vetoes"]["batch_norm_gap"]
    assert told["loss"] == pytest.approx(1.9)
    assert told["margin"] < 1.9
    assert verdict.promote == promoted
    assert ("worse by the batch-norm gap (2 against 0.1)" in verdict.reason) == (not promoted)


def test_vetoes_share_their_level() -> None:
    """A p-value of 0.02 refuses among two vetoes, but not among five."""
    gap = Gap(0.1, 0.1)
    at_limit = p_quantile(0.02, 4)
    ours = Gap(0.1 + at_limit * math.hypot(0.1, 0.1), 0.1)
    config = RegisterConfig("model", max_gap_increase=0)
    few = decide(contender(10, 0.0, gap=ours), contender(10, 1.0, gap=gap), config)
    assert few.details["vetoes"]["batch_norm_gap"]["p_value"] == pytest.approx(0.02)
    assert few.promote  # 0.05 / 3 is less
    ours = Gap(0.1 + p_quantile(0.016, 4) * math.hypot(0.1, 0.1), 0.1)
    assert not decide(contender(10, 0.0, gap=ours), contender(10, 1.0, gap=gap), config).promote
    known = Known(Copying(share(0.5), **AUTHENTIC))
    five = contender(10, 0.0, gap=ours, copies=known)
    assert decide(five, contender(10, 1.0, gap=gap, copies=known), config).promote


def p_quantile(p_value: float, degrees: int) -> float:
    return float(scipy.stats.t.isf(p_value, degrees))


@pytest.mark.parametrize(
    ("shift", "draws", "taken"),
    [(0.8, 64, 2), (0.2, 64, 8), (0.44, 64, 32), (0.5, 64, 64), (0.8, 7, 1)],
)
def test_early_looks_decide_clear_and_hopeless_cases(shift: float, draws: int, taken: int) -> None:
    verdict = decide(contender(100, shift), contender(300, 0.5), draws=draws)
    assert verdict.details["draws"] == taken
    assert verdict.details["level"] == (0.95 if taken == draws else 0.999)


def test_lower_fid_at_the_cost_of_coverage_is_refused() -> None:
    """A few images again and again, whose mean and covariance are nearly right."""
    few = features(0).features[:60]
    chosen = np.random.default_rng(1).integers(60, size=COUNT)
    repeated = Features(few[chosen], np.zeros((COUNT, 0), np.float32))
    verdict = decide(GateCandidate(lambda number: Draw(repeated, images(1))), contender(30, 1.5))
    assert not verdict.promote
    assert "worse by coverage" in verdict.reason


@pytest.mark.slow
def test_equal_generators_are_rarely_promoted() -> None:
    config = RegisterConfig(
        "model", max_coverage_loss=1, max_kid_increase=100, max_second_increase=10
    )
    wins = sum(
        decide(contender(100 + 4 * i, 0.5), contender(102 + 4 * i, 0.5), config).promote
        for i in range(60)
    )
    assert wins <= 7  # 5 %, and chance
