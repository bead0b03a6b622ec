"""Leading axes of features."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.decomposition import PCA
from torch import Tensor, nn

from bngan.metrics.axes import MOST, Axes
from bngan.metrics.features import Extractor, ExtractorInfo


class Flat(nn.Module):
    """Features that are the pixels."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        values = images.float().flatten(1)
        return values, values[:, :0]


def features(count: int = 500, width: int = 200) -> np.ndarray:
    random = np.random.default_rng(0)
    scales = np.linspace(3, 0.1, width)
    mixed = random.standard_normal((count, width)) * scales @ random.standard_normal((width, width))
    return (mixed + 5).astype(np.float32)


@pytest.mark.parametrize(("count", "width"), [(500, MOST), (129, MOST), (60, 59)])
def test_axes_are_those_of_a_principal_component_analysis(count: int, width: int) -> None:
    sample = features(count)
    axes = Axes.leading(sample)
    expected = PCA(width, svd_solver="full").fit(sample.astype(np.float64))
    ours = (sample - axes.mean) @ axes.vectors
    theirs = expected.transform(sample.astype(np.float64))
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=1e-6 * np.abs(theirs).max())
    np.testing.assert_allclose(axes.vectors.T @ axes.vectors, np.eye(width), atol=1e-12)


@pytest.mark.parametrize(("width", "kept"), [(MOST, True), (MOST + 1, False)])
def test_few_features_need_no_axes(width: int, kept: bool) -> None:
    extractor = Extractor(Flat(), ExtractorInfo("random", (1, 1, width), width, 0))
    images = np.random.default_rng(0).integers(0, 256, (200, 1, width, 1), np.uint8)
    assert (extractor.with_axes(images) is extractor) == kept
    assert extractor.with_axes(images)(images).features.shape == (200, MOST)


def test_axes_do_not_depend_on_the_sign_that_a_library_gives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    axes, real = Axes.leading(features()), np.linalg.eigh
    monkeypatch.setattr(np.linalg, "eigh", lambda m: (real(m)[0], -real(m)[1]))
    other = Axes.leading(features())
    np.testing.assert_array_equal(axes.vectors, other.vectors)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    axes = Axes.leading(features())
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
