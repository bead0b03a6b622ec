"""Prepare what the gate compares: draws of generators, their training images, a second space."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from bngan.data.dataset import ImageSplit, Split
from bngan.metrics.evaluation import Reference
from bngan.metrics.features import Features
from bngan.metrics.memorization import MOST_TRAINED, CopyDetector
from bngan.metrics.protocol import Protocol
from bngan.metrics.second_space import MOST_IMAGES, SecondSpace
from pipeline.cluster.launch import local_device
from pipeline.core.errors import UserError
from pipeline.evaluation.scoring import generated_features, loaded
from pipeline.evaluation.vetoes import Draw, Gap, GateCandidate
from pipeline.registry.aliases import EXTRACTOR
from pipeline.registry.registry import recorded_number
from pipeline.storage.workspace import Workspace

MEASURE, DATA = "bngan.measure", "bngan.data"
"""Tags of versions: digests of what its scores were measured by, and of its prepared data."""
GAP, GAP_ERROR = "bngan.batch_norm_gap", "bngan.batch_norm_gap_se"
"""Tags of versions: the change of FID with batch statistics, and its standard error."""
TRAINED_ON = "bngan.trained_on_features"
"""Tag of versions: kind of the extractor whose features the training compared images by."""


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
    names = storage.key(generator), storage.key(extractor)
    sampler, _ = loaded(storage, *names, local_device(accelerator))
    batches = sampler.batches(seed, few)
    return Draw(features, np.concatenate([space.describe(images) for images in batches]))


def contender(
    draw: Callable[[int], Draw],
    copies: CopyDetector | None,
    tags: Mapping[str, str],
    judged_by: Mapping[str, str],
) -> GateCandidate:
    """Return a version as the gate takes it.

    Args:
        draw: returns a draw by its number.
        copies: finds copies of the version's training images; None if these are not known.
        tags: tags of the version.
        judged_by: tags of the version whose reference scores the draws.
    """
    used = EXTRACTOR in judged_by and tags.get(TRAINED_ON) == judged_by[EXTRACTOR]
    return GateCandidate(draw, copies, gap_of(tags, judged_by.get(MEASURE)), used)


def gap_of(tags: Mapping[str, str], measure: str | None) -> Gap | None:
    """Return a version's batch-norm gap, if it was measured by the same ``measure``."""
    gap, error = (recorded_number(tags, name) for name in (GAP, GAP_ERROR))
    if measure is None or tags.get(MEASURE) != measure or gap is None or error is None:
        return None
    return Gap(gap, error)


def unseen_features(reference: Reference, prepared: Path) -> np.ndarray:
    """Return features ``(N, d)`` of real images that no training has seen, beside which copies count.

    They are the reference's. If those are training images, the select images take their place.
    """
    if reference.protocol.split != "train":
        return reference.real.features
    return _features(reference, prepared, "select", reference.protocol.count)


def training_features(reference: Reference, prepared: Path) -> np.ndarray:
    """Return features ``(N, d)`` of training images of prepared data, by a reference's extractor."""
    return _features(reference, prepared, "train", MOST_TRAINED)


def _features(reference: Reference, prepared: Path, split: Split, count: int) -> np.ndarray:
    extractor = reference.extractor.to(local_device("auto"))
    images = ImageSplit.load(prepared, split).images[:count]
    return Features.join(extractor.batches(images)).features
