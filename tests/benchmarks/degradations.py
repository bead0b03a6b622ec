"""Degraded real images: which features see them, and what every score says of them.

``python -m tests.benchmarks.degradations FOLDER...`` prints a table for each prepared dataset (a folder
that the stage prepare wrote). Its rows are features; its cells are AUC at level 0.4 and Kendall's tau.
``--sides 64 96`` are those of EfficientNet-Lite0, and ``--lite2 FILE`` adds Lite2 with the weights in
FILE. ``--scores 10000`` prints all scores by a classifier instead, for 10,000 images of each kind
against as many of the test split.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from scipy.stats import kendalltau

from bngan.data.dataset import UNLABELLED, ImageSplit
from bngan.metrics.axes import MOST, Axes
from bngan.metrics.classifier import train_classifier, untrained_extractor
from bngan.metrics.degradations import DEGRADATIONS, LEVELS
from bngan.metrics.efficientnet import LITE0, EfficientNetLite, Stage
from bngan.metrics.evaluation import Reference, evaluation
from bngan.metrics.extractors import classes_to_learn
from bngan.metrics.features import Extractor
from bngan.metrics.fid import frechet_distance
from bngan.metrics.imagenet import BLOCKS, imagenet
from bngan.metrics.protocol import Protocol
from bngan.metrics.pyramid import pyramid_estimate, pyramid_patches
from bngan.metrics.scores import real_vs_real
from bngan.numerics.rng import Stream, generator
from pipeline.reports.page import readable
from pipeline.reports.tables import LABELS

_STRIDES = [stage[:3] for stage in LITE0]
_CHANNELS_AND_BLOCKS = ((16, 1), (24, 3), (48, 3), (88, 4), (120, 4), (208, 5), (352, 1))
LITE2: list[Stage] = [(*a, *b) for a, b in zip(_STRIDES, _CHANNELS_AND_BLOCKS, strict=True)]
LITE2_BLOCKS = (6, 10, 14)
_DEGRADED = 300
"""Most images that are degraded."""
_REAL = 1000
"""Most images that they are compared with, and most that give axes."""
_DRAWS = 12
"""Random halves of the degraded images, of which each gives a distance."""
_TOLD = 0.95
"""Least AUC of images that features tell from real ones."""
_SHOWN = LEVELS.index(0.4)
_BATCH = 100

Described = dict[str, list[np.ndarray]]
"""Arrays ``(N, ...)`` that describe N images, by the name of the features."""
Describe = Callable[[np.ndarray], Described]


class Seen(NamedTuple):
    """Distances of degraded images from real ones by one kind of features."""

    auc: np.ndarray
    """``(9, 5)``: probability that a degraded draw is farther than a real one, by kind and level."""
    tau: np.ndarray
    """``(9,)``: Kendall's correlation of the distance with the level; real images are level 0."""
    cost: float
    """CPU-seconds for 1,000 images."""

    def row(self, name: str) -> str:
        """Return a row of Markdown."""
        cells = (
            f"{auc:.2f} / {tau:.2f}" for auc, tau in zip(self.auc[:, _SHOWN], self.tau, strict=True)
        )
        told = (self.auc >= _TOLD).sum()
        ends = f"{self.auc[:, _SHOWN].min():.2f} | {self.tau.mean():.3f} | {told}"
        weakest = f"{self.auc[:, 0].mean():.3f}"
        return f"| {name} | {' | '.join(cells)} | {ends} | {weakest} | {self.cost:.1f} |"


HEADER = ["features", *DEGRADATIONS, "worst AUC", "mean tau", "told of 45", "AUC at 0.2", "CPU-s"]


class Parts(NamedTuple):
    """Images of a prepared dataset: nothing that is scored has shaped the features."""

    learned: np.ndarray
    """First half of the training images, from which classifiers and axes come."""
    labels: np.ndarray
    """Their labels."""
    classes: int
    """Number of classes that a classifier can learn."""
    degraded: np.ndarray
    """Training images of the second half."""
    real: np.ndarray
    """Images of the other splits."""

    @classmethod
    def load(cls, folder: Path) -> "Parts":
        """Read a folder that the stage prepare wrote."""
        train, *others = (ImageSplit.load(folder, name) for name in ("train", "select", "test"))
        half = len(train) // 2
        learned = np.array(train.images[:half]), np.array(train.labels[:half])
        real = np.concatenate([split.images for split in others])
        order = generator(0, Stream.DEGRADATION, len(DEGRADATIONS), _DRAWS).permutation(len(real))
        degraded = np.array(train.images[half : half + _DEGRADED])
        classes = classes_to_learn(train)
        return cls(*learned, classes, degraded, real[order[:_REAL]])


def lite(name: str, network: EfficientNetLite, blocks: tuple[int, ...], side: int) -> Describe:
    """Return what describes images by stages in the middle of a network, and by its head."""

    @torch.inference_mode()
    def describe(images: np.ndarray) -> Described:
        middle, head = [], []
        for start in range(0, len(images), _BATCH):
            values = torch.from_numpy(images[start : start + _BATCH]).permute(0, 3, 1, 2).float()
            values = F.interpolate(
                values.expand(-1, 3, -1, -1), (side, side), mode="bilinear", antialias=True
            )
            maps, _ = network((values - 127) / 128)
            moments = [torch.var_mean(maps[k], dim=(2, 3), correction=0) for k in blocks]
            parts = [
                part for variance, mean in moments for part in (mean, (variance + 1e-6).sqrt())
            ]
            middle.append(torch.cat(parts, 1).numpy())
            head.append(maps[-1].mean(dim=(2, 3)).numpy())
        found = {"middle": middle, "head": head}
        return {f"{name} {side} {key}": [np.concatenate(part)] for key, part in found.items()}

    return describe


def projected(describe: Describe, images: np.ndarray) -> Describe:
    """Return features on the leading axes of those of ``images``, if there are more than 128."""
    axes = {
        name: Axes.leading(arrays[0])
        for name, arrays in describe(images[:_REAL]).items()
        if len(arrays) == 1 and arrays[0].shape[1] > MOST
    }

    def described(images: np.ndarray) -> Described:
        found = describe(images)
        for name, (mean, vectors) in axes.items():
            found[name] = [(found[name][0] - mean) @ vectors]
        return found

    return described


def all_features(parts: Parts, sides: Sequence[int], lite2: Path | None) -> Iterator[Describe]:
    """Yield everything that describes images, the cheapest first."""

    def by(name: str, extractor: Extractor) -> Describe:
        return lambda images: {name: [extractor(images).features]}

    shape = (parts.real.shape[3], *parts.real.shape[1:3])
    yield by("random", untrained_extractor(shape))
    yield lambda images: {"pyramid": pyramid_patches(images)}
    lite0 = imagenet(shape).network.network
    for side in sides:
        yield projected(lite("Lite0", lite0, BLOCKS, side), parts.learned)
    if lite2:
        network = EfficientNetLite(torch.load(lite2, weights_only=True), LITE2).eval()
        yield projected(lite("Lite2", network, LITE2_BLOCKS, sides[0]), parts.learned)
    if parts.classes:
        known = parts.labels != UNLABELLED
        learned = parts.learned[known], parts.labels[known]
        yield by("classifier", train_classifier(*learned, parts.classes))


def distance(ours: list[np.ndarray], real: list[np.ndarray]) -> float:
    """Return the Frechet distance of features, or that of patches of a pyramid's levels."""
    if len(ours) == 1:
        return frechet_distance(ours[0], real[0])
    return pyramid_estimate(ours, [level[: len(ours[0])] for level in real]).value


def seen(describe: Describe, parts: Parts) -> dict[str, Seen]:
    """Return what each kind of features sees of the degradations."""
    start = time.process_time()
    real = describe(parts.real)
    cost = (time.process_time() - start) / len(parts.real) * 1000
    orders = [
        generator(0, Stream.DEGRADATION, len(DEGRADATIONS), draw).permutation(len(parts.degraded))
        for draw in range(_DRAWS)
    ]

    def distances(images: np.ndarray) -> dict[str, np.ndarray]:
        halves = [order[: len(order) // 2] for order in orders]
        found = describe(images)
        return {
            name: np.array(
                [distance([x[half] for x in found[name]], real[name]) for half in halves]
            )
            for name in found
        }

    floor = distances(parts.degraded)
    far = dict[tuple[str, int, int], np.ndarray]()
    for kind, degrade in enumerate(DEGRADATIONS.values()):
        for level, strength in enumerate(LEVELS):
            random = generator(0, Stream.DEGRADATION, kind, level)
            for name, values in distances(degrade(parts.degraded, strength, random)).items():
                far[name, kind, level] = values
    return {name: _seen(name, floor[name], far, cost) for name in floor}


def _seen(
    name: str, floor: np.ndarray, far: Mapping[tuple[str, int, int], np.ndarray], cost: float
) -> Seen:
    grid = np.array(
        [
            [far[name, kind, level] for level in range(len(LEVELS))]
            for kind in range(len(DEGRADATIONS))
        ]
    )
    auc = (grid[..., None] > floor).mean(axis=(2, 3))
    means = np.concatenate([np.full((len(grid), 1), floor.mean()), grid.mean(axis=2)], axis=1)
    tau = np.array([kendalltau(range(len(row)), row).statistic for row in means])
    return Seen(auc, tau, cost)


def print_features(folder: Path, sides: Sequence[int], lite2: Path | None) -> None:
    """Print the table of a dataset, a row for each kind of features as soon as it is there."""
    parts = Parts.load(folder)
    size = "x".join(map(str, parts.real.shape[1:]))
    print(f"\n{folder.name}, {size}: {len(parts.degraded)} degraded, {len(parts.real)} real\n")
    print(f"| {' | '.join(HEADER)} |\n{'| --- ' * len(HEADER)}|", flush=True)
    for describe in all_features(parts, sides, lite2):
        for name, found in seen(describe, parts).items():
            print(found.row(name), flush=True)


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


def print_scores(folder: Path, count: int) -> None:
    """Print the table of scores, a row for each."""
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


def main() -> None:
    """Print the tables of all folders."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--sides", nargs="+", type=int, default=(64, 96, 128))
    parser.add_argument("--lite2", type=Path)
    parser.add_argument("--scores", type=int)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for folder in arguments.folders:
        if arguments.scores:
            print_scores(folder, arguments.scores)
        else:
            print_features(folder, arguments.sides, arguments.lite2)


if __name__ == "__main__":
    main()
