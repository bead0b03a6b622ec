"""EfficientNet-Lite: a network for photographs, with weights that were trained on ImageNet.

The architecture is that of EfficientNet (Tan & Le 2019) without squeeze-and-excitation, and with ReLU6
in place of swish, as Google published it in 2020. Its convolutions pad as TensorFlow's do. It serves
for features only: batch norm with stored statistics is part of the convolutions.
"""

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Stage = tuple[int, int, int, int, int]
"""Kernel, stride, expansion, channels and number of blocks."""
LITE0: tuple[Stage, ...] = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
STEM, HEAD, CLASSES = 32, 1280, 1000
_EPSILON = 1e-3
_OF_LAYER = 6
"""Weights of a convolution with its batch norm: kernel, gamma, beta, mean, variance, and a count."""


class SameConv2d(nn.Conv2d):
    """Convolution whose output has ``ceil(side / stride)`` pixels.

    If padding is odd, the last row and column get one pixel more.
    """

    def forward(self, images: Tensor) -> Tensor:
        """Map ``(N, C, H, W)``."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        pads = [
            max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)
            for side in images.shape[2:]
        ]
        if any(pad % 2 for pad in pads):
            (above, below), (left, right) = ((pad // 2, pad - pad // 2) for pad in pads)
            images, pads = F.pad(images, (left, right, above, below)), [0, 0]
        padding = [pad // 2 for pad in pads]
        return F.conv2d(images, self.weight, self.bias, stride, padding, 1, self.groups)


def _layer(
    before: int, after: int, kernel: int = 1, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    return nn.Sequential(SameConv2d(before, after, kernel, stride, groups=groups), nn.ReLU6())


class _Block(nn.Module):
    """Inverted bottleneck: expand, filter each channel, project; a shortcut where shapes agree."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inside = before * expansion
        self.layers = nn.Sequential(
            *([_layer(before, inside)] if expansion > 1 else []),
            _layer(inside, inside, kernel, stride, groups=inside),
            SameConv2d(inside, after, 1),
        )
        self.shortcut = stride == 1 and before == after

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.layers(images)
        return out + images if self.shortcut else out


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite for inference.

    Args:
        state: weights as the trained network has them, in the order of its layers, with batch norm
            after each convolution, under any names.
        stages: the stages of the network.

    Raises:
        ValueError: if the weights are those of another network.
    """

    def __init__(self, state: Mapping[str, Tensor], stages: Sequence[Stage] = LITE0) -> None:
        super().__init__()
        self.stem = _layer(3, STEM, 3, 2)
        blocks, before = list[nn.Module](), STEM
        for kernel, stride, expansion, after, count in stages:
            for number in range(count):
                blocks.append(_Block(before, after, kernel, 1 if number else stride, expansion))
                before = after
        self.blocks = nn.ModuleList(blocks)
        self.head = _layer(before, HEAD)
        self.classifier = nn.Linear(HEAD, CLASSES)
        self._fold(list(state.values()))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # 1.5 times as fast

    def _fold(self, values: Sequence[Tensor]) -> None:
        """Take the weights, each batch norm into its convolution, in float64."""
        layers = [layer for layer in self.modules() if isinstance(layer, SameConv2d)]
        last = [self.classifier.weight, self.classifier.bias]
        if len(values) != _OF_LAYER * len(layers) + len(last):
            raise ValueError("the weights are those of another network")
        targets = [part for layer in layers for part in (layer.weight, layer.bias)] + last
        folded = list[Tensor]()
        for number, layer in enumerate(layers):
            kernel, *norm = values[number * _OF_LAYER : (number + 1) * _OF_LAYER]
            if kernel.shape != layer.weight.shape:
                raise ValueError("the weights are those of another network")
            gamma, beta, mean, variance = (part.double() for part in norm[:4])
            scale = gamma / (variance + _EPSILON).sqrt()
            folded += [kernel.double() * scale.reshape(-1, 1, 1, 1), beta - mean * scale]
        for target, value in zip(targets, folded + list(values[-len(last) :]), strict=True):
            if target is None or target.shape != value.shape:
                raise ValueError("the weights are those of another network")
            target.data.copy_(value)

    def forward(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return maps and logits ``(N, 1000)``.

        The maps ``(N, C, H, W)`` are the outputs of every block, and of the head as the last one.

        Args:
            images: RGB ``(N, 3, H, W)``, (byte - 127) / 128.
        """
        values = self.stem(images.contiguous(memory_format=torch.channels_last))
        maps = list[Tensor]()
        for block in self.blocks:
            values = block(values)
            maps.append(values)
        maps.append(self.head(values))
        return maps, self.classifier(maps[-1].mean(dim=(2, 3)))
