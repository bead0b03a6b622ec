"""One worker and four: the README's picture.

``python -m tests.benchmarks.workers docs/images/workers.png`` trains the networks of
``configs/digits.yaml`` on one and on four gloo processes. For comparison: batch norm without
synchronisation, where each of four workers normalises its own quarter of the batch, which is
``norm_batch`` = 32 and trained as such in one process; and one process that sees each batch in
another order, which changes roundings alone.
"""

import copy
import sys
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from bngan.batchnorm.calibration import calibrate
from bngan.data.dataset import ImageSplit
from bngan.generation.sampler import Sampler
from bngan.metrics.classifier import train_classifier
from bngan.metrics.scores import point_scores
from bngan.networks.config import ModelConfig
from bngan.training.config import OptimizationConfig
from bngan.training.trainer import Trainer
from tests.distributed.equality import permuted
from tests.workers import run_workers

IMAGES, EVERY, BATCH, COUNT = 200_000, 10_000, 128, 700


class Point(NamedTuple):
    """Where a training stands."""

    images: int
    fid: float
    weights: Tensor


def course(norm_batch: Any = "global", dtype: torch.dtype = torch.float32) -> list[Point]:
    """A training's points, on every worker."""
    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    data = ImageSplit(images[:-COUNT], digits.target[:-COUNT])
    extractor = train_classifier(data.images, data.labels, 10)
    real = extractor(images[-COUNT:])
    optimization = OptimizationConfig(batch_size=BATCH, norm_batch=norm_batch, lr=1e-3)
    trainer = Trainer(ModelConfig(), optimization, data.spec, seed=0, dtype=dtype)
    points = []
    for images_seen in range(EVERY, IMAGES + 1, EVERY):
        trainer.fit(data, images_seen)
        state = copy.deepcopy(trainer.ema.module).state_dict()
        sampler = Sampler(trainer.model, data.spec, state)
        calibrate(sampler.generator, sampler.calibration_batches)
        fid = point_scores(extractor(sampler.images(1, range(COUNT))), real)["fid"]
        weights = torch.cat([p.double().flatten() for p in trainer.ema.module.parameters()])
        points.append(Point(trainer.images_seen, fid, weights))
    return points


def draw(runs: dict[str, list[Point]], path: Path) -> None:
    """FID on the left, distance from one worker's weights on the right."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.6))
    images = [point.images for point in runs["1 worker"]]
    for name, style in (
        ("1 worker", {"linewidth": 6, "color": "#a9c4ff"}),
        ("4 workers", {"color": "#1d4ed8"}),
        ("4 workers, batch norm per worker", {"color": "#c2410c", "linestyle": "--"}),
    ):
        left.plot(images, [point.fid for point in runs[name]], label=name, **style)
    left.set(title="Score, float64", xlabel="images seen", ylabel="FID (digits)", yscale="log")
    for label, name, reference, style in (
        ("batch norm per worker", "4 workers, batch norm per worker", "1 worker", "#c2410c"),
        ("4 workers, float32", "4 workers, float32", "1 worker, float32", "#60a5fa"),
        ("1 worker, float32, batch reordered", "reordered", "1 worker, float32", "#9ca3af"),
        ("4 workers, float64", "4 workers", "1 worker", "#1d4ed8"),
    ):
        distances = [
            ((one.weights - other.weights).norm() / other.weights.norm()).item()
            for one, other in zip(runs[name], runs[reference], strict=True)
        ]
        print(f"{label}: FID {runs[name][-1].fid:.2f}", [f"{d:.0e}" for d in distances])
        right.plot(images, distances, color=style, label=label)
    right.set(title="Generator weights against one worker's", xlabel="images seen")
    right.set(ylabel="relative distance", yscale="log", ylim=(1e-16, 10))
    for panel in (left, right):
        panel.grid(alpha=0.3)
        panel.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Train, print, draw."""
    torch.set_num_threads(1)
    runs = {
        "1 worker": course(dtype=torch.float64),
        "4 workers": run_workers(4, course, "global", torch.float64)[0],
        "4 workers, batch norm per worker": course(BATCH // 4, torch.float64),
        "1 worker, float32": course(),
        "4 workers, float32": run_workers(4, course)[0],
    }
    with permuted(BATCH, seed=0):
        runs["reordered"] = course()
    draw(runs, Path(sys.argv[1]))


if __name__ == "__main__":
    main()
