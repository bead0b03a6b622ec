"""Distances between sets against other tools' and against brute force."""

import numpy as np
import pytest
import torch
from torch_fidelity.metric_prc import prc_features_to_metric

from bngan.metrics.kid import kernel_estimate
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
