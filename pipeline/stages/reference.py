"""reference: the feature extractor of this dataset, features of real images, and the floor."""

import json

import numpy as np

from bngan.data import ImageSplit
from bngan.metrics.features import Extractor, train_classifier, untrained_extractor
from bngan.metrics.protocol import Protocol, floor
from pipeline.errors import UserError
from pipeline.stage import Stage, StageContext, Summary

SELECT_COUNT = 1000
"""Real images, at most, that scores during training are measured against."""


def run(context: StageContext) -> Summary:
    """Write the extractor, ``features_select.npy``, ``features_real.npy`` and ``floor.json``."""
    prepared, output = context.inputs["prepare"], context.output
    protocol = Protocol.parse(context.config.evaluate.protocol)
    train, select = ImageSplit(prepared, "train"), ImageSplit(prepared, "select")
    learned = len(train) // 2
    extractor = _extractor(context, train, learned)
    # Nothing the extractor learned from is ever a reference: of train, only the other half.
    real = {
        "train": train.images[learned : learned + 2 * protocol.count],
        "select": select.images[: max(2 * protocol.count, SELECT_COUNT)],
        "test": ImageSplit(prepared, "test").images[: 2 * protocol.count],
    }
    features = {split: extractor(images) for split, images in real.items()}
    if extractor.info.kind == "classifier":
        predicted = features["select"].logits[:SELECT_COUNT].argmax(axis=1)
        extractor.info.accuracy = float((predicted == select.labels[:SELECT_COUNT]).mean())
    extractor.save(output)
    try:
        reference = protocol.real(features[protocol.split].features)
    except ValueError as error:
        raise UserError(f"evaluate.protocol: {error}") from error
    np.save(output / "features_real.npy", reference)
    np.save(output / "features_select.npy", features["select"].features[:SELECT_COUNT])
    real_floor = floor(list(features.values()), protocol.count)
    (output / "floor.json").write_text(json.dumps(real_floor, indent=2))
    return {
        "extractor": extractor.info.kind,
        "accuracy": extractor.info.accuracy,
        "sha256": extractor.info.sha256,
        "floor": real_floor,
    }


def _extractor(context: StageContext, train: ImageSplit, learned: int) -> Extractor:
    classes = len(json.loads((context.inputs["prepare"] / "dataset.json").read_text())["classes"])
    if classes < 2:
        return untrained_extractor(train.image_shape)
    return train_classifier(
        train.images[:learned],
        train.labels[:learned],
        classes,
        progress=lambda done, total: context.events.progress(done, total, "classifier"),
    )


STAGE = Stage(
    "reference",
    run,
    config=("evaluate.protocol",),
    inputs={"prepare": ("*.npy", "dataset.json")},
)
