"""What every score says of real images, and of the same ones degraded.

``python -m tests.benchmarks.degradations FOLDER 10000`` prints the table for a prepared dataset (the
folder that the stage prepare wrote): 10,000 images of each kind against as many of the test split.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from bngan.data.dataset import ImageSplit
from bngan.metrics.classifier import train_classifier
from bngan.metrics.evaluation import Reference, evaluation
from bngan.metrics.protocol import Protocol
from bngan.metrics.scores import real_vs_real
from pipeline.reports.page import readable
from pipeline.reports.tables import LABELS


def degraded(train: ImageSplit, unseen: ImageSplit, count: int) -> dict[str, np.ndarray]:
    """uint8 images ``(count, H, W, C)`` by what was done to them."""
    real = unseen.images[:count]
    classes = unseen.labels.max() + 1
    half = unseen.images[unseen.labels < classes / 2][:count]
    return {
        "real": real,
        "blurred": gaussian_filter(real, (0, 1.0, 1.0, 0)),
        "half the classes": half,
        "training images": train.images[:count],
    }


def table(train: ImageSplit, unseen: ImageSplit, test: ImageSplit, count: int) -> Mapping[str, Any]:
    """Records of scores by kind of image; the extractor learns on all of ``train``."""
    classes = int(train.labels.max()) + 1
    extractor = train_classifier(np.array(train.images), np.array(train.labels), classes)
    real = extractor(test.images[:count])
    protocol = Protocol.parse(f"fid{count}_test")
    real_floor = real_vs_real([extractor(unseen.images), real], count, extractor.sha256)
    reference = Reference(protocol, extractor, real, real_floor)
    training = extractor(train.images).features
    return {
        kind: evaluation(reference, {0: extractor(images)}, training)
        for kind, images in degraded(train, unseen, count).items()
    }


def main() -> None:
    """Print the table, a row for each score."""
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    whole, test = (ImageSplit.load(folder, split) for split in ("train", "test"))
    half = len(whole.images) // 2
    train, unseen = (
        ImageSplit(whole.images[part], whole.labels[part]) for part in (np.s_[:half], np.s_[half:])
    )
    records = table(train, unseen, test, count)
    print(f"| score | {' | '.join(records)} |")
    print("| --- " * (len(records) + 1) + "|")
    for name, label in LABELS.items():
        cells = []
        for record in records.values():
            cell = readable(record["scores"][name])
            if interval := record["intervals"].get(name):
                cell += f" ({readable(interval[0])} to {readable(interval[1])})"
            cells.append(cell)
        print(f"| {label} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
