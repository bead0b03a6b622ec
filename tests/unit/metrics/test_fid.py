"""The Frechet distance."""

import numpy as np
import pytest
from torch_fidelity.metric_fid import fid_statistics_to_metric

from bngan.metrics.fid import (
    expected_bias,
    frechet_distance,
    frechet_estimate,
    frechet_limit,
    moments,
)
from bngan.metrics.jackknife import leave_groups_out
from tests.unit.metrics.test_jackknife import normal
from tests.unit.metrics.test_scores import features


def test_gaussians_with_a_known_distance() -> None:
    a, b = features(200_000, 2, 0), features(200_000, 2, 1, shift=1.0, scale=2.0)
    # |mu|^2 = 2, and each of two axes adds (1 - 2)^2.
    assert frechet_distance(a, b) == pytest.approx(4.0, rel=0.02)


@pytest.mark.parametrize(("count", "dim"), [(500, 8), (20, 64)], ids=["n>d", "n<d"])
def test_frechet_distance_agrees_with_torch_fidelity(count: int, dim: int) -> None:
    a, b = features(count, dim, 0), features(count, dim, 1, 0.3, 1.5)
    statistics = [{"mu": x.mean(0), "sigma": np.cov(x, rowvar=False)} for x in (a, b)]
    expected = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-5)


def test_frechet_distance_of_a_set_to_itself_is_zero() -> None:
    a = features(100, 10, 0)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (np.zeros((5, 2)), np.zeros((5, 3)), "one d"),
        (np.zeros((1, 2)), np.zeros((5, 2)), "two samples"),
        (np.full((5, 2), np.nan), np.zeros((5, 2)), "finite"),
    ],
)
def test_bad_features_are_refused(a: np.ndarray, b: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        frechet_distance(a, b)


def test_leaving_a_group_out_of_the_moments_is_computing_them_anew() -> None:
    fake, real = normal(2, 130, 5), normal(3, 90, 5, 0.4)
    estimate = frechet_estimate(fake, real)
    assert estimate.value == pytest.approx(frechet_distance(fake, real), rel=1e-9)
    for name, left in (
        ("fake", lambda x: frechet_distance(x, real)),
        ("real", lambda x: frechet_distance(fake, x)),
    ):
        samples = fake if name == "fake" else real
        np.testing.assert_allclose(
            estimate.without[name], leave_groups_out(left, samples), rtol=1e-9
        )


@pytest.mark.parametrize(("dim", "count"), [(64, 1000), (16, 1000), (32, 3000)])
def test_the_distance_of_one_distribution_follows_the_bias_formula(dim: int, count: int) -> None:
    pairs = [(normal(2 * i, count, dim), normal(2 * i + 1, count, dim)) for i in range(60)]
    measured = np.mean([frechet_distance(*pair) for pair in pairs])
    assert measured == pytest.approx(expected_bias(np.eye(dim), count, count), rel=0.05)
    assert expected_bias(np.eye(dim), count, count) == pytest.approx((dim**2 + 5 * dim) / 2 / count)


def test_the_bias_formula_holds_for_unequal_axes_and_counts() -> None:
    axes = np.array([3.0, 1.0, 0.5, 0.1])
    pairs = [(normal(2 * i, 500, 4) * axes, normal(2 * i + 1, 2000, 4) * axes) for i in range(300)]
    measured = np.mean([frechet_distance(*pair) for pair in pairs])
    assert measured == pytest.approx(expected_bias(np.diag(axes**2), 500, 2000), rel=0.05)
    assert expected_bias(moments(pairs[0][1]).covariance, 500, 2000) == pytest.approx(
        measured, rel=0.1
    )


def test_the_limit_is_the_intercept_over_sizes() -> None:
    a, b = features(300, 6, 0, 0.4) + 20, features(310, 6, 1) + 20
    sizes = np.linspace(100, 300, 15).astype(int)
    distances = [frechet_distance(a[:size], b[:size]) for size in sizes]
    assert frechet_limit(a, b) == pytest.approx(np.polyfit(1 / sizes, distances, 1)[1], rel=1e-7)


def test_the_limit_is_nearer_to_the_truth_than_any_number_of_images() -> None:
    pairs = [(normal(2 * i, 2000, 32, 0.1), normal(2 * i + 1, 2000, 32)) for i in range(20)]
    truth = 32 * 0.1**2
    limits = [frechet_limit(*pair) for pair in pairs]
    assert np.mean(limits) == pytest.approx(truth, abs=0.03)
    assert np.mean([frechet_distance(*pair) for pair in pairs]) > truth + 0.2
