"""Feature extractors: networks that map images to the numbers that scores are made of."""

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
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
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return cls(arrays["features"], arrays["logits"])
        except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
            raise ValueError(f"{path.name} holds no features: {error}") from error

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
    """Side in pixels to which images are resized for a network from a file; None: no resizing."""
    input_range: InputRange = "byte"
    """Range of values for a network from a file: byte (0 to 255), unit (0 to 1) or signed (-1 to
    1)."""
    class_names: list[str] = field(default_factory=list)
    """Names of the classes by number; empty if they are not known."""

    @property
    def stored_as(self) -> str:
        """Return the name of the weights' file in a saved folder; its suffix tells the format."""
        if self.weights is None:
            return "extractor.safetensors"
        return "extractor.pt2" if self.weights.endswith(".pt2") else "extractor.pt"

    def describe(self) -> str:
        """Return a phrase about the origin of the features."""
        name = {"random": "random network", "file": self.weights or ""}
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
    """

    def __init__(self, network: nn.Module, info: ExtractorInfo, file: Path | None = None) -> None:
        self.network, self.info, self.file = network, info, file
        self.device = torch.device("cpu")

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
        return Features(*(part.float().cpu().numpy() for part in out))

    def differentiable(self, images: Tensor) -> Tensor:
        """Return features ``(N, d)``, with gradient, of images ``(N, C, H, W)`` in [-1, 1].

        The images are not rounded. Inception gives no such features: it takes whole bytes only.
        """
        self.network.eval()
        features: Tensor = self.network((images + 1) * 127.5)[0]
        return features

    def save(self, folder: Path) -> None:
        """Write identity and weights into ``folder``.

        This fixes the hash of a network made by bngan. A file from elsewhere is copied as it is, so
        that the folder can be used on any machine.
        """
        path = folder / self.info.stored_as
        if self.file is not None:
            shutil.copyfile(self.file, path)
        else:
            state = {name: value.cpu() for name, value in self.network.state_dict().items()}
            self.info.sha256 = state_hash(state)
            save_file(state, path)
        record = asdict(self.info)
        if names := record.pop("class_names"):
            (folder / CLASS_NAMES).write_text(json.dumps(names), encoding="utf-8")
        (folder / INFO).write_text(json.dumps(record, indent=2), encoding="utf-8")


def state_hash(state: Mapping[str, Tensor]) -> str:
    """Return the sha256 (hex) over names and values."""
    digest = hashlib.sha256()
    for key in sorted(state):
        digest.update(key.encode() + state[key].numpy().tobytes())
    return digest.hexdigest()
