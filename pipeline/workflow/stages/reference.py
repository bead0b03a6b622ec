"""reference: the basis of scores: extractor, features of real images, and the floor."""

import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np

from bngan.data.class_names import numbered_name, short_name
from bngan.data.dataset import SPLITS, UNLABELLED, ImageSpec, ImageSplit, Split
from bngan.generation.sampler import DESCRIPTION, WEIGHTS, Sampler
from bngan.metrics.agreement import Agreement
from bngan.metrics.axes import NOT_PROJECTED
from bngan.metrics.classifier import train_classifier, untrained_extractor
from bngan.metrics.evaluation import Reference
from bngan.metrics.extractors import classes_to_learn, default_kind, load_extractor
from bngan.metrics.features import Extractor, Features
from bngan.metrics.imagenet import imagenet
from bngan.metrics.memorization import MOST_TRAINED
from bngan.metrics.pretrained import file_hash, from_file, inception
from bngan.metrics.protocol import Protocol
from bngan.metrics.scores import real_vs_real
from bngan.metrics.second_space import save_classifier
from bngan.serialization.manifest import digest
from pipeline.config.schema import Config
from pipeline.core.errors import UserError
from pipeline.evaluation.seen import digests_of
from pipeline.registry.base_model import base_files, opened_base
from pipeline.storage.artifacts import (
    BASE_DIGESTS,
    BASE_GENERATOR,
    DATASET,
    SECOND_SPACE,
    SELECT_FEATURES,
    TRAIN_FEATURES,
)
from pipeline.workflow.stage import Stage, StageContext, Summary

SELECT_COUNT = 5000
"""Most real images for scores during training."""
_AXES_COUNT = 5000
"""Most training images that decide about the axes of features."""
_SLOW = ("inception", "file")
"""Kinds that nobody checks on degraded images: that may take half an hour."""
_LEARNED_BYTES = 2**31
"""Most bytes of images that a classifier learns from."""
_LISTED = 10
"""Most classes that a message lists."""


def run(context: StageContext) -> Summary:
    """Write a ``Reference``, ``select.npz`` and ``train.npz``; for an adaptation also its base."""
    prepared, output = context.inputs["prepare"], context.output
    splits = {split: ImageSplit.load(prepared, split) for split in SPLITS}
    based = _based(context, splits["train"])
    kind = _kind(context.config.extractor.kind, splits["train"])
    learned = 0 if based or kind in NOT_PROJECTED else len(splits["train"]) // 2
    protocol = _protocol(context.config, splits, learned, context.events.message)
    extractor = based or _extractor(context, kind, splits["train"], learned)
    if learned:
        images = splits["train"].images[: min(learned, _AXES_COUNT)]
        extractor = extractor.with_axes(images)
    count = 2 * protocol.count
    counts = {"train": max(MOST_TRAINED, learned + count), "test": count}
    features = _features(context, extractor, splits, counts)
    train = features["train"]
    # The reference excludes the images that the extractor, or its axes, come from.
    features["train"] = train.take(slice(learned, learned + count))
    select = features["select"].take(slice(SELECT_COUNT))
    if learned and kind == "classifier":
        extractor.info.accuracy = _accuracy(select.logits, splits["select"].labels[:SELECT_COUNT])
    context.events.progress(0, 1, "what real images score against real images")
    real = features[protocol.split].take(slice(protocol.count))
    real_floor = real_vs_real(list(features.values()), protocol.count, extractor.sha256)
    checked = None if based or kind in _SLOW else splits["train"].images[learned:]
    agreement = _agreement(context, extractor, checked)
    Reference(protocol, extractor, real, real_floor, agreement).save(output)
    if not context.config.adapt.base and kind == "imagenet":
        start = learned if protocol.split == "train" else 0
        stop = start + protocol.count
        _save_second_space(context, splits, splits[protocol.split].images[start:stop])
    select.save(output / SELECT_FEATURES)
    train.take(slice(MOST_TRAINED)).save(output / TRAIN_FEATURES)
    measured = {f"floor_{name}": value for name, value in real_floor.items()}
    if extractor.info.accuracy is not None:
        measured["extractor_accuracy"] = extractor.info.accuracy
    context.events.metrics(measured, 0)
    note = f"{extractor.info.describe()}; real images score FID {real_floor['fid']:.3g}"
    return {"extractor": asdict(extractor.info), "floor": real_floor, "note": note}


def _protocol(
    config: Config,
    splits: Mapping[Split, ImageSplit],
    learned: int,
    tell: Callable[[str], None],
) -> Protocol:
    """Return the protocol. Raise ``UserError`` if there are too few images for it.

    The first ``learned`` training images are no reference.
    """
    protocol = Protocol.parse(config.evaluate.protocol)
    available = {name: len(split) for name, split in splits.items()}
    available["train"] -= learned
    try:
        protocol.check(whole := available[protocol.split])
    except ValueError as error:
        raise UserError(f"evaluate.protocol: {error}") from error
    if config.data.group and protocol.count < whole:
        tell(
            f"evaluate.protocol: {protocol.name} takes the first groups of {whole:,} images: "
            f"fid{whole}_{protocol.split} would take all of them"
        )
    return protocol


def _agreement(
    context: StageContext, extractor: Extractor, images: np.ndarray | None
) -> Agreement | None:
    def tell(done: int, total: int) -> None:
        context.events.progress(done, total, "degraded real images")

    return None if images is None else Agreement.of(extractor, images, tell)


def _features(
    context: StageContext,
    extractor: Extractor,
    splits: Mapping[Split, ImageSplit],
    counts: Mapping[str, int],
) -> dict[Split, Features]:
    """Return features of each split's images, only of the first ones if ``counts`` has a limit."""
    images = {name: split.images[: counts.get(name)] for name, split in splits.items()}
    total, done = sum(len(part) for part in images.values()), 0
    features = {}
    for name, part in images.items():
        batches = []
        for batch in extractor.batches(part):
            batches.append(batch)
            done += len(batch.features)
            context.events.progress(done, total, "features of real images")
        features[name] = Features.join(batches)
    return features


def _based(context: StageContext, train: ImageSplit) -> Extractor | None:
    """Keep the base of an adaptation; return its extractor, if it has one and kind is auto.

    A new classifier would learn nothing from few images. The extractor's recorded accuracy stays
    that on the base's classes.
    """
    if not context.config.adapt.base:
        return None
    with opened_base(context.config) as found:
        kept = context.output / BASE_GENERATOR
        kept.mkdir()
        for name in (WEIGHTS, DESCRIPTION):
            shutil.copyfile(found.generator / name, kept / name)
        try:
            theirs = load_extractor(found.scored_by) if found.scored_by else None
        except ValueError as error:
            raise UserError(f"adapt.base: {error}") from error
        if found.model and (digests := digests_of(context.storage, found.model)):
            digests.save(context.output / BASE_DIGESTS)
    base = Sampler.load(kept)
    _require_same(context.config, base, train.spec)
    if base.model.conditional and (renamed := _renamed(base.spec, train.spec)):
        context.events.message(f"adapt.base: classes continue by number, {renamed}")
    return theirs if context.config.extractor.kind == "auto" else None


def _require_same(config: Config, base: Sampler, images: ImageSpec) -> None:
    """Raise ``UserError`` if shape or number of classes differ between base and data."""
    if base.spec.shape != images.shape:
        (c, h, w), (channels, height, width) = base.spec.shape, images.shape
        raise UserError(
            f"adapt.base makes images of {h}x{w}x{c}, and the data's are {height}x{width}x{channels}: "
            "set data.image_size and data.channels"
        )
    if base.model.conditional and base.spec.classes != images.classes:
        raise UserError(
            f"adapt.base knows {base.spec.classes} classes, and the data has {images.classes}: "
            "choose as many by data.classes"
        )


def _renamed(base: ImageSpec, images: ImageSpec) -> str:
    """Return the classes of a base whose number has another name in the data, as ``0 cat as dog``."""
    pairs = enumerate(zip(base.class_names, images.class_names, strict=False))
    renamed = [
        f"{numbered_name(number, before)} as {short_name(after)}"
        for number, (before, after) in pairs
        if before != after
    ]
    more = f", ... ({len(renamed):,} in all)" if len(renamed) > _LISTED else ""
    return ", ".join(renamed[:_LISTED]) + more


def _accuracy(logits: np.ndarray, labels: np.ndarray) -> float | None:
    known = labels != UNLABELLED
    return float((logits.argmax(axis=1) == labels)[known].mean()) if known.any() else None


def _kind(wanted: str, train: ImageSplit) -> str:
    """Return the kind of the extractor; auto goes by the images.

    Raises:
        UserError: if the images have no classes for the classifier that is asked for.
    """
    classes = classes_to_learn(train)
    if wanted == "auto":
        return default_kind(train.spec.shape, classes)
    if wanted == "classifier" and classes < 2:
        raise UserError("extractor.kind: a classifier needs images with labels of two classes")
    return wanted


def _extractor(context: StageContext, kind: str, train: ImageSplit, learned: int) -> Extractor:
    """Return an extractor of a kind; a classifier learns from the first ``learned`` images."""
    config, shape = context.config.extractor, train.spec.shape
    path = Path(config.weights) if config.weights else None
    try:
        if kind == "imagenet":
            return imagenet(shape)
        if kind == "inception":
            return inception(shape, path)
        if kind == "file":
            if path is None:
                raise ValueError("extractor.weights must name the file")
            return from_file(shape, path, config.size, config.range)
    except ValueError as error:
        raise UserError(f"extractor: {error}") from error
    if kind == "random":
        return untrained_extractor(shape)
    return _classifier(context, train, learned)


def _classifier(context: StageContext, train: ImageSplit, learned: int) -> Extractor:
    labelled = np.flatnonzero(train.labels[:learned] != UNLABELLED)
    labelled = labelled[: max(_LEARNED_BYTES // train.images[0].nbytes, 1)]
    extractor = train_classifier(
        train.images[labelled],
        train.labels[labelled],
        train.classes,
        mirrors=context.config.data.flip,
        progress=lambda done, total: context.events.progress(done, total, "classifier"),
    )
    extractor.info.class_names = list(train.spec.class_names)
    return extractor


def _save_second_space(
    context: StageContext, splits: Mapping[Split, ImageSplit], real: np.ndarray
) -> None:
    """Train and keep a classifier for the gate, if it tells the classes of the select images."""
    train, select = splits["train"], splits["select"]
    if classes_to_learn(train) < 2:
        return
    classifier = _classifier(context, train, len(train) // 2)
    logits, labels = classifier(select.images[:SELECT_COUNT]).logits, select.labels[:SELECT_COUNT]
    classifier.info.accuracy = _accuracy(logits, labels)
    if _is_guess(classifier.info.accuracy, labels):
        context.events.message(
            "the gate's second space is the pyramid: a classifier hardly tells these classes"
        )
        return
    folder = context.output / SECOND_SPACE
    folder.mkdir()
    save_classifier(folder, classifier, real)


def _is_guess(accuracy: float | None, labels: np.ndarray) -> bool:
    """Return whether an accuracy may be that of the most frequent class, by two standard errors."""
    known = labels[labels != UNLABELLED]
    if accuracy is None:
        return True
    most = np.bincount(known).max() / len(known)
    return bool(accuracy <= most + 2 * math.sqrt(most * (1 - most) / len(known)))


def _files(config: Config) -> str:
    """Return a digest of the extractor's and the base's files; a registered base cannot change."""
    weights = config.extractor.weights
    try:
        hashes = [file_hash(Path(weights))] if weights else []
    except ValueError as error:
        raise UserError(f"extractor.weights: {error}") from error
    hashes += [file_hash(file) for file in base_files(config)]
    return digest(hashes) if hashes else ""


STAGE = Stage(
    "reference",
    run,
    config=("evaluate.protocol", "extractor", "adapt.base", "data.flip"),
    inputs={"prepare": ("*.npy", DATASET)},
    external=_files,
)
