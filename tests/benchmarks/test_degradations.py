"""Every score moves the right way when images get worse, and the table says which features see it."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from bngan.data.dataset import ImageSplit
from bngan.metrics.axes import Axes
from bngan.metrics.degradations import DEGRADATIONS, LEVELS
from bngan.metrics.pyramid import pyramid_patches
from tests.benchmarks.degradations import HEADER, Parts, projected, seen, table


@pytest.fixture(scope="module")
def scores():  # type: ignore[no-untyped-def]
    data = load_digits()
    images = (data.images * (255 / 16)).round().astype("uint8")[..., None]
    parts = [slice(0, 800), slice(800, 1400), slice(1400, None)]
    splits = [ImageSplit(images[part], data.target[part]) for part in parts]
    return {kind: record["scores"] for kind, record in table(*splits, 250).items()}


@pytest.mark.parametrize("kind", ["blurred", "half the classes"])
def test_distances_grow(scores, kind) -> None:  # type: ignore[no-untyped-def]
    for name in ("fid", "fid_infinity", "kid", "class_divergence"):
        assert scores[kind][name] > 1.5 * abs(scores["real"][name]), name


def test_blurred_images_are_worse_and_less_varied(scores) -> None:  # type: ignore[no-untyped-def]
    for name in ("inception_score", "precision", "recall", "density", "coverage"):
        assert scores["blurred"][name] < scores["real"][name] - 0.05, name


def test_half_the_classes_are_as_good_but_less_varied(scores) -> None:  # type: ignore[no-untyped-def]
    half, real = scores["half the classes"], scores["real"]
    assert (half["classes_hit"], real["classes_hit"]) == (5, 10)
    assert half["inception_score"] < 0.7 * real["inception_score"]
    lost = {name: real[name] - half[name] for name in ("precision", "recall", "coverage")}
    assert lost["precision"] < (real["precision"] - scores["blurred"]["precision"]) / 2
    assert min(lost["recall"], lost["coverage"]) > 0.1


def test_copies_look_good_and_are_found_out(scores) -> None:  # type: ignore[no-untyped-def]
    copies, real = scores["training images"], scores["real"]
    assert copies["fid"] < 2 * real["fid"]
    assert copies["authenticity"] < 0.01 < 0.3 < real["authenticity"]
    assert copies["data_copying"] < -3 < real["data_copying"]


def images(count: int) -> np.ndarray:
    data = load_digits().images[:count]
    return (data * (255 / 16)).round().astype(np.uint8)[..., None]


def test_features_tell_what_they_can_see_from_real_images() -> None:
    whole = images(900)
    parts = Parts(whole[:0], np.zeros(0), 0, whole[:200], whole[200:])

    def describe(images: np.ndarray) -> dict[str, list[np.ndarray]]:
        flat = images.reshape(len(images), -1).astype(np.float32)
        return {
            "brightness": [flat.mean(axis=1, keepdims=True)],
            "pixels": [flat],
            "pyramid": pyramid_patches(images),
        }

    found = seen(describe, parts)
    assert found.keys() == {"brightness", "pixels", "pyramid"}
    shuffled = list(DEGRADATIONS).index("shuffled blocks")
    assert found["brightness"].auc[shuffled].max() < 0.9
    for name in ("pixels", "pyramid"):
        assert found[name].auc.shape == (len(DEGRADATIONS), len(LEVELS))
        assert found[name].auc[shuffled].min() == 1
        assert found[name].tau[shuffled] > 0.9
    cells = found["pixels"].row("pixels").strip("| ").split(" | ")
    assert len(cells) == len(HEADER)
    assert cells[0] == "pixels"
    assert cells[1 + shuffled] == f"1.00 / {found['pixels'].tau[shuffled]:.2f}"


def test_only_wide_features_are_projected_on_leading_axes_of_other_images() -> None:
    wide = np.random.default_rng(0).normal(size=(300, 200))
    described = projected(
        lambda rows: {"wide": [wide[rows]], "pair": [rows[:, None]]}, np.arange(200)
    )
    found = described(np.arange(200, 300))
    assert found["wide"][0].shape == (100, 128)
    assert (found["pair"][0][:, 0] == np.arange(200, 300)).all()
    axes = Axes.leading(wide[:200])
    np.testing.assert_allclose(found["wide"][0], (wide[200:] - axes.mean) @ axes.vectors)


def test_images_that_shape_the_features_are_not_scored(tmp_path) -> None:  # type: ignore[no-untyped-def]
    whole, edges = images(1000), {"train": (0, 800), "select": (800, 900), "test": (900, 1000)}
    for split, (start, stop) in edges.items():
        np.save(tmp_path / f"{split}_images.npy", whole[start:stop])
        np.save(tmp_path / f"{split}_labels.npy", np.zeros(stop - start, np.int64))
    (tmp_path / "dataset.json").write_text('{"classes": ["0"]}')
    parts = Parts.load(tmp_path)
    assert (parts.learned == whole[:400]).all()
    assert (parts.degraded == whole[400:700]).all()
    assert {x.tobytes() for x in parts.real} == {x.tobytes() for x in whole[800:]}
