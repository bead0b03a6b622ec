"""The feature extractor of a dataset: a small classifier trained on its labels.

Inception features mean little on small or grey images. Without labels the same network is left at
its random weights: distances then still separate close from far, but their scale means nothing
outside one dataset, and ``ExtractorInfo.kind`` says so.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bngan.data import ImageShape
from bngan.images import from_uint8
from bngan.randomness import Stream, generator

FEATURES = 64
_WEIGHTS, _INFO = "extractor.safetensors", "extractor.json"


class Features(NamedTuple):
    """What an extractor says of N images."""

    features: np.ndarray
    """float32 ``(N, 64)``: the classifier's penultimate layer."""
    logits: np.ndarray
    """float32 ``(N, classes)``; classes is 0 where there are no labels."""


@dataclass
class ExtractorInfo:
    """Identity of an extractor. Scores by extractors with different hashes are not comparable."""

    kind: Literal["classifier", "random"]
    image_shape: ImageShape
    classes: int
    accuracy: float | None
    """Share of held-out images classified correctly; None for random features."""
    trained_on: int
    """Images of the training split it learned from: the first ones."""
    sha256: str = ""
    """Hash over its weights."""

    def describe(self) -> str:
        """One phrase on where features come from."""
        if self.kind == "random":
            return f"random network {self.sha256[:8]}"
        accuracy = "unknown" if self.accuracy is None else f"{self.accuracy:.1%}"
        return f"classifier {self.sha256[:8]}, held-out accuracy {accuracy}"


class Extractor:
    """A convolutional network from uint8 images to features and logits."""

    def __init__(self, image_shape: ImageShape, classes: int) -> None:
        self.network = _Network(image_shape, classes)
        self.info = ExtractorInfo("random", image_shape, classes, None, 0)
        self.device = torch.device("cpu")

    def to(self, device: torch.device | str) -> "Extractor":
        """Compute on ``device`` from now on; features still arrive on the CPU."""
        self.device = torch.device(device)
        self.network.to(self.device)
        return self

    @torch.inference_mode()
    def __call__(self, images: np.ndarray, batch_size: int = 500) -> Features:
        """Features of uint8 images ``(N, H, W, C)``."""
        self.network.eval()
        parts = []
        for start in range(0, max(len(images), 1), batch_size):
            parts.append(self.network(from_uint8(images[start : start + batch_size], self.device)))
        features, logits = (torch.cat(column).cpu().numpy() for column in zip(*parts, strict=True))
        return Features(features, logits)

    def save(self, folder: Path) -> None:
        """Write weights and identity into ``folder``, fixing the hash."""
        state = self.network.state_dict()
        digest = hashlib.sha256()
        for key in sorted(state):
            digest.update(key.encode() + state[key].numpy().tobytes())
        self.info.sha256 = digest.hexdigest()
        save_file(state, folder / _WEIGHTS)
        (folder / _INFO).write_text(json.dumps(asdict(self.info), indent=2))

    @classmethod
    def load(cls, folder: Path) -> "Extractor":
        """Read what ``save`` wrote."""
        info = ExtractorInfo(**json.loads((folder / _INFO).read_text()))
        channels, height, width = info.image_shape
        info.image_shape = (channels, height, width)
        extractor = cls(info.image_shape, info.classes)
        extractor.network.load_state_dict(load_file(folder / _WEIGHTS))
        extractor.info = info
        return extractor


class _Network(nn.Module):
    """Three convolutions, each halving a map above 8 pixels, 64 features, a linear classifier."""

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
        features = self.body(images)
        if self.classifier is None:
            return features, features.new_zeros((len(features), 0))
        return features, self.classifier(features)


def train_classifier(
    images: np.ndarray,
    labels: np.ndarray,
    classes: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Extractor:
    """An extractor trained with Adam on uint8 images ``(N, H, W, C)`` and int64 labels ``(N,)``.

    Eight epochs, but 1,000 to 5,000 steps of 64 images. On one thread, however many there are: the
    same data gives the same weights, and so the same hash, on machines of the same kind.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _train_classifier(images, labels, classes, progress)
    finally:
        torch.set_num_threads(threads)


def _train_classifier(
    images: np.ndarray, labels: np.ndarray, classes: int, progress: Callable[[int, int], None]
) -> Extractor:
    steps = min(max(1000, len(images) // 8), 5000)
    image_shape = (images.shape[3], images.shape[1], images.shape[2])
    extractor = untrained_extractor(image_shape, classes)
    network = extractor.network.train()
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for step in range(steps):
        chosen = generator(0, Stream.CLASSIFIER, step).integers(len(images), size=64)
        _, logits = network(from_uint8(images[chosen]))
        optimizer.zero_grad()
        loss = F.cross_entropy(logits, torch.from_numpy(labels[chosen]))
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        progress(step + 1, steps)
    extractor.info.kind, extractor.info.trained_on = "classifier", len(images)
    return extractor


def untrained_extractor(image_shape: ImageShape, classes: int = 0) -> Extractor:
    """An extractor at fixed random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Extractor(image_shape, classes)
