"""Networks that others have trained."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bngan.metrics import pretrained
from bngan.metrics.extractors import load_extractor
from bngan.metrics.features import INFO
from tests.benchmarks.evaluating import random_inception

pytestmark = pytest.mark.usefixtures("planted_secrets")


def test_weights_that_somebody_put_in_the_place_of_inceptions_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    place = tmp_path / "hub" / "checkpoints"
    place.mkdir(parents=True)
    (place / "weights-inception-2015-12-05-6726825d.pth").write_bytes(b"evil")
    with pytest.raises(ValueError, match="is not Inception's weights: its hash is another"):
        pretrained.inception((3, 32, 32), None)


SHAPE = (3, 12, 12)


class Late(nn.Module):
    """A convolution's mean features, changed by ``change``; without eval(), as people forget it."""

    def __init__(self, change: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.change = nn.Conv2d(3, 16, 3), change

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.change(self.body(images).mean((2, 3)))
        return features


class Resized(nn.Module):
    """Resizes images to a side that depends on the batch."""

    def forward(self, images: Tensor) -> Tensor:
        side = 8 + images.shape[0]
        return F.interpolate(images, [side, side], mode="bilinear").abs().amax((2, 3))


class Smoothness(nn.Module):
    """Gives zeros for noise."""

    def forward(self, images: Tensor) -> Tensor:
        return (30 - images.diff(dim=3).abs().mean((2, 3))).relu()


class Change(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "noise":
            return x * (1 + 1e-3 * torch.randn_like(x))
        if self.kind == "batch mean":
            return x - x.mean(0)
        if self.kind == "beside":
            return x + 1e-2 * x.roll(1, 0)
        if self.kind == "nan":
            return (x - 1e6).log()
        if self.kind == "overflow":
            return (x + 1e6).double() * 1e38
        if self.kind == "constant":
            return x * 0 + 5
        return x.round().int() if self.kind == "whole" else x.half()


def written(network: nn.Module, path: Path) -> Path:
    """Write a network as it is, with its mode, in the format that the suffix names."""
    example = torch.zeros(2, *SHAPE)
    if path.suffix == ".pt2":
        dynamic = ({0: torch.export.Dim.DYNAMIC},)
        torch.export.save(torch.export.export(network, (example,), dynamic_shapes=dynamic), path)
    else:
        torch.jit.trace(network, example, check_trace=False).save(str(path))  # type: ignore[no-untyped-call]
    return path


@pytest.mark.parametrize("name", ["network.pt", "network.pt2"])
@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Late(nn.Dropout(0.1)), "other features the second time, by .*: it draws random numbers"),
        (Late(Change("noise")), "other features the second time"),
        (Late(nn.BatchNorm1d(16)), "training"),  # or Expected more than 1 value per channel
        (nn.Sequential(nn.BatchNorm2d(3), Late(nn.Identity())), "its batch norm is in training"),
        (Late(Change("batch mean")), "other features alone than in a batch"),
        (Late(Change("beside")), "other features alone than in a batch"),
        (Late(Change("nan")), "gives features that are infinite or no numbers"),
        (Late(Change("overflow")), "gives features that are infinite or no numbers"),
        (Late(Change("constant")), "gives different images the same features"),
        (Late(Change("whole")), r"must give features \(N, d\) as real numbers, got torch.int32"),
    ],
)
def test_networks_whose_features_are_not_the_images_own_are_refused(
    network: nn.Module, message: str, name: str, tmp_path: Path
) -> None:
    path = written(network.train(), tmp_path / name)
    with pytest.raises(ValueError, match=message) as caught:
        pretrained.from_file(SHAPE, path, None, "byte")
    assert str(caught.value).startswith(str(path))
    assert "register" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_network_that_resizes_by_the_batch_is_refused(tmp_path: Path) -> None:
    torch.jit.script(Resized()).save(str(tmp_path / "net.pt"))
    with pytest.raises(ValueError, match="other features alone than in a batch"):
        pretrained.from_file(SHAPE, tmp_path / "net.pt", None, "byte")


@pytest.mark.parametrize("name", ["network.pt", "network.pt2"])
def test_the_same_networks_in_evaluation_mode_are_taken(name: str, tmp_path: Path) -> None:
    body = nn.Sequential(nn.BatchNorm2d(3), Late(nn.Sequential(nn.BatchNorm1d(16), nn.Dropout())))
    path = written(body.eval(), tmp_path / name)
    assert pretrained.from_file(SHAPE, path, None, "signed").info.features == 16
    path = written(Late(Change("half")).eval(), tmp_path / f"half{path.suffix}")
    assert pretrained.from_file(SHAPE, path, None, "unit").info.features == 16


@pytest.mark.parametrize("shape", [SHAPE, (1, 12, 30), (3, 12, 1)])
def test_trial_images_are_noise_and_gradients(shape: tuple[int, int, int]) -> None:
    bright, dark, right, up = pretrained._trial_images(shape).numpy().astype(int)
    _, height, width = shape
    assert bright.shape == shape
    assert bright.max() > 200
    assert 100 < dark.max() < 128
    np.testing.assert_array_equal(right[0, 0], np.linspace(0, 255, width).astype(int))
    np.testing.assert_array_equal(up[-1, :, 0], np.linspace(255, 0, height).astype(int))
    assert (right == right[:1, :1]).all()
    assert (up == up[:1, :, :1]).all()


def test_a_network_that_gives_zeros_for_noise_is_taken(tmp_path: Path) -> None:
    path = written(Smoothness(), tmp_path / "net.pt")
    assert pretrained.from_file(SHAPE, path, None, "byte").info.features == 3


@pytest.mark.parametrize("suffix", [".pt", ".pt2"])
@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Late(nn.Dropout()), "it draws random numbers, as dropout does"),
        (nn.Sequential(nn.BatchNorm2d(3), Late(nn.Identity())), "its batch norm is in training"),
        (Late(Change("batch mean")), "or it computes with the batch as a whole"),
        (Late(nn.BatchNorm1d(16)), "training"),  # or Expected more than 1 value per channel
    ],
)
def test_a_stored_extractor_is_looked_at_again(
    network: nn.Module, message: str, suffix: str, tmp_path: Path
) -> None:
    """Earlier versions registered extractors that were exported in training mode."""
    good = written(Late(nn.Identity()).eval(), tmp_path / f"good{suffix}")
    pretrained.from_file(SHAPE, good, None, "signed").save(tmp_path)
    load_extractor(tmp_path)
    stored = tmp_path / f"extractor{suffix}"
    written(network.train(), stored)
    info = json.loads((tmp_path / INFO).read_text())
    (tmp_path / INFO).write_text(json.dumps({**info, "sha256": pretrained.file_hash(stored)}))
    with pytest.raises(ValueError, match=message) as caught:
        load_extractor(tmp_path)
    assert "a network exported in evaluation mode, and register" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_inceptions_weights_without_numbers_are_refused(tmp_path: Path) -> None:
    path = random_inception(tmp_path / "weights.pth")
    state = torch.load(path)
    name = next(key for key in state if key.endswith("conv.weight"))
    torch.save({**state, name: state[name] * torch.nan}, path)
    with pytest.raises(ValueError, match="infinite or no numbers"):
        pretrained.inception(SHAPE, path)


def test_trying_a_network_leaves_the_random_numbers_alone(tmp_path: Path) -> None:
    path = written(Late(nn.Identity()).eval(), tmp_path / "net.pt")
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    pretrained.from_file(SHAPE, path, None, "signed")
    assert torch.equal(torch.rand(2), expected)
