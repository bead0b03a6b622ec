"""reference: the feature extractor of this dataset, features of real images, and the floor."""

import json
from dataclasses import asdict

import numpy as np

from bngan.data import SPLITS, UNLABELLED, ImageSplit
from bngan.metrics.features import Extractor, train_classifier, untrained_extractor
from bngan.metrics.protocol import Protocol, floor
from pipeline.errors import UserError
from pipeline.stage import Stage, StageContext, Summary

SELECT_COUNT = 5000
"""Real images, at most, that scores during training are measured against."""


def run(context: StageContext) -> Summary:
    """Write the extractor, ``features_select.npy``, ``features_real.npy`` and ``floor.json``."""
    prepared, output = context.inputs["prepare"], context.output
    protocol = Protocol.parse(context.config.evaluate.protocol)
    train, select, test = (ImageSplit.load(prepared, split) for split in SPLITS)
    learned = len(train) // 2
    available = {"train": len(train) - learned, "select": len(select), "test": len(test)}
    try:
        protocol.check(available[protocol.split])
    except ValueError as error:
        raise UserError(f"evaluate.protocol: {error}") from error
    extractor = _extractor(context, train, learned)
    # Nothing the extractor learned from is ever a reference: of train, only the other half.
    real = {
        "train": train.images[learned : learned + 2 * protocol.count],
        "select": select.images[: max(2 * protocol.count, SELECT_COUNT)],
        "test": test.images[: 2 * protocol.count],
    }
    features = {split: extractor(images) for split, images in real.items()}
    if extractor.info.kind == "classifier":
        extractor.info.accuracy = _accuracy(
            features["select"].logits[:SELECT_COUNT], select.labels[:SELECT_COUNT]
        )
    extractor.save(output)
    np.save(output / "features_real.npy", features[protocol.split].features[: protocol.count])
    np.save(output / "features_select.npy", features["select"].features[:SELECT_COUNT])
    real_floor = floor(list(features.values()), protocol.count)
    (output / "floor.json").write_text(json.dumps(real_floor, indent=2))
    measured = {f"floor_{name}": value for name, value in real_floor.items()}
    if extractor.info.accuracy is not None:
        measured["extractor_accuracy"] = extractor.info.accuracy
    context.events.metrics(measured, 0)
    note = f"{extractor.info.describe()}; real images score FID {real_floor['fid']:.3g}"
    return {"extractor": asdict(extractor.info), "floor": real_floor, "note": note}


def _accuracy(logits: np.ndarray, labels: np.ndarray) -> float | None:
    known = labels != UNLABELLED
    return float((logits.argmax(axis=1) == labels)[known].mean()) if known.any() else None


def _extractor(context: StageContext, train: ImageSplit, learned: int) -> Extractor:
    classes = len(json.loads((context.inputs["prepare"] / "dataset.json").read_text())["classes"])
    labelled = np.flatnonzero(train.labels[:learned] != UNLABELLED)
    if classes < 2 or len(labelled) == 0:
        return untrained_extractor(train.spec.shape)
    return train_classifier(
        train.images[labelled],
        train.labels[labelled],
        classes,
        progress=lambda done, total: context.events.progress(done, total, "classifier"),
    )


STAGE = Stage(
    "reference",
    run,
    config=("evaluate.protocol",),
    inputs={"prepare": ("*.npy", "dataset.json")},
)
