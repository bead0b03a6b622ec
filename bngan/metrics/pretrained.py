"""Extractors trained by others: Inception, and networks in files."""

import hashlib
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bngan.data.dataset import ImageShape
from bngan.metrics.features import Extractor, ExtractorInfo, InputRange
from bngan.numerics.precision import exact_convolutions
from bngan.serialization.problem import first_line

INCEPTION_FEATURES, INCEPTION_CLASSES = 2048, 1008
_SCALES: dict[InputRange, tuple[float, float]] = {
    "byte": (1.0, 0.0),
    "unit": (255.0, 0.0),
    "signed": (127.5, 1.0),
}
_CROWD = 32
"""Images in the batch of a trial."""
_REGISTER_AGAIN = (
    "Earlier code stored this network untried, and nobody can mend it there: make the reference "
    "again with a network exported in evaluation mode, and register the model again"
)
_TOLERANCE = 1e-4
"""Largest difference of an image's features between batches, relative to the largest feature.

Other sums of the same float32 numbers differ by 1e-6 or so, and dropout or batch statistics by 1e-2
and more. Half precision rounds more: it may differ by ``_HALF_STEPS`` of its own steps.
"""
_HALF_STEPS = 8


def inception(image_shape: ImageShape, weights: Path | None) -> Extractor:
    """Return Inception of 2015 with its resizing, which defines FID (through torch-fidelity).

    Args:
        image_shape: (C, H, W) of the images; grey images become three equal channels.
        weights: file of its state dict; None downloads torch-fidelity's.

    Raises:
        ValueError: if the weights are not available or cannot be used.
    """
    path = weights or _downloaded()
    info = ExtractorInfo("inception", image_shape, INCEPTION_FEATURES, INCEPTION_CLASSES)
    info.weights, info.sha256 = path.name, file_hash(path)
    extractor = _loaded(info, path)
    _require_steady(extractor.network, image_shape, path)
    return extractor


def from_file(
    image_shape: ImageShape, path: Path, size: int | None, range_: InputRange
) -> Extractor:
    """Return an extractor from a file of ``torch.export.save`` (.pt2) or of TorchScript.

    Its network maps float32 ``(N, C, H, W)`` to features ``(N, d)``, or to features and logits
    ``(N, classes)``, for any N. An image's features must not depend on the other images. Four images
    try that: two of noise and two smooth gradients, twice and one by one. A network passes if it is
    rarely random (dropout of 0.001 often does), or depends on the batch by less than 1e-4 of its
    largest feature, or only for other images. It is refused if it has one answer to all four.

    Raises:
        ValueError: if the file cannot be used.
    """
    info = ExtractorInfo("file", image_shape, 0, 0, input_size=size, input_range=range_)
    info.weights, info.sha256 = path.name, file_hash(path)
    extractor = _loaded(info, path)
    _require_steady(extractor.network, image_shape, path)
    out = _outputs(extractor.network, _trial_images(image_shape)[:1], path)
    info.features, info.classes = (part.shape[1] for part in out)
    return extractor


def load_pretrained_extractor(info: ExtractorInfo, path: Path) -> Extractor:
    """Return the stored extractor ``info`` from the file at ``path``.

    Raises:
        ValueError: if the file's hash is not that of ``info``, or its network cannot be used, for
            example because it was exported in training mode.
    """
    extractor = _loaded(info, path)
    if info.kind == "file":
        try:
            _require_steady(extractor.network, info.image_shape, path)
        except ValueError as error:
            raise ValueError(f"{error}. {_REGISTER_AGAIN}") from error
    return extractor


def _loaded(info: ExtractorInfo, path: Path) -> Extractor:
    if file_hash(path) != info.sha256:
        raise ValueError(f"{path} is not the extractor it was: its hash has changed")
    network = _Inception(path) if info.kind == "inception" else _FromFile(path, info)
    return Extractor(network.eval().requires_grad_(False), info, path)


def _require_steady(network: nn.Module, image_shape: ImageShape, path: Path) -> None:
    """Raise ``ValueError`` unless an image has the same features at each time and in each batch."""
    images = _trial_images(image_shape)
    random = torch.Generator().manual_seed(1)
    more = torch.randint(256, (_CROWD - len(images), *image_shape), generator=random)
    crowd = torch.cat([images, more.to(torch.uint8)])
    first, again = (_outputs(network, crowd, path) for _ in range(2))
    alone = [_outputs(network, image[None], path) for image in images]
    for name, one, other, *parts in zip(("features", "logits"), first, again, *alone, strict=True):
        if not one.float().isfinite().all():
            raise ValueError(f"{path} gives {name} that are infinite or no numbers")
        if (apart := _difference(one, other)) > _tolerance(one):
            raise ValueError(
                f"{path} gives the same images other {name} the second time, by {apart:.2%}: it draws "
                "random numbers, as dropout does. Export it in evaluation mode: network.eval()"
            )
        if (apart := _difference(one[: len(images)], torch.cat(parts))) > _tolerance(one):
            raise ValueError(
                f"{path} gives an image other {name} alone than in a batch, by {apart:.2%}: its batch "
                "norm is in training mode, or it computes with the batch as a whole. Export it in "
                "evaluation mode: network.eval()"
            )
    features = first[0]
    if _difference(features, features[:1]) <= torch.finfo(torch.float32).eps:
        raise ValueError(f"{path} gives different images the same features")


def _trial_images(image_shape: ImageShape) -> Tensor:
    """Return bytes ``(4, C, H, W)``: bright and dark noise, and gradients to the right and up."""
    random = torch.Generator().manual_seed(0)
    noise = torch.randint(256, (2, *image_shape), generator=random, dtype=torch.uint8)
    _, height, width = image_shape
    right, up = torch.linspace(0, 255, width), torch.linspace(255, 0, height)[:, None]
    smooth = [each.expand(image_shape).to(torch.uint8) for each in (right, up)]
    return torch.stack([noise[0], noise[1] >> 1, *smooth])


@exact_convolutions()
@torch.inference_mode()
def _outputs(network: nn.Module, images: Tensor, path: Path) -> tuple[Tensor, Tensor]:
    """Return features and logits. Raises ``ValueError`` if they have another form."""
    try:
        features, logits = network(images)
    except Exception as error:
        message = f"{path} does not take images {tuple(images.shape)}: {first_line(error)}"
        raise ValueError(message) from error
    count = len(images)
    for name, given in {"features (N, d)": features, "logits (N, classes)": logits}.items():
        if given.dim() != 2 or len(given) != count:
            shape = tuple(given.shape)
            raise ValueError(f"{path} must give {name}, got {shape} for N = {count}")
        if not given.is_floating_point():
            raise ValueError(f"{path} must give {name} as real numbers, got {given.dtype}")
    return features, logits


def _difference(one: Tensor, other: Tensor) -> float:
    """Return the largest difference, relative to the largest value."""
    one, other = one.double(), other.double()
    if not one.numel():
        return 0.0
    return float((one - other).abs().max() / one.abs().max().clamp_min(1e-300))


def _tolerance(values: Tensor) -> float:
    return max(_TOLERANCE, _HALF_STEPS * torch.finfo(values.dtype).eps)


class _Inception(nn.Module):
    def __init__(self, path: Path) -> None:
        super().__init__()
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        try:
            torch.load(path, weights_only=True)  # refuse all but tensors: torch-fidelity does not
            names = ["2048", "logits_unbiased"]
            self.network = FeatureExtractorInceptionV3("inception", names, str(path))
        except Exception as error:
            message = f"{path} does not hold Inception's weights: {first_line(error)}"
            raise ValueError(message) from error

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features, logits = self.network(images.expand(-1, 3, -1, -1))
        return features, logits


class _FromFile(nn.Module):
    def __init__(self, path: Path, info: ExtractorInfo) -> None:
        super().__init__()
        self.size, (self.scale, self.shift) = info.input_size, _SCALES[info.input_range]
        try:
            exported = path.suffix == ".pt2"
            load: Any = torch.export.load if exported else torch.jit.load
            loaded = load(path)
        except Exception as error:
            message = f"{path} is neither torch.export's nor TorchScript: {first_line(error)}"
            raise ValueError(message) from error
        # TorchScript keeps its saved mode, so set it; an exported program has no mode to set.
        self.network = loaded.module() if exported else loaded.eval()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        values = images.float() / self.scale - self.shift
        if self.size is not None:
            values = F.interpolate(values, self.size, mode="bilinear", antialias=True)
        out = self.network(values)
        features, logits = (
            out if isinstance(out, tuple | list) else (out, out.new_zeros(len(out), 0))
        )
        return features, logits

    def train(self, mode: bool = True) -> "_FromFile":
        return self


def _downloaded() -> Path:
    """Return the path of torch-fidelity's Inception weights; download them if they are missing."""
    from torch.hub import get_dir, load_state_dict_from_url
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

    path: Path = Path(get_dir()) / "checkpoints" / URL_INCEPTION_V3.rsplit("/", 1)[-1]
    # The file's name ends with the first digits of its hash: check an existing file, too.
    if path.exists() and not file_hash(path).startswith(path.stem.rpartition("-")[2]):
        raise ValueError(f"{path} is not Inception's weights: its hash is another; delete it")
    if not path.exists():
        try:
            load_state_dict_from_url(URL_INCEPTION_V3, weights_only=True, check_hash=True)
        except Exception as error:
            message = f"Inception's weights could not be downloaded ({error}): give their file"
            raise ValueError(message) from error
    return path


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file. Raises ``ValueError`` if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ValueError(f"the extractor's weights cannot be read: {error}") from error
