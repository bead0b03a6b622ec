"""Distances between sets against other tools' and against brute force."""

import numpy as np
import pytest
import torch
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric
from torchmetrics.image.kid import poly_mmd

from bngan.metrics.jackknife import leave_groups_out
from bngan.metrics.kid import kernel_distance, kernel_estimate
from bngan.metrics.memorization import authenticity_estimate, data_copying
from bngan.metrics.neighbours import nearest, radii
from bngan.metrics.precision_recall import manifold_estimates


def normal(seed: int, count: int, dim: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1, (count, dim)).astype(np.float32)


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.linalg.norm(a[:, None].astype(np.float64) - b[None], axis=2)


def brute(fake: np.ndarray, real: np.ndarray) -> dict[str, float]:
    def reach(x: np.ndarray, k: int) -> np.ndarray:
        return np.sort(distances(x, x), axis=1)[:, k]  # the nearest is the sample itself

    apart = distances(fake, real)
    return {
        "precision": (apart <= reach(real, 3)).any(1).mean(),
        "recall": (apart <= reach(fake, 3)[:, None]).any(0).mean(),
        "density": (apart < reach(real, 5)).sum() / (5 * len(fake)),
        "coverage": (apart < reach(real, 5)).any(0).mean(),
    }


@pytest.mark.parametrize(("fakes", "reals", "dim"), [(60, 60, 3), (100, 75, 20), (25, 200, 64)])
def test_manifold_scores_are_brute_forces(fakes: int, reals: int, dim: int) -> None:
    fake, real = normal(0, fakes, dim, 0.2), normal(1, reals, dim)
    found = manifold_estimates(fake, real)
    assert {name: estimate.value for name, estimate in found.items()} == pytest.approx(
        brute(fake, real), abs=1e-12
    )


def test_blocks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    fake, real = normal(0, 90, 6), normal(1, 130, 6)
    whole, kernel = manifold_estimates(fake, real), kernel_estimate(fake, real)
    monkeypatch.setattr("bngan.metrics.neighbours._CELLS", 7 * 130)
    monkeypatch.setattr("bngan.metrics.kid._CELLS", 7 * 130)
    for name, estimate in manifold_estimates(fake, real).items():
        assert estimate.value == whole[name].value
        for side, values in estimate.without.items():
            np.testing.assert_array_equal(values, whole[name].without[side])
    assert kernel_estimate(fake, real).value == pytest.approx(kernel.value, rel=1e-9)


def test_manifold_scores_without_a_group_count_what_remains() -> None:
    fake, real = normal(0, 100, 4), normal(1, 100, 4)
    found = manifold_estimates(fake, real)
    reach = np.sort(distances(real, real), axis=1)[:, 3]
    inside = distances(fake, real) <= reach
    for group in range(20):
        kept = np.delete(np.arange(100), np.s_[5 * group : 5 * group + 5])
        precision = found["precision"].without
        assert precision["fake"][group] == pytest.approx(inside[kept].any(1).mean())
        assert precision["real"][group] == pytest.approx(inside[:, kept].any(1).mean())


def test_precision_and_recall_agree_with_torch_fidelity() -> None:
    fake, real = normal(0, 400, 30, 0.1), normal(1, 400, 30)
    theirs = prc_features_to_metric(
        *(torch.from_numpy(x) for x in (fake, real)), prc_neighborhood=3, verbose=False
    )
    found = manifold_estimates(fake, real)
    for name in ("precision", "recall"):
        assert found[name].value == pytest.approx(theirs[name], abs=1e-4)


def test_kernel_distance_agrees_with_torch_fidelity_and_torchmetrics() -> None:
    fake, real = normal(0, 300, 40, 0.1), normal(1, 300, 40)
    ours = kernel_distance(fake, real)
    tensors = [torch.from_numpy(x).double() for x in (fake, real)]
    theirs = kid_features_to_metric(
        *tensors, kid_subsets=1, kid_subset_size=300, verbose=False, rng_seed=0
    )
    assert ours == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-4)
    assert ours == pytest.approx(poly_mmd(*tensors).item(), rel=1e-4)
    many = kid_features_to_metric(
        *tensors, kid_subsets=400, kid_subset_size=100, verbose=False, rng_seed=0
    )
    spread = many["kernel_inception_distance_std"] / np.sqrt(400)
    assert ours == pytest.approx(many["kernel_inception_distance_mean"], abs=4 * spread)


def test_kernel_estimates_are_recomputations() -> None:
    fake, real = normal(0, 100, 10, 0.3), normal(1, 80, 10)
    found = kernel_estimate(fake, real)
    assert found.value == pytest.approx(kernel_distance(fake, real), rel=1e-9)
    expected = leave_groups_out(lambda x: kernel_distance(x, real), fake)
    np.testing.assert_allclose(found.without["fake"], expected, rtol=1e-6)
    expected = leave_groups_out(lambda x: kernel_distance(fake, x), real)
    np.testing.assert_allclose(found.without["real"], expected, rtol=1e-6)


def test_kernel_distance_of_one_distribution_is_zero_on_average() -> None:
    found = [kernel_estimate(normal(2 * i, 200, 16), normal(2 * i + 1, 200, 16)) for i in range(60)]
    values = np.array([estimate.value for estimate in found])
    assert abs(values.mean()) < 3 * values.std() / np.sqrt(60)
    covered = [low <= 0 <= high for low, high in (estimate.interval() for estimate in found)]
    assert np.mean(covered) >= 0.9


def test_neighbours_are_the_nearest() -> None:
    a, b = normal(0, 50, 5), normal(1, 70, 5)
    apart = distances(a, b)
    squared, index = nearest(a, b)
    np.testing.assert_array_equal(index, apart.argmin(1))
    np.testing.assert_allclose(squared, apart.min(1) ** 2, rtol=1e-4)
    _, index = nearest(b[10:20], b, np.arange(10, 20))
    np.testing.assert_array_equal(index, np.argsort(distances(b[10:20], b), axis=1)[:, 1])
    np.testing.assert_allclose(
        radii(b, 2, 7)[1], np.sort(distances(b, b), axis=1)[:, 7] ** 2, rtol=1e-4
    )
    with pytest.raises(ValueError, match="7-th neighbour needs more samples than 7"):
        radii(b[:7], 7)


def test_copies_of_training_images_are_found() -> None:
    train, fresh, test = normal(0, 2000, 8), normal(1, 1000, 8), normal(2, 1000, 8)
    copies = train[:1000] + 0.01 * normal(3, 1000, 8)
    closest = distances(fresh, train).argmin(1)
    others = np.sort(distances(train[closest], train), axis=1)[:, 1]
    authentic = float((distances(fresh, train).min(1) > others).mean())
    assert authenticity_estimate(fresh, train).value == pytest.approx(authentic, abs=1e-9)
    assert authenticity_estimate(copies, train).value < 0.01
    half = np.concatenate([copies[:500], fresh[:500]])
    assert authenticity_estimate(half, train).value == pytest.approx(authentic / 2, abs=0.05)
    around, below, above = (data_copying(x, test, train) for x in (fresh, copies, fresh + 1.0))
    assert around is not None
    assert below is not None
    assert above is not None
    assert abs(around) < 2
    assert below < -10
    assert above > 3


def test_authenticity_is_as_sure_as_a_share_of_so_many_images() -> None:
    train = normal(0, 1000, 8)
    found = [authenticity_estimate(normal(i, 200, 8), train) for i in range(1, 80)]
    spread = np.std([estimate.value for estimate in found])
    assert np.mean([e.standard_error for e in found]) == pytest.approx(spread, rel=0.25)


@pytest.mark.slow
def test_golden_values_of_two_normal_samples() -> None:
    """P .4772 R .4705 D 1.0555 C .9735, all at k = 5 (repository of Naeem et al. 2020)."""
    fake, real = normal(0, 10_000, 1000), normal(1, 10_000, 1000)
    from bngan.metrics import precision_recall as manifold

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifold, "K_PRECISION", 5)
        found = {name: estimate.value for name, estimate in manifold_estimates(fake, real).items()}
    assert found["precision"] == pytest.approx(0.477, abs=0.03)
    assert found["recall"] == pytest.approx(0.471, abs=0.03)
    assert found["coverage"] == pytest.approx(0.974, abs=0.03)
    assert found["density"] == pytest.approx(1.0, abs=0.15)
