"""Leading axes of features."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.decomposition import PCA

from bngan.metrics.axes import MOST, Axes


def features(count: int = 500, width: int = 200) -> np.ndarray:
    random = np.random.default_rng(0)
    scales = np.linspace(3, 0.1, width)
    mixed = random.standard_normal((count, width)) * scales @ random.standard_normal((width, width))
    return (mixed + 5).astype(np.float32)


@pytest.mark.parametrize(("count", "width"), [(500, MOST), (129, MOST), (60, 59)])
def test_axes_are_those_of_a_principal_component_analysis(count: int, width: int) -> None:
    sample = features(count)
    axes = Axes.leading(sample)
    assert axes is not None
    expected = PCA(width, svd_solver="full").fit(sample.astype(np.float64))
    ours = (sample - axes.mean) @ axes.vectors
    theirs = expected.transform(sample.astype(np.float64))
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=1e-6 * np.abs(theirs).max())
    np.testing.assert_allclose(axes.vectors.T @ axes.vectors, np.eye(width), atol=1e-12)


def test_few_features_need_no_axes() -> None:
    assert Axes.leading(features(width=MOST)) is None
    assert Axes.leading(features(width=MOST + 1)) is not None


def test_axes_do_not_depend_on_the_sign_that_a_library_gives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    axes, real = Axes.leading(features()), np.linalg.eigh
    monkeypatch.setattr(np.linalg, "eigh", lambda m: (real(m)[0], -real(m)[1]))
    other = Axes.leading(features())
    assert axes is not None
    assert other is not None
    np.testing.assert_array_equal(axes.vectors, other.vectors)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    axes = Axes.leading(features())
    assert axes is not None
    axes.save(tmp_path / "a.npz")
    found = Axes.load(tmp_path / "a.npz")
    np.testing.assert_array_equal(found.vectors, axes.vectors)
    assert found.sha256 == axes.sha256
    assert found.sha256 != Axes(axes.mean, -axes.vectors).sha256


@pytest.mark.parametrize(
    "arrays",
    [
        {"mean": np.zeros(3)},
        {"mean": np.zeros(3), "vectors": np.zeros((2, 2))},
        {"mean": np.zeros(3, np.float32), "vectors": np.zeros((3, 2))},
        {"mean": np.zeros(3), "vectors": np.zeros(3)},
    ],
)
def test_a_file_of_something_else_is_refused(arrays: dict[str, np.ndarray], tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=r"^a\.npz holds no axes of features: "):
        Axes.load(tmp_path / "a.npz")
