"""The reference classifier: it learns, alike each time, and sees images of any size."""

import io
import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bngan.metrics import classifier
from bngan.metrics.classifier import PlainClassifier, ResidualClassifier, train_classifier
from bngan.metrics.extractors import load_extractor
from bngan.metrics.features import Extractor, ExtractorInfo


def random_images(count: int, height: int, width: int, channels: int, seed: int = 0) -> np.ndarray:
    shape = (count, height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def halves(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images whose left (0) or right (1) half is bright, with noise."""
    labels = np.arange(count) % 2
    images = random_images(count, 8, 8, 1, seed) // 4
    images[labels == 0, :, :4] += 150
    images[labels == 1, :, 4:] += 150
    return images, labels


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "_FEWEST_STEPS", 25)
    monkeypatch.setattr(classifier, "_MOST_STEPS", 25)


def accuracy(extractor: Extractor, images: np.ndarray, labels: np.ndarray) -> float:
    return float((extractor(images).logits.argmax(1) == labels).mean())


def mnist(split: str) -> tuple[np.ndarray, np.ndarray]:
    import pyarrow.parquet as pq

    (file,) = Path(os.environ["MNIST_FOLDER"]).glob(f"{split}-*.parquet")
    table = pq.read_table(file).to_pydict()
    images = [np.array(Image.open(io.BytesIO(image["bytes"]))) for image in table["image"]]
    return np.stack(images)[..., None], np.array(table["label"])


@pytest.mark.slow
@pytest.mark.skipif(
    "MNIST_FOLDER" not in os.environ, reason="MNIST_FOLDER names no folder of MNIST"
)
def test_it_knows_mnist_after_two_minutes_of_one_processor() -> None:
    (images, labels), (unseen, truth) = mnist("train"), mnist("test")
    known = np.random.default_rng(0).permutation(len(images))[:27_000]  # half, less a split
    started = time.process_time()
    extractor = train_classifier(images[known], labels[known], 10)
    seconds = time.process_time() - started
    assert accuracy(extractor, unseen, truth) >= 0.993
    assert seconds < 120


@pytest.mark.usefixtures("steps")
def test_the_same_data_gives_the_same_weights_whatever_surrounds_it(tmp_path: Path) -> None:
    images, labels = halves(40)
    threads, found = torch.get_num_threads(), []
    try:
        for ambient in (1, 2, 3):
            torch.set_num_threads(ambient)
            torch.manual_seed(ambient)
            extractor = train_classifier(images, labels, 2)
            assert torch.get_num_threads() == ambient
            extractor.save(tmp_path)
            found.append(extractor.info.sha256)
    finally:
        torch.set_num_threads(threads)
    assert len(set(found)) == 1
    images[0, 0, 0] ^= 128
    other = train_classifier(images, labels, 2)
    other.save(tmp_path)
    assert other.info.sha256 != found[0]


@pytest.mark.usefixtures("steps")
def test_mirrors_are_images_only_where_left_and_right_mean_nothing() -> None:
    images, labels = halves(60)
    unseen, truth = halves(200, seed=1)

    def certainty(mirrors: bool) -> float:
        logits = train_classifier(images, labels, 2, mirrors)(unseen).logits
        return float((1 / (1 + np.exp(logits[:, 0] - logits[:, 1])))[truth == 1].mean())

    assert certainty(False) > 0.9
    assert 0.2 < certainty(True) < 0.8


@pytest.mark.parametrize(
    ("size", "classes"),
    [((4, 4, 1), 2), ((24, 40, 3), 101), ((96, 64, 3), 2), ((7, 150, 1), 3), ((1, 1, 1), 2)],
)
def test_images_of_any_size_and_number(
    size: tuple[int, int, int], classes: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(classifier, "_FEWEST_STEPS", 2)
    images = random_images(20, *size)
    progress = list[tuple[int, int]]()
    labels = np.arange(20) % 2  # of other classes there are no images
    extractor = train_classifier(
        images, labels, classes, mirrors=True, progress=lambda *now: progress.append(now)
    )
    assert progress[0] == (1, len(progress))
    assert progress[-1] == (len(progress), len(progress))
    found = extractor(images)
    assert (found.features.shape, found.logits.shape) == ((20, 64), (20, classes))
    assert np.isfinite(found.logits).all()
    alone = extractor(images[3:4])
    np.testing.assert_allclose(alone.features, found.features[3:4], rtol=1e-3, atol=1e-5)
    extractor.save(tmp_path)
    again = load_extractor(tmp_path)
    assert again.info == extractor.info
    np.testing.assert_array_equal(again(images).features, found.features)


def test_a_large_image_costs_what_its_means_cost() -> None:
    network = ResidualClassifier((3, 256, 192), 2).eval()
    images = random_images(2, 256, 192, 3)
    means = images.reshape(2, 128, 2, 96, 2, 3).mean((2, 4))
    inputs = (torch.from_numpy(x).permute(0, 3, 1, 2) for x in (images, means))
    (large, _), (small, _) = (network(each) for each in inputs)
    torch.testing.assert_close(large, small, rtol=1e-4, atol=1e-5)
    smaller = ResidualClassifier((3, 128, 96), 2)
    assert [p.shape for p in network.parameters()] == [p.shape for p in smaller.parameters()]


def test_each_image_is_shifted_by_up_to_a_twelfth_and_mirrored_on_request() -> None:
    images = random_images(64, 24, 36, 3)
    for mirrors in (False, True):
        moved = classifier._augmented(images, np.random.default_rng(1), mirrors)
        seen = set()
        for image, found in zip(images, moved.permute(0, 2, 3, 1).numpy(), strict=True):
            padded = np.pad(image, ((2, 2), (3, 3), (0, 0)), mode="edge")
            crops = {
                (y, x, flip): padded[y : y + 24, x : x + 36][:, :: 1 - 2 * flip]
                for y in range(5)
                for x in range(7)
                for flip in (0, 1)
            }
            (place,) = (key for key, crop in crops.items() if np.array_equal(crop, found))
            seen.add(place)
        assert {y for y, _, _ in seen} == set(range(5))
        assert {x for _, x, _ in seen} == set(range(7))
        assert {flip for _, _, flip in seen} == ({0, 1} if mirrors else {0})


def test_features_have_the_gradient_of_finite_differences() -> None:
    extractor = Extractor(
        ResidualClassifier((3, 12, 12), 4), ExtractorInfo("classifier", (3, 12, 12), 64, 4)
    )
    extractor.network.double().requires_grad_(False)
    images = torch.rand(2, 3, 12, 12, dtype=torch.float64) * 2 - 1
    images.requires_grad_()
    extractor.differentiable(images).square().sum().backward()  # type: ignore[no-untyped-call]
    assert images.grad is not None
    direction = torch.randn_like(images)
    step = 1e-6 * direction
    with torch.no_grad():
        up, down = (
            extractor.differentiable(images + sign * step).square().sum() for sign in (1, -1)
        )
    torch.testing.assert_close(
        (images.grad * direction).sum(), (up - down) / 2e-6, rtol=1e-5, atol=1e-9
    )


def test_extractors_of_earlier_code_keep_their_network(tmp_path: Path) -> None:
    torch.manual_seed(3)
    network, images = PlainClassifier((1, 8, 8), 5), random_images(9, 8, 8, 1)
    info = ExtractorInfo("classifier", (1, 8, 8), 64, 5, accuracy=0.9, trained_on=20)
    kept = Extractor(network, info)
    kept.save(tmp_path)
    record = json.loads((tmp_path / "extractor.json").read_text())
    assert "network" not in record  # as earlier code wrote it
    (tmp_path / "extractor.json").write_text(json.dumps(record))  # as earlier code wrote it
    again = load_extractor(tmp_path)
    assert again.info == info
    for ours, theirs in zip(again(images), kept(images), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    record["network"] = "other"
    (tmp_path / "extractor.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match="network cannot be 'other'"):
        load_extractor(tmp_path)
