"""Feature extractors: networks that map images to the numbers that scores are made of."""

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from bngan.data.dataset import ImageShape
from bngan.metrics.axes import MOST, Axes
from bngan.numerics.precision import exact_convolutions
from bngan.serialization.arrays import opened_arrays

ExtractorKind = Literal["classifier", "random", "imagenet", "inception", "file"]
NetworkName = Literal["plain", "residual"]
InputRange = Literal["byte", "unit", "signed"]
INFO = "extractor.json"
"""Name of the file with an extractor's identity."""
AXES = "extractor.axes.npz"
"""Name of the file with the axes onto which features are projected."""
IMAGENET = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
"""SHA-256 of the weights of ImageNet features, which ``bngan.metrics.imagenet`` reads."""
CLASS_NAMES = "class_names.json"
"""Name of the file with the names of the classes, if they are known."""
_BATCH = 250


class Features(NamedTuple):
    """Output of an extractor for N images."""

    features: np.ndarray
    """float32 ``(N, d)``."""
    logits: np.ndarray
    """float32 ``(N, classes)``; classes is 0 if the extractor is no classifier."""

    def save(self, path: Path) -> None:
        """Write both arrays to ``path`` (npz)."""
        np.savez(path, **self._asdict())

    @classmethod
    def load(cls, path: Path) -> "Features":
        """Return the features that ``save`` wrote.

        Raises:
            ValueError: if the file holds anything else.
        """
        with opened_arrays(path, "features") as arrays:
            return cls(arrays["features"], arrays["logits"])

    @classmethod
    def join(cls, parts: Iterable["Features"]) -> "Features":
        """Return the parts one after the other."""
        return cls(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def take(self, chosen: np.ndarray | slice) -> "Features":
        """Return the features of the chosen images."""
        return Features(self.features[chosen], self.logits[chosen])


@dataclass
class ExtractorInfo:
    """Identity of an extractor. Scores by extractors with different hashes are not comparable."""

    kind: ExtractorKind
    image_shape: ImageShape
    features: int
    classes: int
    accuracy: float | None = None
    """Share of held-out images classified correctly; None if it is not known."""
    trained_on: int = 0
    """Number of images of the training split that it learned from: the first ones."""
    sha256: str = ""
    """Hash over the weights, or over the file that the weights came from."""
    weights: str | None = None
    """Name of the file that the extractor was read from; None for an extractor made by bngan."""
    input_size: int | None = None
    """Side in pixels to which images are resized for the network; None: no resizing."""
    input_range: InputRange = "byte"
    """Range of values for a network from a file: byte (0 to 255), unit (0 to 1) or signed (-1 to
    1)."""
    class_names: list[str] = field(default_factory=list)
    """Names of the classes by number; empty if they are not known."""
    network: NetworkName = "plain"
    """Network of an extractor made by bngan; those of earlier code are plain."""

    @property
    def stored_as(self) -> str:
        """Return the name of the weights' file in a saved folder; its suffix tells the format."""
        if self.weights is None:
            return "extractor.safetensors"
        return "extractor.pt2" if self.weights.endswith(".pt2") else "extractor.pt"

    def describe(self) -> str:
        """Return a phrase about the origin of the features."""
        name = {
            "random": "random network",
            "imagenet": "ImageNet features",
            "file": self.weights or "",
        }
        phrase = f"{name.get(self.kind, self.kind)} {self.sha256[:8]}"
        if self.kind != "classifier":
            return phrase
        accuracy = "unknown" if self.accuracy is None else f"{self.accuracy:.1%}"
        return f"{phrase}, held-out accuracy {accuracy}"


class Extractor:
    """Map uint8 images to features and logits by a network.

    Args:
        network: maps uint8 ``(N, C, H, W)`` to features ``(N, d)`` and logits ``(N, classes)``.
        info: identity of the extractor.
        file: file that the network was read from; None for a network made by bngan.
        axes: axes onto which the network's features are projected; None: they stay as they are.
    """

    def __init__(
        self,
        network: nn.Module,
        info: ExtractorInfo,
        file: Path | None = None,
        axes: Axes | None = None,
    ) -> None:
        self.network, self.info, self.file, self.axes = network, info, file, axes
        self.device = torch.device("cpu")

    def with_axes(self, images: np.ndarray) -> "Extractor":
        """Return the extractor with features projected on the leading axes of those of ``images``.

        The images ``(N, H, W, C)`` are training images, none of which is scored against. The extractor
        stays as it is if it has no more than ``MOST`` features.
        """
        if self.info.features <= MOST:
            return self
        axes = Axes.leading(self(images).features)
        info = replace(self.info, features=axes.vectors.shape[1])
        return Extractor(self.network, info, self.file, axes)

    @property
    def sha256(self) -> str:
        """Return the hash (hex) over the weights, or over the file that they came from, and axes."""
        if self.file is not None:
            return self.info.sha256
        imported = self.info.kind == "imagenet"  # an installed package has the weights
        return identity(IMAGENET if imported else state_hash(self._state()), self.axes)

    def _state(self) -> dict[str, Tensor]:
        return {name: value.cpu() for name, value in self.network.state_dict().items()}

    def to(self, device: torch.device | str) -> "Extractor":
        """Move the network to ``device``; features still arrive on the CPU."""
        self.device = torch.device(device)
        self.network.to(self.device)
        return self

    def __call__(self, images: np.ndarray) -> Features:
        """Return the features of uint8 images ``(N, H, W, C)``."""
        return Features.join(self.batches(images))

    def batches(self, images: np.ndarray) -> Iterator[Features]:
        """Yield the features of ``images`` batch by batch; at least one batch, maybe empty."""
        self.network.eval()
        for start in range(0, max(len(images), 1), _BATCH):
            yield self._features(np.array(images[start : start + _BATCH], order="C"))

    @exact_convolutions()
    @torch.inference_mode()
    def _features(self, images: np.ndarray) -> Features:
        out = self.network(torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2))
        features, logits = (part.float().cpu().numpy() for part in out)
        if self.axes:
            features = ((features - self.axes.mean) @ self.axes.vectors).astype(np.float32)
        return Features(features, logits)

    def differentiable(self, images: Tensor) -> Tensor:
        """Return features ``(N, d)``, with gradient, of images ``(N, C, H, W)`` in [-1, 1].

        The images are not rounded. Inception gives no such features: it takes whole bytes only.
        """
        self.network.eval()
        features: Tensor = self.network((images + 1) * 127.5)[0]
        if not self.axes:
            return features
        mean, vectors = (torch.from_numpy(part).to(features) for part in self.axes)
        return (features - mean) @ vectors

    def save(self, folder: Path) -> None:
        """Write identity and weights into ``folder``.

        This fixes the hash of a network made by bngan. A file from elsewhere is copied as it is, so
        that the folder can be used on any machine.
        """
        path = folder / self.info.stored_as
        if self.axes:
            self.axes.save(folder / AXES)
        if self.file is not None:
            shutil.copyfile(self.file, path)
        else:
            self.info.sha256 = self.sha256
            if self.info.kind != "imagenet":
                save_file(self._state(), path)
        record = asdict(self.info)
        if self.info.network == "plain":  # as earlier code wrote it: trainings go by these bytes
            del record["network"]
        if names := record.pop("class_names"):
            (folder / CLASS_NAMES).write_text(json.dumps(names), encoding="utf-8")
        (folder / INFO).write_text(json.dumps(record, indent=2), encoding="utf-8")


def identity(network: str, axes: Axes | None) -> str:
    """Return the hash of an extractor from that of its network."""
    if axes is None:
        return network
    return hashlib.sha256(f"{network} {axes.sha256}".encode()).hexdigest()


def state_hash(state: Mapping[str, Tensor]) -> str:
    """Return the sha256 (hex) over names and values."""
    digest = hashlib.sha256()
    for key in sorted(state):
        digest.update(key.encode() + state[key].numpy().tobytes())
    return digest.hexdigest()
