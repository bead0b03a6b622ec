"""Prepare what the gate compares: draws of generators, their training images, a second space."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from bngan.data.dataset import ImageSplit, Split
from bngan.generation.sampler import Sampler
from bngan.metrics.evaluation import Reference
from bngan.metrics.features import Features
from bngan.metrics.protocol import Protocol
from bngan.metrics.second_space import MOST_IMAGES, SecondSpace
from pipeline.cluster.launch import local_device
from pipeline.core.errors import UserError
from pipeline.evaluation.scoring import generated_features
from pipeline.evaluation.vetoes import Draw, Gap
from pipeline.storage.workspace import Workspace

MEASURE, DATA = "bngan.measure", "bngan.data"
"""Tags of versions: digests of what its scores were measured by, and of its prepared data."""
GAP, GAP_ERROR = "bngan.batch_norm_gap", "bngan.batch_norm_gap_se"
"""Tags of versions: the change of FID with batch statistics, and its standard error."""
TRAINED_ON = "bngan.trained_on_features"
"""Tag of versions: kind of the extractor whose features the training compared images by."""
TRAIN_COUNT = 50_000
"""Most training images among which copies are looked for."""


def second_space(protocol: Protocol, classifier: Path, prepared: Path) -> SecondSpace:
    """Return the second space, with the real images of a protocol.

    Args:
        protocol: the protocol; its real images are the first ones of their split.
        classifier: folder of the classifier; absent: the space is the pyramid's.
        prepared: folder of the prepared data that the real images come from.

    Raises:
        UserError: if a file of the classifier is wrong.
    """
    if not classifier.is_dir():
        images = ImageSplit.load(prepared, protocol.split).images
        return SecondSpace(images[: protocol.count])
    try:
        return SecondSpace.load(classifier)
    except ValueError as error:
        raise UserError(str(error)) from error


def draw_of(
    storage: Workspace,
    generator: Path,
    extractor: Path,
    space: SecondSpace | None,
    seed: int,
    count: int,
    accelerator: str,
    progress: Callable[[int, int], None],
) -> Draw:
    """Return images 0 to ``count`` - 1 of ``seed`` as the gate sees them.

    Args are those of ``generated_features``. The second space takes its few images on this machine;
    None: it does not matter.
    """
    features = generated_features(
        generator, extractor, seed, count, accelerator, progress, storage=storage
    )
    if space is None:
        return Draw(features, np.empty(0))
    few = range(min(count, MOST_IMAGES))
    batches = Sampler.load(generator).to(local_device(accelerator)).batches(seed, few)
    return Draw(features, np.concatenate([space.describe(images) for images in batches]))


def gap_of(tags: Mapping[str, str], measure: str) -> Gap | None:
    """Return a version's batch-norm gap, if it was measured by the same ``measure``."""
    if tags.get(MEASURE) != measure or GAP_ERROR not in tags:
        return None
    return Gap(float(tags[GAP]), float(tags[GAP_ERROR]))


def unseen_features(reference: Reference, prepared: Path) -> np.ndarray:
    """Return features ``(N, d)`` of real images that no training has seen, beside which copies count.

    They are the reference's. If those are training images, the select images take their place.
    """
    if reference.protocol.split != "train":
        return reference.real.features
    return _features(reference, prepared, "select", reference.protocol.count)


def training_features(reference: Reference, prepared: Path) -> np.ndarray:
    """Return features ``(N, d)`` of training images of prepared data, by a reference's extractor."""
    return _features(reference, prepared, "train", TRAIN_COUNT)


def _features(reference: Reference, prepared: Path, split: Split, count: int) -> np.ndarray:
    extractor = reference.extractor.to(local_device("auto"))
    images = ImageSplit.load(prepared, split).images[:count]
    return Features.join(extractor.batches(images)).features
