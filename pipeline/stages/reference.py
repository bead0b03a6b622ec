"""reference: what scores are measured against: extractor, features of real images, and the floor."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np

from bngan.data import SPLITS, UNLABELLED, ImageSplit, Split
from bngan.manifest import digest
from bngan.metrics.classifier import train_classifier, untrained_extractor
from bngan.metrics.evaluation import Reference
from bngan.metrics.features import Extractor, Features
from bngan.metrics.pretrained import file_hash, from_file, inception
from bngan.metrics.protocol import Protocol, floor
from pipeline.config import Config, ExtractorConfig
from pipeline.errors import UserError
from pipeline.stage import Stage, StageContext, Summary
from pipeline.training import SELECT

SELECT_COUNT = 5000
"""Real images, at most, that scores during training are measured against."""
TRAIN = "train.npz"
"""Features of training images, in which copies of them are looked for."""
_TRAIN_COUNT = 50_000


def run(context: StageContext) -> Summary:
    """Write a ``Reference``, ``select.npz`` and ``train.npz``."""
    prepared, output = context.inputs["prepare"], context.output
    protocol = Protocol.parse(context.config.evaluate.protocol)
    splits = {split: ImageSplit.load(prepared, split) for split in SPLITS}
    extractor, learned = _extractor(context, splits["train"])
    available = {name: len(split) for name, split in splits.items()}
    available["train"] -= learned
    try:
        protocol.check(available[protocol.split])
    except ValueError as error:
        raise UserError(f"evaluate.protocol: {error}") from error
    count = 2 * protocol.count
    counts = {"train": max(_TRAIN_COUNT, learned + count), "test": count}
    features = _features(context, extractor, splits, counts)
    train = features["train"]
    # Nothing the extractor learned from is ever a reference.
    features["train"] = train.take(slice(learned, learned + count))
    select = features["select"].take(slice(SELECT_COUNT))
    if extractor.info.kind == "classifier":
        extractor.info.accuracy = _accuracy(select.logits, splits["select"].labels[:SELECT_COUNT])
    context.events.progress(0, 1, "what real images score against real images")
    real = features[protocol.split].take(slice(protocol.count))
    real_floor = floor(list(features.values()), protocol.count)
    Reference(protocol, extractor, real, real_floor).save(output)
    select.save(output / SELECT)
    train.take(slice(_TRAIN_COUNT)).save(output / TRAIN)
    measured = {f"floor_{name}": value for name, value in real_floor.items()}
    if extractor.info.accuracy is not None:
        measured["extractor_accuracy"] = extractor.info.accuracy
    context.events.metrics(measured, 0)
    note = f"{extractor.info.describe()}; real images score FID {real_floor['fid']:.3g}"
    return {"extractor": asdict(extractor.info), "floor": real_floor, "note": note}


def _features(
    context: StageContext,
    extractor: Extractor,
    splits: Mapping[Split, ImageSplit],
    counts: Mapping[str, int],
) -> dict[Split, Features]:
    """Of each split's images, or of the first ones where ``counts`` says how many."""
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


def _accuracy(logits: np.ndarray, labels: np.ndarray) -> float | None:
    known = labels != UNLABELLED
    return float((logits.argmax(axis=1) == labels)[known].mean()) if known.any() else None


def _extractor(context: StageContext, train: ImageSplit) -> tuple[Extractor, int]:
    """The configured extractor, and how many training images, the first ones, it has learned from."""
    config, shape = context.config.extractor, train.spec.shape
    try:
        if config.kind == "inception":
            return inception(shape, _path(config)), 0
        if config.kind == "file":
            path = _path(config)
            if path is None:
                raise ValueError("extractor.weights must name the file")
            return from_file(shape, path, config.size, config.range), 0
    except ValueError as error:
        raise UserError(f"extractor: {error}") from error
    learned = len(train) // 2
    classes = len(json.loads((context.inputs["prepare"] / "dataset.json").read_text())["classes"])
    labelled = np.flatnonzero(train.labels[:learned] != UNLABELLED)
    teachable = classes >= 2 and len(labelled) > 0
    if config.kind == "classifier" and not teachable:
        raise UserError("extractor.kind: a classifier needs images with labels of two classes")
    if config.kind == "random" or not teachable:
        return untrained_extractor(shape), 0
    extractor = train_classifier(
        train.images[labelled],
        train.labels[labelled],
        classes,
        progress=lambda done, total: context.events.progress(done, total, "classifier"),
    )
    return extractor, learned


def _path(config: ExtractorConfig) -> Path | None:
    return Path(config.weights) if config.weights else None


def _weights(config: Config) -> str:
    """Identity of the extractor's file, if there is one."""
    path = _path(config.extractor)
    try:
        return digest(file_hash(path)) if path else ""
    except ValueError as error:
        raise UserError(f"extractor.weights: {error}") from error


STAGE = Stage(
    "reference",
    run,
    config=("evaluate.protocol", "extractor"),
    inputs={"prepare": ("*.npy", "dataset.json")},
    external=_weights,
)
