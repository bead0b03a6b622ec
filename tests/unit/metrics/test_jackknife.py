"""Intervals hold what they promise, and the bootstrap would not."""

import json

import numpy as np
import pytest

from bngan.metrics.classifier import untrained_extractor
from bngan.metrics.evaluation import BETTER, Reference, compare, evaluation
from bngan.metrics.features import Features
from bngan.metrics.fid import (
    expected_bias,
    frechet_distance,
    frechet_estimate,
    frechet_limit,
    moments,
)
from bngan.metrics.jackknife import GROUPS, Estimate, group_slices, leave_groups_out
from bngan.metrics.protocol import Protocol
from bngan.metrics.scores import interval_scores
from pipeline.reports.tables import LABELS, score_rows

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


def test_the_limit_is_nearer_to_the_truth_than_any_number_of_images() -> None:
    pairs = [(normal(2 * i, 2000, 32, 0.1), normal(2 * i + 1, 2000, 32)) for i in range(20)]
    truth = 32 * 0.1**2
    limits = [frechet_limit(*pair) for pair in pairs]
    assert np.mean(limits) == pytest.approx(truth, abs=0.03)
    assert np.mean([frechet_distance(*pair) for pair in pairs]) > truth + 0.2


def features(samples: np.ndarray) -> Features:
    return Features(samples, samples[:, :3])


@pytest.fixture
def reference() -> Reference:
    extractor = untrained_extractor((1, 8, 8), 3)
    protocol = Protocol.parse(f"fid{COUNT}_test")
    return Reference(protocol, extractor, features(normal(0)), {"count": 100.0, "fid": 0.2})


def test_a_record_says_all_about_its_scores(reference, tmp_path) -> None:
    fakes = {0: features(normal(1)), 1: features(normal(2))}
    record = evaluation(reference, fakes, train=normal(3))
    assert record["protocol"] == {
        "name": "fid400_test",
        "count": 400,
        "split": "test",
        "seeds": [0, 1],
    }
    assert record["scores"]["fid"] == record["seeds"]["0"] != record["seeds"]["1"]
    for name in (*BETTER, "authenticity"):
        low, high = record["intervals"][name]
        assert low <= record["scores"][name] <= high
    assert abs(record["scores"]["data_copying"]) < 3
    assert record["scores"]["authenticity"] == pytest.approx(
        record["floor"]["authenticity"], abs=0.1
    )
    reference.save(tmp_path)
    again = evaluation(Reference.load(tmp_path), fakes, train=normal(3))
    assert {**again, "extractor": None} == {**record, "extractor": None}


def test_what_too_few_images_cannot_tell_is_left_out_of_the_record(reference) -> None:
    few = reference.smaller(Protocol.parse("fid60_test"))
    record = evaluation(few, {0: features(normal(1, 60))}, train=normal(3))
    json.dumps(record, allow_nan=False)
    assert "data_copying" not in record["scores"]
    labels = [label for label, *_ in score_rows(record)]
    assert LABELS["authenticity"] in labels
    assert LABELS["data_copying"] not in labels


def test_a_smaller_protocol_takes_the_first_of_the_real_images(reference) -> None:
    smaller = reference.smaller(Protocol.parse("fid50_test"))
    np.testing.assert_array_equal(smaller.real.features, reference.real.features[:50])
    assert reference.smaller(reference.protocol) is reference
    for name in ("fid401_test", "fid50_select"):
        with pytest.raises(ValueError, match=f"{name} cannot be measured here"):
            reference.smaller(Protocol.parse(name))


def test_a_floor_takes_twice_the_fewest_images() -> None:
    few = Reference(
        Protocol.parse("fid39_test"), untrained_extractor((1, 8, 8)), features(normal(0, 39)), {}
    )
    with pytest.raises(ValueError, match="fid20_test cannot be measured here: its floor takes 40"):
        few.smaller(Protocol.parse("fid20_test"))


def test_a_comparison_finds_the_better_one_and_says_when_there_is_none(reference) -> None:
    good = normal(5)
    worse = good * 1.5  # the same latents, so to say
    verdicts = {
        n: c.verdict for n, c in compare(reference, features(good), features(worse)).items()
    }
    assert verdicts["fid"] == "first"
    turned = compare(reference, features(worse), features(good))
    assert turned["fid"].verdict == "second"
    same = compare(reference, features(good), features(good))
    assert {c.verdict for c in same.values()} == {"neither"}


@pytest.mark.slow
def test_chance_alone_is_rarely_taken_for_a_difference(reference) -> None:
    found = [
        compare(reference, features(normal(100 + i)), features(normal(200 + i))) for i in range(60)
    ]
    for name in ("fid", "kid", "precision", "recall", "density", "coverage"):
        wrong = np.mean([comparison[name].verdict != "neither" for comparison in found])
        assert wrong <= 0.15, name


def test_estimates_are_what_the_protocol_compares() -> None:
    assert set(interval_scores(features(normal(0)), features(normal(1)))) == set(BETTER)
