"""Every score moves the right way when images get worse."""

import pytest

from bngan.data.dataset import ImageSplit
from tests.benchmarks.degradations import table


@pytest.fixture(scope="module")
def scores():  # type: ignore[no-untyped-def]
    from sklearn.datasets import load_digits

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
