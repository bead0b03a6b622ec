"""Intervals hold what they promise, and the bootstrap would not."""

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from bngan.metrics.fid import frechet_distance, frechet_estimate
from bngan.metrics.jackknife import (
    GROUPS,
    Estimate,
    average,
    group_slices,
    holm,
    leave_groups_out,
    p_above,
)

DIM, COUNT = 8, 400


def normal(seed: int, count: int = COUNT, dim: int = DIM, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1, (count, dim)).astype(np.float32)


def test_groups_cover_everything_once() -> None:
    for count in (20, 41, 399, 10_000):
        covered = np.concatenate([np.arange(count)[part] for part in group_slices(count)])
        np.testing.assert_array_equal(covered, np.arange(count))
        assert len(group_slices(count)) == GROUPS
    with pytest.raises(ValueError, match="needs 20 images on each side, got 19"):
        group_slices(19)


def test_of_a_mean_the_jackknife_knows_the_standard_error() -> None:
    samples = normal(0, 4000, 1)
    values = leave_groups_out(lambda some: float(some.mean()), samples)
    estimate = Estimate(float(samples.mean()), {"fake": values})
    assert estimate.standard_error == pytest.approx(1 / np.sqrt(4000), rel=0.4)
    low, high = estimate.interval()
    assert (low + high) / 2 == pytest.approx(estimate.value)


def test_what_two_scores_share_cancels_in_their_difference() -> None:
    shared, own = normal(1, GROUPS, 2).T
    one = Estimate(3.0, {"real": 3.0 + shared, "fake": 3.0 + own})
    other = Estimate(1.0, {"real": 1.0 + shared, "fake": 1.0 + own})
    assert (one - other).value == 2.0
    assert (one - other).standard_error == pytest.approx(0, abs=1e-6)
    apart = one - Estimate(1.0, {"real": 1.0 + shared, "other fake": 1.0 + own})
    assert apart.standard_error == pytest.approx(np.sqrt(2 * 19 * np.var(own)), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("shift", [0.0, 0.15, 1.0], ids=["same", "near", "far"])
def test_intervals_cover_the_expected_distance(shift: float) -> None:
    pairs = [(normal(2 * i, shift=shift), normal(2 * i + 1)) for i in range(400)]
    found = [frechet_estimate(*pair) for pair in pairs]
    expected = np.mean([estimate.value for estimate in found])
    inside = [low <= expected <= high for low, high in (e.interval() for e in found)]
    assert np.mean(inside) >= 0.93
    # And not by being wide: the error told is the error made.
    told = np.mean([estimate.standard_error for estimate in found])
    assert told < 2 * np.std([estimate.value for estimate in found])


def test_why_there_is_no_bootstrap() -> None:
    fake, real, random = normal(0), normal(1), np.random.default_rng(2)
    distance = frechet_distance(fake, real)
    again = [frechet_distance(fake[random.integers(COUNT, size=COUNT)], real) for _ in range(200)]
    assert np.mean(again) > 1.3 * distance
    assert np.quantile(again, 0.025) > distance  # its interval does not hold the estimate itself


def test_a_p_value_is_the_tail_of_students_t() -> None:
    values = np.random.default_rng(0).normal(0.3, 1, 20)
    expected = ttest_1samp(values, 0.1, alternative="greater").pvalue
    error = values.std(ddof=1) / np.sqrt(20)
    assert p_above(values.mean() - 0.1, error, 19) == pytest.approx(expected)
    without = (values.sum() - values) / 19
    estimate = Estimate(float(values.mean()), {"fake": without})
    assert estimate.p_above(0.1) == pytest.approx(expected)
    assert [p_above(value, 0.0, 19) for value in (-1, 0, 1, float("nan"))] == [1, 1, 0, 0]


def test_holm_rejects_step_by_step() -> None:
    names = "abcd"
    assert holm(dict(zip(names, (0.01, 0.04, 0.03, 0.005), strict=True)), 0.05) == {"a", "d"}
    assert holm(dict(zip(names, (0.0125, 0.016, 0.02, 0.05), strict=True)), 0.05) == set(names)
    assert holm(dict(zip(names, (0.013, 0.0, 0.0, 0.9), strict=True)), 0.05) == {"a", "b", "c"}
    assert holm({"a": 0.02, "b": 0.03}, 0.03) == set()
    assert holm({}, 0.05) == set()


def test_an_average_knows_what_its_draws_share() -> None:
    real, own = np.random.default_rng(0).normal(0, 1, (2, 20))
    draws = [Estimate(2.0, {"real": 2.0 + real, "fake": 2.0 + own}) for _ in range(4)]
    mean = average(draws)
    assert mean.value == 2.0
    np.testing.assert_allclose(mean.without["real"], 2.0 + real)
    parts = 19 * np.var(real), 19 * np.var(own) / 4
    assert mean.standard_error == pytest.approx(np.sqrt(sum(parts)))


def test_many_draws_show_their_own_spread() -> None:
    """Draws that both sides share cancel in a difference."""
    real = normal(0, 60)
    draws = [frechet_estimate(normal(n + 1, 60, shift=0.3), real) for n in range(40)]
    mean = average(draws)
    spread = np.std([draw.value for draw in draws], ddof=1) / np.sqrt(40)
    by_draws = np.sqrt((GROUPS - 1) * np.var(mean.without["draws"]))
    assert by_draws == pytest.approx(spread, rel=0.5)
    assert set(mean.without) == {"draws", "real"}
    shifted = [Estimate(d.value + 1, {n: x + 1 for n, x in d.without.items()}) for d in draws]
    difference = average(shifted) - mean
    assert difference.value == pytest.approx(1)
    assert difference.standard_error == pytest.approx(0, abs=1e-12)


def test_the_mean_of_draws_has_the_error_that_is_told() -> None:
    random = np.random.default_rng(5)
    found = []
    for _ in range(300):
        values = random.normal(3, 1, 60)
        found.append(average([Estimate(float(v), {"fake": np.full(GROUPS, v)}) for v in values]))
    assert np.std([mean.value for mean in found]) == pytest.approx(1 / np.sqrt(60), rel=0.1)
    assert np.mean([mean.standard_error for mean in found]) == pytest.approx(
        1 / np.sqrt(60), rel=0.1
    )
