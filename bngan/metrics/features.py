"""Feature extractors: what an image looks like to a network, as numbers that scores are made of."""

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, NamedTuple
from zipfile import BadZipFile

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from bngan.data.dataset import ImageShape
from bngan.numerics.precision import exact_convolutions

ExtractorKind = Literal["classifier", "random", "inception", "file"]
InputRange = Literal["byte", "unit", "signed"]
INFO = "extractor.json"
"""Name of the file with an extractor's identity."""
_BATCH = 250


class Features(NamedTuple):
    """What an extractor says of N images."""

    features: np.ndarray
    """float32 ``(N, d)``."""
    logits: np.ndarray
    """float32 ``(N, classes)``; classes is 0 where the extractor is no classifier."""

    def save(self, path: Path) -> None:
        """Write both arrays to ``path`` (npz)."""
        np.savez(path, **self._asdict())

    @classmethod
    def load(cls, path: Path) -> "Features":
        """Read what ``save`` wrote.

        Raises:
            ValueError: if it is anything else.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return cls(arrays["features"], arrays["logits"])
        except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
            raise ValueError(f"{path.name} holds no features: {error}") from error

    @classmethod
    def join(cls, parts: Iterable["Features"]) -> "Features":
        """Parts one after the other."""
        return cls(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def take(self, chosen: np.ndarray | slice) -> "Features":
        """Of some of the images."""
        return Features(self.features[chosen], self.logits[chosen])


@dataclass
class ExtractorInfo:
    """Identity of an extractor. Scores by extractors with different hashes are not comparable."""

    kind: ExtractorKind
    image_shape: ImageShape
    features: int
    classes: int
    accuracy: float | None = None
    """Share of held-out images classified correctly; None where it is not known."""
    trained_on: int = 0
    """Images of the training split it learned from: the first ones."""
    sha256: str = ""
    """Hash over its weights, or over the file they came from."""
    weights: str | None = None
    """Name of the file that an extractor was read from which was not made here."""
    input_size: int | None = None
    """Of a file: pixels it wants images resized to; None: as they are."""
    input_range: InputRange = "byte"
    """Of a file: what it wants 0 to 255 as: byte the same, unit 0 to 1, signed -1 to 1."""

    @property
    def stored_as(self) -> str:
        """Name of the file of weights in a saved extractor's folder; its end says how to read it."""
        if self.weights is None:
            return "extractor.safetensors"
        return "extractor.pt2" if self.weights.endswith(".pt2") else "extractor.pt"

    def describe(self) -> str:
        """One phrase on where features come from."""
        name = {"random": "random network", "file": self.weights or ""}
        phrase = f"{name.get(self.kind, self.kind)} {self.sha256[:8]}"
        if self.kind != "classifier":
            return phrase
        accuracy = "unknown" if self.accuracy is None else f"{self.accuracy:.1%}"
        return f"{phrase}, held-out accuracy {accuracy}"


class Extractor:
    """A network from uint8 images to features and logits.

    Args:
        network: maps uint8 ``(N, C, H, W)`` to features ``(N, d)`` and logits ``(N, classes)``.
        info: its identity.
        file: what it was read from, if it was not made here.
    """

    def __init__(self, network: nn.Module, info: ExtractorInfo, file: Path | None = None) -> None:
        self.network, self.info, self.file = network, info, file
        self.device = torch.device("cpu")

    def to(self, device: torch.device | str) -> "Extractor":
        """Compute on ``device`` from now on; features still arrive on the CPU."""
        self.device = torch.device(device)
        self.network.to(self.device)
        return self

    def __call__(self, images: np.ndarray) -> Features:
        """Features of uint8 images ``(N, H, W, C)``."""
        return Features.join(self.batches(images))

    def batches(self, images: np.ndarray) -> Iterator[Features]:
        """The same, a batch of images at a time; at least one, be it empty."""
        self.network.eval()
        for start in range(0, max(len(images), 1), _BATCH):
            yield self._features(np.array(images[start : start + _BATCH], order="C"))

    @exact_convolutions()
    @torch.inference_mode()
    def _features(self, images: np.ndarray) -> Features:
        out = self.network(torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2))
        return Features(*(part.float().cpu().numpy() for part in out))

    def differentiable(self, images: Tensor) -> Tensor:
        """Features ``(N, d)``, with their gradient, of images ``(N, C, H, W)`` in [-1, 1], not rounded.

        Not of Inception, which takes whole bytes only.
        """
        self.network.eval()
        features: Tensor = self.network((images + 1) * 127.5)[0]
        return features

    def save(self, folder: Path) -> None:
        """Write identity and weights into ``folder``; of what was made here, this fixes the hash.

        A file that others made is copied as it is, so that the folder can be used on any machine.
        """
        path = folder / self.info.stored_as
        if self.file is not None:
            shutil.copyfile(self.file, path)
        else:
            state = {name: value.cpu() for name, value in self.network.state_dict().items()}
            self.info.sha256 = state_hash(state)
            save_file(state, path)
        (folder / INFO).write_text(json.dumps(asdict(self.info), indent=2))


def state_hash(state: Mapping[str, Tensor]) -> str:
    """sha256 over names and values."""
    digest = hashlib.sha256()
    for key in sorted(state):
        digest.update(key.encode() + state[key].numpy().tobytes())
    return digest.hexdigest()
