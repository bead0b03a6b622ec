"""Score generators on all machines at hand; registered versions bring their own reference."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from bngan.data.decoding import convert, decode
from bngan.data.source import ReadOptions
from bngan.data.sources import open_source
from bngan.generation.sampler import Sampler
from bngan.metrics.evaluation import Reference, evaluation
from bngan.metrics.extractors import load_extractor
from bngan.metrics.features import Extractor, Features
from bngan.metrics.protocol import EVALUATION_SEEDS, Protocol
from bngan.numerics import rng as randomness
from pipeline.cluster import launch as cluster
from pipeline.core.errors import UserError
from pipeline.registry.integrity import require_trust
from pipeline.registry.registry import OpenedModel, open_generator
from pipeline.storage.sharing import fetch, published
from pipeline.storage.workspace import SHARED, Workspace

ProgressCallback = Callable[[int, int, str], None]
"""Takes progress: units done, units in total, and the name of the work."""
_CHUNK = 1000
_ALL_IMAGES = ReadOptions(splits={}, class_level=0, metadata=False)
"""Names of folders mean nothing among generated images."""


def generated_features(
    generator: Path,
    extractor: Path,
    seed: int,
    count: int,
    accelerator: str,
    progress: Callable[[int, int], None] = lambda done, total: None,
    group: int | None = None,
    storage: Workspace = SHARED,
) -> Features:
    """Return features of images 0 to ``count`` - 1 of ``seed``, the same on any number of machines.

    Args:
        generator: folder of a saved ``Sampler``.
        extractor: folder of a saved ``Extractor``.
        group: images that batch norm normalises together, as in training; None: stored statistics.
        storage: the workspace that the folders are in.
    """
    folders = storage.key(generator), storage.key(extractor)
    size = group or 1
    step = max(_CHUNK // size, 1) * size
    tasks = [
        (storage, *folders, seed, start, min(start + step, count), group)
        for start in range(0, count, step)
    ]
    parts = []
    for part in cluster.map_tasks(_features, tasks, accelerator):
        parts.append(part)
        progress(sum(len(p.features) for p in parts), count)
    return Features.join(parts)


def _features(
    storage: Workspace,
    generator: str,
    extractor: str,
    seed: int,
    start: int,
    stop: int,
    group: int | None,
    device: str,
) -> Features:
    sampler, judge = loaded(storage, generator, extractor, device)
    if group is not None:
        sampler = sampler.with_batch_statistics(group)
    return Features.join(judge(images) for images in sampler.batches(seed, range(start, stop)))


@lru_cache(maxsize=4)
def loaded(
    storage: Workspace, generator: str, extractor: str, device: str
) -> tuple[Sampler, Extractor]:
    """Return generator and extractor of folders, by their names in the workspace, on a device."""
    sampler = Sampler.load(fetch(storage, generator)).to(device)
    return sampler, load_extractor(storage.path(extractor)).to(device)


def evaluate_model(
    storage: Workspace, uri: str, protocol: str | None, images: Path | None, tell: ProgressCallback
) -> dict[str, Any]:
    """Return the record of scores of a registered version, measured with its own reference.

    Args:
        storage: the workspace; it has the registry, unless MLFLOW_TRACKING_URI is set.
        uri: the version, such as ``models:/NAME@champion``.
        protocol: a protocol with fewer images than the version's own.
        images: a folder of generated images to score instead of the version's.
        tell: called with progress.

    Raises:
        UserError: if the version does not exist, or cannot be scored in this way.
    """
    with downloaded_for_scoring(storage, uri) as model:
        reference = reference_of(model, protocol)
        if images is not None:
            fakes = {0: _features_of_folder(images, reference)}
        else:
            fakes = {
                seed: generated_features_of(storage, model, reference, seed, tell)
                for seed in EVALUATION_SEEDS
            }
        return evaluation(reference, fakes)


@contextmanager
def downloaded_for_scoring(storage: Workspace, uri: str) -> Iterator[OpenedModel]:
    """Open a registered version that carries its reference, and let all nodes read its folders.

    Raises:
        UserError: if the version does not exist, or has no reference, or an untrusted one.
    """
    with open_generator(storage.local, uri) as model:
        if not model.reference.is_dir():
            raise UserError(f"{uri} carries nothing to be scored with: register it again")
        require_trust(model.reference, uri)
        with published(storage, model.generator, model.reference):
            yield model


def load_reference(folder: Path) -> Reference:
    """Read a reference that ``Reference.save`` wrote.

    Raises:
        UserError: if a file is wrong, for example the extractor's is missing or has changed.
    """
    try:
        return Reference.load(folder)
    except ValueError as error:
        raise UserError(str(error)) from error


def reference_of(model: OpenedModel, protocol: str | None) -> Reference:
    """Return a version's own reference, perhaps with a protocol of fewer images.

    Raises:
        UserError: if the reference cannot be read, or has too few images for the protocol.
    """
    reference = load_reference(model.reference)
    try:
        return reference.smaller(Protocol.parse(protocol)) if protocol else reference
    except ValueError as error:
        raise UserError(str(error)) from error


def generated_features_of(
    storage: Workspace,
    model: OpenedModel,
    reference: Reference,
    seed: int,
    tell: ProgressCallback,
) -> Features:
    """Return features of as many images of ``model`` as the protocol has, by its own extractor."""
    return generated_features(
        model.generator,
        model.reference,
        seed,
        reference.protocol.count,
        "auto",
        lambda done, total: tell(done, total, f"samples, seed {seed}"),
        storage=storage,
    )


def _features_of_folder(folder: Path, reference: Reference) -> Features:
    """Return features of images in a folder, without resizing.

    The images are a random draw, since files are often sorted by class. Their order is random too:
    some scores and all intervals compare parts of the set, which must be alike.
    """
    channels, height, width = reference.extractor.info.image_shape
    count, pixels = reference.protocol.count, []
    with tempfile.TemporaryDirectory(prefix="bngan-") as cache:
        try:
            source = open_source(str(folder), Path(cache), _ALL_IMAGES)["train"]
            if len(source) < count:
                raise ValueError(
                    f"{len(source)} images, and {reference.protocol.name} needs {count}"
                )
            random = randomness.generator(0, randomness.Stream.FOLDER)
            order = random.permutation(len(source))
            for name, content in source.files(order[:count]):
                image = decode(content)
                if image.size != (width, height):
                    size = f"{image.size[0]}x{image.size[1]}"
                    raise ValueError(f"{name} is {size}, the model's images are {width}x{height}")
                pixels.append(convert(image, channels, None, "crop"))
        except ValueError as error:
            raise UserError(f"{folder}: {error}") from error
    return reference.extractor(np.stack(pixels))
