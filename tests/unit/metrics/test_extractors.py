"""Extractors that others made: the same numbers as their makers', and told apart by their files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from bngan.metrics.classifier import PlainClassifier
from bngan.metrics.extractors import load_extractor
from bngan.metrics.features import Extractor, ExtractorInfo
from bngan.metrics.pretrained import from_file, inception
from tests.benchmarks.evaluating import random_inception

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 12, 12, 3), dtype=np.uint8)


class Small(nn.Module):
    def __init__(self, logits: bool) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 5, 3), nn.Linear(5, 2) if logits else None

    def forward(self, images: torch.Tensor):  # type: ignore[no-untyped-def]
        features = self.body(images).mean((2, 3))
        return features if self.head is None else (features, self.head(features))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inception at random weights, as a file of the kind that torch-fidelity reads."""
    return random_inception(tmp_path_factory.mktemp("inception") / "weights.pth")


def test_inception_is_torch_fidelitys(weights: Path, tmp_path: Path) -> None:
    extractor = inception((3, 12, 12), weights)
    theirs = FeatureExtractorInceptionV3("theirs", ["2048", "logits_unbiased"], str(weights))
    features, logits = theirs(torch.from_numpy(IMAGES).permute(0, 3, 1, 2))
    ours = extractor(IMAGES)
    np.testing.assert_allclose(ours.features, features.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ours.logits, logits.numpy(), rtol=1e-5, atol=1e-6)
    extractor.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"extractor.json", "extractor.pt"}
    np.testing.assert_array_equal(load_extractor(tmp_path)(IMAGES).features, ours.features)
    grey = inception((1, 12, 12), weights)(IMAGES[..., :1]).features
    np.testing.assert_allclose(grey, extractor(IMAGES[..., :1].repeat(3, 3)).features, rtol=1e-5)


def test_files_that_hold_something_else_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    with pytest.raises(ValueError, match="cannot be read"):
        inception((3, 8, 8), path)
    torch.save({"a": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="does not hold Inception's weights"):
        inception((3, 8, 8), path)
    torch.save(Small(True), path)  # a pickled object, which could run anything
    with pytest.raises(ValueError, match="does not hold Inception's weights"):
        inception((3, 8, 8), path)
    with pytest.raises(ValueError, match=r"neither torch\.export's nor TorchScript"):
        from_file((3, 8, 8), path, None, "byte")


@pytest.mark.parametrize("kind", ["exported", "scripted"])
@pytest.mark.parametrize("logits", [False, True])
def test_any_network_in_a_file(kind: str, logits: bool, tmp_path: Path) -> None:
    network = Small(logits).eval()
    path = tmp_path / ("network.pt2" if kind == "exported" else "network.pt")
    example = torch.zeros(2, 3, 12, 12)
    if kind == "exported":
        dynamic = {"images": {0: torch.export.Dim("batch")}}
        torch.export.save(torch.export.export(network, (example,), dynamic_shapes=dynamic), path)
    else:
        torch.jit.trace(network, example).save(str(path))
    extractor = from_file((3, 12, 12), path, None, "unit")
    assert (extractor.info.features, extractor.info.classes) == (5, 2 * logits)
    inputs = torch.from_numpy(IMAGES).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        out = network(inputs)
    found = extractor(IMAGES)
    np.testing.assert_allclose(found.features, out[0] if logits else out, rtol=1e-5, atol=1e-6)
    assert found.logits.shape == (3, 2 * logits)
    assert extractor.info.describe().startswith(f"{path.name} ")
    saved, elsewhere = tmp_path / "saved", tmp_path / "elsewhere"
    saved.mkdir()
    extractor.save(saved)
    saved.rename(elsewhere)
    path.unlink()  # as on another machine
    again = load_extractor(elsewhere)
    assert again.info == extractor.info
    np.testing.assert_array_equal(again(IMAGES).features, found.features)
    (copy,) = elsewhere.glob("extractor.pt*")
    copy.write_bytes(copy.read_bytes() + b" ")
    with pytest.raises(ValueError, match="not the extractor it was"):
        load_extractor(elsewhere)
    copy.unlink()
    with pytest.raises(ValueError, match="cannot be read"):
        load_extractor(elsewhere)


def test_images_are_resized_and_scaled_as_the_file_wants_them(tmp_path: Path) -> None:
    path = tmp_path / "mean.pt"
    torch.jit.trace(nn.Flatten(), torch.zeros(2, 3, 6, 6)).save(str(path))
    white = np.full((2, 12, 12, 3), 255, np.uint8)
    for range_, one in (("byte", 255.0), ("unit", 1.0), ("signed", 1.0)):
        extractor = from_file((3, 12, 12), path, 6, range_)
        assert extractor(white).features.shape == (2, 3 * 6 * 6)
        np.testing.assert_allclose(extractor(white).features, one)
    np.testing.assert_allclose(extractor(white * 0).features, -1.0)


def test_a_network_of_another_shape_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "small.pt"
    torch.jit.trace(Small(False), torch.zeros(2, 3, 12, 12)).save(str(path))
    with pytest.raises(ValueError, match=r"does not take images \(32, 1, 12, 12\)"):
        from_file((1, 12, 12), path, None, "byte")
    torch.jit.trace(nn.Identity(), torch.zeros(2, 3, 12, 12)).save(str(path))
    with pytest.raises(ValueError, match=r"must give features \(N, d\)"):
        from_file((3, 12, 12), path, None, "byte")
    both = torch.jit.script(WithFlatLogits())
    both.save(str(path))
    with pytest.raises(ValueError, match=r"must give logits \(N, classes\), got \(32,\)"):
        from_file((3, 12, 12), path, None, "byte")
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="does not hold Inception's weights: EOFError"):
        inception((3, 12, 12), path)


class WithFlatLogits(nn.Module):
    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = images.flatten(1)
        return features, features[:, 0]


def test_a_network_saved_in_training_mode_is_evaluated(tmp_path: Path) -> None:
    body = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(3 * 12 * 12), nn.Dropout())
    torch.jit.script(body.train()).save(str(tmp_path / "network.pt"))
    extractor = from_file((3, 12, 12), tmp_path / "network.pt", None, "unit")
    expected = body.eval()(torch.from_numpy(IMAGES).permute(0, 3, 1, 2) / 255).detach().numpy()
    np.testing.assert_allclose(extractor(IMAGES).features, expected, rtol=1e-6)
    np.testing.assert_allclose(extractor(IMAGES[:1]).features, expected[:1], rtol=1e-6)


def test_weights_of_an_extractor_of_ones_own_are_checked(tmp_path: Path) -> None:
    Extractor(PlainClassifier((3, 12, 12), 4), ExtractorInfo("random", (3, 12, 12), 8, 4)).save(
        tmp_path
    )
    load_extractor(tmp_path)
    state = load_file(tmp_path / "extractor.safetensors")
    name = next(iter(state))
    save_file(state | {name: 2 * state[name]}, tmp_path / "extractor.safetensors")
    with pytest.raises(ValueError, match=r"extractor\.safetensors cannot be used: its hash has"):
        load_extractor(tmp_path)


@pytest.mark.parametrize("size", [(24, 40), (96, 64), (7, 13)])
def test_a_classifier_sees_transposed_images_alike(size: tuple[int, int]) -> None:
    ours, theirs = (PlainClassifier((3, *shape), 4).eval() for shape in (size, size[::-1]))
    state = {}
    for name, value in ours.state_dict().items():
        if value.dim() == 4:
            value = value.mT.contiguous()
        elif value.shape[-1] == 32 * 16:  # the features of 4x4 places
            value = value.view(-1, 32, 4, 4).mT.flatten(1)
        state[name] = value
    theirs.load_state_dict(state)
    images = torch.randint(256, (5, 3, *size), dtype=torch.uint8)
    for found, expected in zip(ours(images), theirs(images.mT), strict=True):
        assert found.std() > 1e-3
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def lines(size: int, large: int) -> np.ndarray:
    """The weights ``(large, size)`` of TensorFlow 1's bilinear resizing along one side."""
    weights = np.zeros((large, size))
    for place in range(large):
        left = place * size / large
        below = int(left)
        weights[place, below] += 1 - (left - below)
        weights[place, min(below + 1, size - 1)] += left - below
    return weights


@pytest.mark.parametrize("size", [(24, 40), (96, 64)])
def test_inception_resizes_height_and_width_each(weights: Path, size: tuple[int, int]) -> None:
    extractor, seen = inception((3, *size), weights), list[torch.Tensor]()
    first = next(m for m in extractor.network.modules() if isinstance(m, nn.Conv2d))
    handle = first.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    images = np.random.default_rng(0).integers(0, 256, (2, *size, 3), dtype=np.uint8)
    features = extractor(images).features
    handle.remove()
    down, right = (lines(side, 299) for side in size)
    expected = (np.einsum("yh,nhwc,xw->ncyx", down, images, right) - 128) / 128
    np.testing.assert_allclose(seen[0].numpy(), expected, atol=1e-4)
    assert features.shape == (2, 2048)
