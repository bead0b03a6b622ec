"""MIND against its definition, other tools, brute force and simulations."""

import math

import numpy as np
import pytest

from bngan.metrics.jackknife import Estimate, group_slices, leave_groups_out
from bngan.metrics.mind import DIRECTIONS, mind_directions, mind_estimate
from tests.unit.metrics.test_precision_recall import normal

HASH = "2b" * 32


def transport(a: np.ndarray, b: np.ndarray) -> float:
    """Squared distance of two sets on a line, for any sizes: each quantile to its own."""
    parts = math.lcm(len(a), len(b))
    one, other = (np.sort(x).repeat(parts // len(x)) for x in (a, b))
    return float(np.square(one - other).mean())


def definition(fake: np.ndarray, real: np.ndarray) -> float:
    wide = fake.astype(np.float64), real.astype(np.float64)
    found = [transport(*(x @ u for x in wide)) for u in mind_directions(fake.shape[1], HASH)]
    return 3 * fake.shape[1] * float(np.mean(found))


def torch_fidelitys(fake: np.ndarray, real: np.ndarray) -> float:
    """Their mind_features_to_metric, with our directions."""
    directions = mind_directions(fake.shape[1], HASH).T
    one, other = (np.sort(x @ directions, axis=0) for x in (fake, real))
    return float(3 * fake.shape[1] * ((one - other) ** 2).mean(axis=0).mean())


def estimate(fake: np.ndarray, real: np.ndarray) -> Estimate:
    return mind_estimate(fake, real, HASH)


@pytest.mark.parametrize(("count", "dim"), [(20, 3), (101, 40)])
def test_the_value_is_the_definitions(count: int, dim: int) -> None:
    fake, real = normal(0, count, dim, 0.3), normal(1, count, dim)
    found = estimate(fake, real).value
    assert found == pytest.approx(definition(fake, real), rel=1e-12)
    assert found == pytest.approx(torch_fidelitys(fake, real), rel=1e-12)


def test_the_value_is_pots_sliced_distance() -> None:
    pot = pytest.importorskip("ot")  # codespell:ignore
    fake, real = (normal(seed, 90, 12, seed / 5).astype(np.float64) for seed in range(2))
    directions = mind_directions(12, HASH).T
    sliced = pot.sliced_wasserstein_distance(fake, real, projections=directions)
    assert estimate(fake, real).value == pytest.approx(36 * sliced**2, rel=1e-9)


def test_blocks_of_directions_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    fake, real = normal(0, 60, 5), normal(1, 60, 5)
    whole = estimate(fake, real)
    monkeypatch.setattr("bngan.metrics.transport._CELLS", 60 * 7)
    parts = estimate(fake, real)
    assert parts.value == pytest.approx(whole.value, rel=1e-12)
    for side, values in whole.without.items():
        np.testing.assert_allclose(parts.without[side], values, rtol=1e-12)


def test_directions_are_unit_vectors_of_an_extractor() -> None:
    ours = mind_directions(24, HASH)
    np.testing.assert_allclose(np.square(ours).sum(axis=1), 1)
    np.testing.assert_array_equal(ours, mind_directions(24, HASH))
    assert np.abs(ours @ mind_directions(24, "ff" * 32).T).max() < 0.95
    assert np.abs(ours.mean(axis=0)).max() < 5 / np.sqrt(24 * DIRECTIONS)


def test_shifts_and_scales_have_known_values() -> None:
    real, shift = normal(0, 100, 16), normal(1, 16, 1)[:, 0]
    along = mind_directions(16, HASH) @ shift
    found = estimate(real[::-1] + shift, real).value
    assert found == pytest.approx(3 * 16 * np.square(along).mean(), rel=1e-5)
    assert found == pytest.approx(3 * np.square(shift).sum(), rel=0.1)
    # A set scaled by s about 0: (s - 1)^2 times 3 E|x|^2.
    found = estimate(1.5 * real, real).value
    assert found == pytest.approx(0.75 * np.square(real).sum(axis=1).mean(), rel=0.1)
    one, other = estimate(normal(2, 100, 16), real), estimate(8 * normal(2, 100, 16), 8 * real)
    assert other.value == pytest.approx(64 * one.value)
    assert other.standard_error == pytest.approx(64 * one.standard_error)
    far = estimate(normal(2, 100, 16).astype(np.float64) + 1e6, real.astype(np.float64) + 1e6)
    assert far.value == pytest.approx(one.value, rel=1e-6)


def test_equal_sets_have_no_distance_and_no_error() -> None:
    samples = normal(0, 50, 6).repeat(2, axis=0)  # with ties
    found = estimate(samples, samples[::-1])
    assert found.value == pytest.approx(0, abs=1e-20)
    assert found.standard_error == pytest.approx(0, abs=1e-10)


def test_unequal_sets_few_images_and_no_numbers_are_refused() -> None:
    broken = normal(0, 30, 4)
    broken[3, 1] = np.nan
    for fake, real, why in (
        (normal(0, 30, 4), normal(1, 31, 4), "equal sets"),
        (normal(0, 19, 4), normal(1, 19, 4), "needs 20 images"),
        (broken, normal(1, 30, 4), "finite features"),
        (normal(1, 30, 4), broken, "finite features"),
    ):
        with pytest.raises(ValueError, match=why):
            estimate(fake, real)


@pytest.mark.parametrize("shift", [0.3, 2.0])
def test_values_without_a_group_are_recomputations_to_first_order(shift: float) -> None:
    fake, real = normal(0, 200, 4) * np.float32(1.3) + np.float32(shift), normal(1, 200, 4)
    found = estimate(fake, real)
    exact = Estimate(
        found.value,
        {
            "fake": leave_groups_out(lambda x: definition(x, real), fake),
            "real": leave_groups_out(lambda x: definition(fake, x), real),
        },
    )
    assert found.standard_error == pytest.approx(exact.standard_error, rel=0.05)
    for side, values in exact.without.items():
        assert np.corrcoef(found.without[side], values)[0, 1] > 0.99
        np.testing.assert_allclose(found.without[side].mean(), found.value, rtol=1e-3)


@pytest.mark.parametrize("side", ["fake", "real"])
def test_potentials_are_derivatives_by_weights(side: str) -> None:
    """A 21st copy of a group's images raises their weights, and 19 copies lower them."""
    sides = {"fake": normal(0, 80, 3, 0.5), "real": normal(1, 80, 3)}
    found, slopes = estimate(**sides), list[float]()
    for group in group_slices(80)[::5]:
        values = []
        for copies in (21, 19):
            times = np.full(80, 20)
            times[group] = copies
            values.append(definition(**{**sides, side: sides[side].repeat(times, axis=0)}))
        slopes.append((values[0] - values[1]) / (4 / 1604 + 4 / 1596))
    removed = found.value - np.array(slopes) * 4 / 76  # 4 of 80 images away: the others gain
    np.testing.assert_allclose(found.without[side][::5], removed, atol=0.03 * np.ptp(removed))


def test_a_difference_of_generators_does_without_the_chance_in_real_images() -> None:
    """Its error is that of simulations, and far below that of scores against other real images."""
    differences, errors, apart = [], [], []
    for draw in range(60):
        fake, real = normal(3 * draw, 100, 4), normal(3 * draw + 1, 100, 4)
        one, other = estimate(fake + np.float32(1), real), estimate(fake * np.float32(1.1), real)
        differences.append((one - other).value)
        errors.append((one - other).standard_error)
        apart.append(np.hypot(one.standard_error, other.standard_error))
    spread = np.std(differences)
    assert np.mean(errors) == pytest.approx(spread, rel=0.25)
    one, other = (estimate(normal(9, 100, 4) * s, normal(8, 100, 4)) for s in (1.2, 1.201))
    assert (one - other).standard_error < 0.05 * one.standard_error


@pytest.mark.slow
@pytest.mark.parametrize("shift", [0.0, 0.15, 1.0], ids=["same", "near", "far"])
def test_intervals_cover_the_expected_distance(shift: float) -> None:
    pairs = [(normal(2 * i, 400, 8, shift), normal(2 * i + 1, 400, 8)) for i in range(400)]
    found = [estimate(*pair) for pair in pairs]
    expected = np.mean([one.value for one in found])
    inside = [low <= expected <= high for low, high in (one.interval() for one in found)]
    assert np.mean(inside) >= 0.93
    told = np.mean([one.standard_error for one in found])
    spread = np.std([one.value for one in found])
    assert told < 2 * spread
