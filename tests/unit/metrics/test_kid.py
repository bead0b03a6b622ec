"""The kernel distance."""

import numpy as np
import pytest
import torch
from torch_fidelity.metric_kid import kid_features_to_metric
from torchmetrics.image.kid import poly_mmd

from bngan.metrics.jackknife import leave_groups_out
from bngan.metrics.kid import kernel_estimate
from tests.unit.metrics.test_precision_recall import normal


def kernel_distance(fake: np.ndarray, real: np.ndarray) -> float:
    """The definition, from all pairs at once."""
    width, (fake, real) = fake.shape[1], (x.astype(np.float64) for x in (fake, real))
    pairs = (fake, fake), (real, real), (fake, real)
    fakes, reals, across = ((a @ b.T / width + 1) ** 3 for a, b in pairs)
    own = [(k.sum() - k.trace()) / (len(k) * (len(k) - 1)) for k in (fakes, reals)]
    return float(sum(own) - 2 * across.mean())


def test_kernel_distance_agrees_with_torch_fidelity_and_torchmetrics() -> None:
    fake, real = normal(0, 300, 40, 0.1), normal(1, 300, 40)
    ours = kernel_estimate(fake, real).value
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


@pytest.mark.parametrize("dim", [10, 8, 3])
@pytest.mark.parametrize("cells", [2_000_000, 130])
def test_kernel_estimates_are_recomputations(
    dim: int, cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By pairs where there are more pairs of features than images, else by cubes."""
    monkeypatch.setattr("bngan.metrics.kid._CELLS", cells)
    fake, real = normal(0, 100, dim, 0.3), normal(1, 80, dim)
    found = kernel_estimate(fake, real)
    assert found.value == pytest.approx(kernel_distance(fake, real), rel=1e-9)
    expected = leave_groups_out(lambda x: kernel_distance(x, real), fake)
    np.testing.assert_allclose(found.without["fake"], expected, rtol=1e-6)
    expected = leave_groups_out(lambda x: kernel_distance(fake, x), real)
    np.testing.assert_allclose(found.without["real"], expected, rtol=1e-6)


def test_kernel_distance_of_features_far_from_zero_does_not_cancel() -> None:
    fake, real = normal(0, 300, 20, 50.1), normal(1, 300, 20, 50)
    found, exact = kernel_estimate(fake, real), kernel_distance(fake, real)
    assert found.value == pytest.approx(exact, rel=1e-7)  # float32 products: 2e-5


def test_kernel_distance_of_one_distribution_is_zero_on_average() -> None:
    found = [kernel_estimate(normal(2 * i, 200, 16), normal(2 * i + 1, 200, 16)) for i in range(60)]
    values = np.array([estimate.value for estimate in found])
    assert abs(values.mean()) < 3 * values.std() / np.sqrt(60)
    covered = [low <= 0 <= high for low, high in (estimate.interval() for estimate in found)]
    assert np.mean(covered) >= 0.9
