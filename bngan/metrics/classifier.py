"""Reference classifier: a small network trained on a dataset's labels, for its features.

Inception features mean little on small or grey images. Without labels the same network keeps its
random weights. Distances then still separate close from far, but their scale means nothing outside
one dataset; ``ExtractorInfo.kind`` records that.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bngan.data.dataset import ImageShape
from bngan.metrics.features import Extractor, ExtractorInfo
from bngan.numerics.rng import Stream, generator
from bngan.training.optimizers import Adam

FEATURES = 64


class Classifier(nn.Module):
    """Three convolutions, 64 features, a linear classifier.

    After each convolution a map whose longer side has more than 8 pixels is halved.
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


def train_classifier(
    images: np.ndarray,
    labels: np.ndarray,
    classes: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Extractor:
    """Return an extractor trained by Adam on uint8 images ``(N, H, W, C)``, int64 labels ``(N,)``.

    Training takes eight epochs, but 1,000 to 5,000 steps of 64 images. It runs on one thread: the
    same data gives the same weights, and so the same hash, on machines of the same kind.
    """
    steps = min(max(1000, len(images) // 8), 5000)
    image_shape = (images.shape[3], images.shape[1], images.shape[2])
    extractor = untrained_extractor(image_shape, classes)
    network = extractor.network.train()
    optimizer = Adam(network.parameters(), lr=2e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for step in range(steps):
            chosen = generator(0, Stream.CLASSIFIER, step).integers(len(images), size=64)
            _, logits = network(torch.from_numpy(images[chosen]).permute(0, 3, 1, 2))
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
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Classifier(image_shape, classes)
    return Extractor(network, ExtractorInfo("random", image_shape, FEATURES, classes))
