"""Digits 0 to 4 become 5 to 9: gamma and beta alone against everything, from scratch, and replay.

``python -m tests.benchmarks.adaptation`` trains a base on the digits 0 to 4 by ``configs/digits.yaml``
and adapts it to 5 to 9, from 25 images and from all. As the workflow does, each arm keeps the generator
of its best Frechet distance to the select images, in the features of a classifier that knows the base's
classes alone. What is printed is measured on test images, which nothing is trained on or chosen by, in
the features of a classifier of all ten digits, which is taught by images that no GAN sees.

Printed is a table: medians over seeds, each with another base and another draw of images. FD: to the
test images, as a ratio to what the base starts from; ``end``: where training ends if nothing stops it.
``Authenticity`` and ``coverage`` as in reports. ``Replay`` repeats the training images.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits

from bngan.batchnorm.calibration import calibrate
from bngan.data.dataset import ImageSplit
from bngan.generation.sampler import Sampler
from bngan.metrics.classifier import train_classifier
from bngan.metrics.features import Extractor
from bngan.metrics.fid import frechet_distance
from bngan.metrics.memorization import CopyDetector
from bngan.metrics.precision_recall import manifold_estimates
from bngan.training.base import BaseTrainer
from bngan.training.supervised import SupervisedTrainer
from bngan.training.trainer import Trainer
from pipeline.config.loader import load_config
from pipeline.config.schema import Config

FEW, TEST, SELECT = 25, 250, 100
_LATENTS, _SELECTION_LATENTS = 0, 1_000
_RECIPE = Path(__file__).parents[2] / "configs/digits.yaml"


@dataclass(frozen=True)
class Scores:
    """Of 250 images against as many test images: FD (a ratio), coverage and authenticity."""

    fd: float
    coverage: float
    authenticity: float


@dataclass(frozen=True)
class World:
    """A seed's images ``(N, H, W, 1)``, its base, and who judges."""

    seed: int
    judge: Extractor
    selector: Extractor
    base: Sampler
    train: np.ndarray
    select: np.ndarray
    test: np.ndarray


@dataclass(frozen=True)
class Arm:
    """A way to a generator of the new digits: how training begins, and how long it is."""

    build: Callable[[World, ImageSplit], BaseTrainer]
    images: int
    score_every: int


def recipe() -> Config:
    """That of the digits."""
    return load_config(_RECIPE)


def world(seed: int) -> World:
    """The base is trained here."""
    digits, random = load_digits(), np.random.default_rng(seed)
    order = random.permutation(len(digits.images))
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)[order][..., None]
    labels = digits.target[order].astype(np.int64)
    fourth = len(images) // 4
    judge = train_classifier(images[:fourth], labels[:fourth], 10)
    images, labels = images[fourth:], labels[fourth:]
    old, new = images[labels < 5], images[labels >= 5]
    half = len(old) // 2
    selector = train_classifier(old[:half], labels[labels < 5][:half], 5)
    config = recipe()
    trainer = Trainer(config.model, config.train, ImageSplit(old).spec, seed)
    trainer.fit(ImageSplit(old), config.train.images)
    test, select, train = np.split(new, [TEST, TEST + SELECT])
    return World(seed, judge, selector, exported(trainer), train, select, test)


def exported(trainer: BaseTrainer) -> Sampler:
    """As the train stage exports it."""
    sampler = Sampler(trainer.model, trainer.images, dict(trainer.ema.module.state_dict()))
    if not trainer.keeps_statistics:
        calibrate(sampler.generator, sampler.calibration_batches)
    return sampler


def adversarial(based: bool, **training: Any) -> Callable[[World, ImageSplit], BaseTrainer]:
    """Against a discriminator: from the base or from scratch, by the recipe but for ``training``."""

    def build(world: World, data: ImageSplit) -> BaseTrainer:
        config = recipe()
        training_config = replace(config.train, **training)
        initial = world.base.generator.state_dict() if based else None
        return Trainer(config.model, training_config, data.spec, world.seed, initial=initial)

    return build


def supervised(world: World, data: ImageSplit) -> BaseTrainer:
    """Without one."""
    config = recipe()
    training = replace(config.train, **AFFINE, batch_size=25, lr=1e-2, ema_half_life=500)
    world.selector.network.requires_grad_(False)
    return SupervisedTrainer(
        config.model,
        training,
        config.adapt,
        data,
        world.seed,
        world.base.generator.state_dict(),
        world.selector.differentiable,
    )


AFFINE = {"trainable": "affine"}
_FEW_IMAGES = {"penalty_weight": 16.0, "augment": ["translation"]}
ARMS = {
    "gamma and beta, adversarial": Arm(
        adversarial(True, **AFFINE, **_FEW_IMAGES, affine_lr_factor=2.0), 120_000, 5_000
    ),
    "gamma and beta, supervised": Arm(supervised, 12_500, 500),
    "all of the base": Arm(adversarial(True), 100_000, 5_000),
    "from scratch": Arm(adversarial(False), 100_000, 5_000),
    "from scratch, regularised as the first": Arm(
        adversarial(False, **_FEW_IMAGES), 100_000, 5_000
    ),
}


def course(world: World, arm: Arm, images: np.ndarray) -> tuple[Sampler, Sampler]:
    """The generator that is kept, and the one at the end."""
    data = ImageSplit(images)
    trainer, best = arm.build(world, data), np.inf
    real = world.selector(world.select).features
    for until in range(arm.score_every, arm.images + 1, arm.score_every):
        trainer.fit(data, until)
        end = exported(trainer)
        fakes = world.selector(end.images(_SELECTION_LATENTS, range(SELECT))).features
        found = frechet_distance(fakes, real)
        if found <= best:
            best, kept = found, end
    return kept, end


def scores(world: World, fakes: np.ndarray, train: np.ndarray) -> Scores:
    """On test images."""
    fake, real, learned = (world.judge(x).features for x in (fakes, world.test, train))
    start = world.judge(world.base.images(_LATENTS, range(TEST))).features
    return Scores(
        frechet_distance(fake, real) / frechet_distance(start, real),
        manifold_estimates(fake, real)["coverage"].value,
        CopyDetector(real, learned)(fake).authenticity.value,
    )


def rows(world: World, images: np.ndarray) -> Iterator[tuple[str, Scores, Scores]]:
    """Each arm's name, and the scores of what it keeps and of where it ends."""
    random = np.random.default_rng(world.seed)
    start = scores(world, world.base.images(_LATENTS, range(TEST)), images)
    yield "the base itself", start, start
    replay = scores(world, images[random.integers(len(images), size=TEST)], images)
    yield "replay", replay, replay
    for name, arm in ARMS.items():
        kept, end = course(world, arm, images)
        yield name, *(scores(world, s.images(_LATENTS, range(TEST)), images) for s in (kept, end))


def main() -> None:
    """Print a table for each number of images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[tuple[int, str], list[tuple[Scores, Scores]]] = {}
    for seed in options.seeds:
        here = world(seed)
        for images in (here.train[:FEW], here.train):
            for name, *both in rows(here, images):
                size = FEW if len(images) == FEW else 0
                found.setdefault((size, name), []).append((both[0], both[1]))
                print(seed, len(images), name, *both, flush=True)
    print(
        "| images | arm | FD | coverage | authenticity | FD at the end | coverage | authenticity |"
    )
    print("| --- " * 8 + "|")
    for (size, name), pairs in found.items():
        cells = [
            f"{median(getattr(pair[moment], score) for pair in pairs):.2f}"
            for moment in (0, 1)
            for score in ("fd", "coverage", "authenticity")
        ]
        print(f"| {size or 'all'} | {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
