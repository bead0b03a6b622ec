"""Only what is better beyond chance, by enough, and not at another's cost becomes champion."""

from typing import Any

import numpy as np
import pytest

from bngan.metrics.features import Features
from bngan.metrics.jackknife import GROUPS, Estimate, average
from pipeline.config.schema import RegisterConfig
from pipeline.evaluation.promotion import Gap, GateCandidate, judge

DIM, COUNT = 6, 500
CONFIG = RegisterConfig("model", draws=2)


def features(seed: int, shift: float = 0.0, count: int = COUNT) -> Features:
    values = np.random.default_rng(seed).normal(0, 1, (count, DIM)).astype(np.float32)
    values[:, 0] += shift
    return Features(values, np.zeros((count, 0), np.float32))


REAL = features(0)


def share(value: float, images: int = COUNT) -> Estimate:
    """An authenticity, with the chance error of a share of so many images."""
    error = np.sqrt(value * (1 - value) / images)
    signs = np.resize([1, -1], GROUPS)
    return Estimate(value, {f"{value} of {images}": value + signs * error / np.sqrt(GROUPS - 1)})


def contender(
    seed: int, shift: float, authenticity: Estimate | None = None, gap: Gap | None = None
) -> GateCandidate:
    known = None if authenticity is None else lambda features: authenticity
    return GateCandidate(lambda number: features(seed + number, shift), known, gap)


def test_a_better_one_is_promoted_with_the_numbers() -> None:
    verdict = judge(CONFIG, REAL, contender(10, 0.2), contender(10, 1.0))
    assert verdict.promote
    assert verdict.reason.startswith("better: FID ")
    told = verdict.details
    assert told["candidate"] < told["champion"]
    assert told["difference"] <= told["upper_bound"] < 0
    assert (told["draws"], told["images"], told["level"]) == (1, COUNT, 0.999)  # clear at once
    assert set(told["second_opinions"]) == {"kid", "coverage"}


@pytest.mark.parametrize("shift", [0.5, 1.0])
def test_an_equal_or_worse_one_stays_challenger(shift: float) -> None:
    verdict = judge(CONFIG, REAL, contender(20, shift), contender(30, 0.5))
    assert not verdict.promote
    assert verdict.reason.startswith("not better beyond chance: FID ")
    assert verdict.details["draws"] == (2 if shift == 0.5 else 1)


def test_a_difference_that_is_sure_but_small_is_not_worth_it() -> None:
    config = RegisterConfig("model", min_improvement=0.9)
    verdict = judge(config, REAL, contender(10, 0.6), contender(10, 1.0))
    assert not verdict.promote
    assert "register.min_improvement=0.9" in verdict.reason


def test_what_is_not_a_number_does_not_win() -> None:
    spoilt = features(10)
    spoilt.features[0, 0] = np.nan
    with pytest.raises(ValueError, match="finite"):
        judge(CONFIG, REAL, GateCandidate(lambda number: spoilt), contender(30, 1.0))
    unknown, known = (
        contender(10 * number, 0.0, authenticity=share(value))
        for number, value in enumerate((float("nan"), 0.5), 1)
    )
    champion = contender(30, 1.0, authenticity=share(0.5))
    assert "authenticity" in judge(CONFIG, REAL, unknown, champion).reason
    assert judge(CONFIG, REAL, known, champion).promote
    nan = Estimate(float("nan"), {"fake": np.full(20, np.nan)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.evaluation.promotion.frechet_estimate", lambda *args: nan)
        assert not judge(CONFIG, REAL, contender(10, 0.0), contender(30, 1.0)).promote


@pytest.mark.parametrize(
    ("ours", "theirs", "named"),
    [
        ({"authenticity": share(0.3)}, {"authenticity": share(0.5)}, "authenticity"),
        ({"gap": Gap(-2.0, 0.1)}, {"gap": Gap(0.1, 0.1)}, "batch_norm_gap"),
    ],
)
def test_a_second_opinion_can_refuse(
    ours: dict[str, Any], theirs: dict[str, Any], named: str
) -> None:
    verdict = judge(CONFIG, REAL, contender(10, 0.0, **ours), contender(10, 1.0, **theirs))
    assert not verdict.promote
    assert f"worse by {named}" in verdict.reason
    assert judge(CONFIG, REAL, contender(10, 0.0, **theirs), contender(10, 1.0, **ours)).promote


@pytest.mark.parametrize(
    ("ours", "theirs", "named"),
    [
        ({"authenticity": share(0.3, 20)}, {"authenticity": share(0.5, 20)}, "authenticity"),
        ({"gap": Gap(-2.0, 1.0)}, {"gap": Gap(0.1, 0.1)}, "batch_norm_gap"),
    ],
)
def test_a_loss_that_may_be_chance_does_not_refuse(
    ours: dict[str, Any], theirs: dict[str, Any], named: str
) -> None:
    verdict = judge(CONFIG, REAL, contender(10, 0.0, **ours), contender(10, 1.0, **theirs))
    told = verdict.details["second_opinions"][named]
    assert verdict.promote
    assert told["loss"] > told["margin"]


def test_lower_fid_at_the_cost_of_coverage_is_refused() -> None:
    """A few images again and again, whose mean and covariance are nearly right."""
    few = features(0).features[:60]
    chosen = np.random.default_rng(1).integers(60, size=COUNT)
    copies = Features(few[chosen], np.zeros((COUNT, 0), np.float32))
    verdict = judge(CONFIG, REAL, GateCandidate(lambda number: copies), contender(30, 1.5))
    assert not verdict.promote
    assert "worse by coverage" in verdict.reason


@pytest.mark.slow
def test_equal_generators_are_rarely_promoted() -> None:
    config = RegisterConfig("model", max_coverage_loss=1, max_kid_increase=100)
    wins = sum(
        judge(config, REAL, contender(100 + 4 * i, 0.5), contender(102 + 4 * i, 0.5)).promote
        for i in range(60)
    )
    assert wins <= 7  # 5 %, and chance


def test_an_average_knows_what_its_draws_share() -> None:
    real, own = np.random.default_rng(0).normal(0, 1, (2, 20))
    draws = [Estimate(2.0, {"real": 2.0 + real, "fake": 2.0 + own}) for _ in range(4)]
    mean = average(draws)
    assert mean.value == 2.0
    np.testing.assert_allclose(mean.without["real"], 2.0 + real)
    parts = 19 * np.var(real), 19 * np.var(own) / 4
    assert mean.standard_error == pytest.approx(np.sqrt(sum(parts)))
