"""Reference classifier: a small network trained on a dataset's labels, for its features.

Inception features mean little on small or grey images. Without labels a network keeps its random
weights. Distances then still separate close from far, but their scale means nothing outside one
dataset; ``ExtractorInfo.kind`` records that.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bngan.data.dataset import ImageShape
from bngan.metrics.features import Extractor, ExtractorInfo, NetworkName
from bngan.numerics.precision import flushing_subnormals
from bngan.numerics.rng import Stream, generator
from bngan.numerics.torch_internals import without_compiler

SGD = without_compiler(torch.optim.SGD)
FEATURES = 64
_LARGEST = 128
"""Longer side in pixels to which the residual network averages larger images."""
_BATCH = 64
_FEWEST_STEPS = 500
_MOST_STEPS = 4000
_PEAK = 0.1
"""Largest learning rate."""
_LARGEST_SHIFT = 1 / 12


class ResidualClassifier(nn.Module):
    """A residual network with batch norm (He et al. 2016), 64 features, a linear classifier.

    Convolutions halve maps until the longer side has at most 32 pixels; then each of three blocks
    halves maps whose longer side has more than 4. Colour images get twice the channels of grey
    ones. An image whose longer side has more than 128 pixels is averaged down to 128 first. A
    colour image of 128 pixels costs about twice as much as one of 32, and one of 512 pixels five times.
    """

    def __init__(self, image_shape: ImageShape, classes: int) -> None:
        super().__init__()
        before, side = image_shape[0], min(max(image_shape[1:]), _LARGEST)
        width = 16 if before == 1 else 32
        layers: list[nn.Module] = []
        while not layers or side > 32:
            stride = 2 if side > 32 else 1
            layers += [_convolution(before, width // 2, 3, stride), nn.ReLU(inplace=True)]
            before, side = width // 2, -(-side // stride)
        for after in (width, 2 * width, 4 * width):
            stride = 2 if side > 4 else 1
            layers.append(_Block(before, after, stride))
            before, side = after, -(-side // stride)
        pooled = [nn.AdaptiveAvgPool2d(2), nn.Flatten()]
        self.body = nn.Sequential(*layers, *pooled, nn.Linear(4 * before, FEATURES), nn.ReLU())
        self.classifier = nn.Linear(FEATURES, classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map bytes ``(N, C, H, W)`` to features ``(N, 64)`` and logits ``(N, classes)``."""
        images = _averaged(images.to(next(self.parameters()).dtype))
        features = self.body(images / 127.5 - 1)
        return features, self.classifier(features)


class _Block(nn.Module):
    """Two convolutions beside a projection, added."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        first, second = _convolution(before, after, 3, stride), _convolution(after, after, 3, 1)
        self.residual = nn.Sequential(first, nn.ReLU(inplace=True), second)
        pooled = nn.AvgPool2d(stride, ceil_mode=True)
        self.shortcut = nn.Sequential(pooled, *_convolution(before, after, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.residual(x) + self.shortcut(x), inplace=True)


def _convolution(before: int, after: int, size: int, stride: int) -> nn.Sequential:
    convolution = nn.Conv2d(before, after, size, stride, size // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(after))


def _averaged(images: Tensor) -> Tensor:
    """Return images ``(N, C, H, W)`` whose longer side has at most 128 pixels: means of regions."""
    height, width = images.shape[2:]
    longer = max(height, width)
    if longer <= _LARGEST:
        return images
    size = (-(-height * _LARGEST // longer), -(-width * _LARGEST // longer))
    return F.adaptive_avg_pool2d(images, size)


class PlainClassifier(nn.Module):
    """Three convolutions, 64 features, a linear classifier: the network of earlier code.

    Untrained extractors have it, and stored classifiers of earlier code. After each convolution a
    map whose longer side has more than 8 pixels is halved.
    """

    def __init__(self, image_shape: ImageShape, classes: int) -> None:
        super().__init__()
        before, side = image_shape[0], max(image_shape[1:])
        layers: list[nn.Module] = []
        for after in (16, 32, 32):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
            if side > 8:
                layers.append(nn.MaxPool2d(2, ceil_mode=True))
                side = -(-side // 2)
            before = after
        pooled = [nn.AdaptiveAvgPool2d(4), nn.Flatten()]
        self.body = nn.Sequential(*layers, *pooled, nn.Linear(32 * 16, FEATURES), nn.ReLU())
        self.classifier = nn.Linear(FEATURES, classes) if classes else None

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map bytes ``(N, C, H, W)`` to features ``(N, 64)`` and logits ``(N, classes)``."""
        # In the weights' precision. Inputs are fractions of bytes if the caller wants a gradient.
        features = self.body(images.to(next(self.parameters()).dtype) / 127.5 - 1)
        if self.classifier is None:
            return features, features.new_zeros((len(features), 0))
        return features, self.classifier(features)


NETWORKS: dict[NetworkName, type[nn.Module]] = {
    "plain": PlainClassifier,
    "residual": ResidualClassifier,
}
"""Networks that bngan makes, by ``ExtractorInfo.network``."""


def train_classifier(
    images: np.ndarray,
    labels: np.ndarray,
    classes: int,
    mirrors: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Extractor:
    """Return an extractor trained by SGD on uint8 images ``(N, H, W, C)``, int64 labels ``(N,)``.

    Training takes 20 epochs, but 500 to 4,000 steps of 64 images. Each image is shifted at random,
    and mirrored at random if ``mirrors``. One thread does all in float32, however many there are:
    the same data gives the same weights, and so the same hash, on machines of the same kind.
    """
    steps = min(max(_FEWEST_STEPS, 20 * len(images) // _BATCH), _MOST_STEPS)
    extractor = _extractor("residual", (images.shape[3], *images.shape[1:3]), classes)
    network = extractor.network.train()
    optimizer = SGD(network.parameters(), _PEAK, 0.9, weight_decay=5e-4, nesterov=True, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _PEAK, total_steps=steps)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with flushing_subnormals():
            for step, chosen in enumerate(_batches(len(images), steps)):
                rng = generator(0, Stream.CLASSIFIER, step, 1)
                _, logits = network(_augmented(images[chosen], rng, mirrors))
                optimizer.zero_grad()
                loss = F.cross_entropy(logits, torch.from_numpy(labels[chosen]))
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
                progress(step + 1, steps)
    finally:
        torch.set_num_threads(threads)
    extractor.info.kind, extractor.info.trained_on = "classifier", len(images)
    return extractor


def untrained_extractor(image_shape: ImageShape, classes: int = 0) -> Extractor:
    """Return an extractor with fixed random weights."""
    return _extractor("plain", image_shape, classes)


def _extractor(name: NetworkName, image_shape: ImageShape, classes: int) -> Extractor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = NETWORKS[name](image_shape, classes)
    return Extractor(network, ExtractorInfo("random", image_shape, FEATURES, classes, network=name))


def _batches(count: int, steps: int) -> np.ndarray:
    """Return indices of images ``(steps, 64)``, all images once before one comes again."""
    epochs = range(-(-steps * _BATCH // count))
    orders = [generator(0, Stream.CLASSIFIER, epoch).permutation(count) for epoch in epochs]
    return np.concatenate(orders)[: steps * _BATCH].reshape(steps, _BATCH)


def _augmented(images: np.ndarray, rng: np.random.Generator, mirrors: bool) -> Tensor:
    """Return bytes ``(N, H, W, C)`` as ``(N, C, H, W)``, each image shifted by up to a twelfth.

    Pixels at an edge are repeated. Large images are averaged first.
    """
    pixels = _averaged(torch.from_numpy(images).permute(0, 3, 1, 2).float())
    places = []
    for size in pixels.shape[2:]:
        most = round(size * _LARGEST_SHIFT)
        shifts = rng.integers(-most, most + 1, (len(images), 1))
        places.append(np.clip(np.arange(size) + shifts, 0, size - 1))
    rows, columns = places
    if mirrors:
        columns = np.where(rng.random((len(images), 1)) < 0.5, columns[:, ::-1], columns)
    each = np.arange(len(images))[:, None, None]
    moved = pixels.permute(0, 2, 3, 1)[each, rows[:, :, None], columns[:, None]]
    return moved.permute(0, 3, 1, 2)
