"""Modes on stacked digits: three random digits as colour channels, 1,000 classes.

``python -m tests.benchmarks.stacked [MNIST]`` trains on scikit-learn's digits, or on MNIST given as a
folder of parquet files, and prints how many of the 1,000 triples occur among 26,000 generated images
and KL(their frequencies || uniform), in nats (Srivastava et al. 2017), beside what as many real
triples score. A classifier of single digits, trained on other images than the GAN, names the channels.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from bngan.batchnorm.calibration import calibrate
from bngan.data.dataset import ImageSplit
from bngan.data.decoding import decode
from bngan.data.images import png_bytes
from bngan.data.sources import open_source
from bngan.generation.sampler import Sampler
from bngan.metrics.classifier import train_classifier
from bngan.metrics.features import Extractor
from bngan.networks.config import DiscriminatorConfig, GeneratorConfig, ModelConfig
from bngan.training.config import OptimizationConfig
from bngan.training.trainer import Trainer
from pipeline.studies.tasks import TRIPLES as SAMPLES
from pipeline.studies.tasks import stack, triple_scores

TRAINING_TRIPLES = 128_000


class Recipe(NamedTuple):
    """What is trained, and for how many images."""

    model: ModelConfig
    optimization: OptimizationConfig
    images: int


def _penalised(batch_size: int, weight: float, every: int, images: int) -> OptimizationConfig:
    """R1, and learning rates that fall over the second half."""
    return OptimizationConfig(
        batch_size=batch_size,
        lr=1e-3,
        penalty="r1",
        penalty_weight=weight,
        penalty_every=every,
        ema_half_life=100_000,
        lr_schedule="linear",
        lr_decay_start=images // 2,
        lr_decay_end=images,
    )


DIGITS = Recipe(
    ModelConfig("mlp", 64, False, GeneratorConfig(256, 2), DiscriminatorConfig(256, 2)),
    _penalised(64, 1.0, 4, 1_200_000),
    1_200_000,
)
MNIST = Recipe(
    ModelConfig("dcgan", 128, False, GeneratorConfig(32), DiscriminatorConfig(32)),
    _penalised(32, 0.1, 8, 1_000_000),
    1_000_000,
)


class Modes(NamedTuple):
    """Triples that occur, of 1,000, and KL(frequencies || uniform) in nats."""

    count: int
    divergence: float


def digits(path: str) -> tuple[np.ndarray, np.ndarray]:
    """Images ``(N, H, W, 1)`` and labels ``(N,)``, in random order."""
    with tempfile.TemporaryDirectory() as cache:
        source = open_source(path, Path(cache))["train"]
        order = np.random.default_rng(0).permutation(len(source))
        pixels = [np.asarray(decode(content)) for _, content in source.files(order)]
        return np.stack(pixels)[..., None], np.array(source.labels())[order]


def modes(stacked: np.ndarray, classifier: Extractor) -> Modes:
    """Of uint8 ``(N, H, W, 3)``."""
    found = triple_scores(stacked, classifier)
    return Modes(int(found["modes"]), found["divergence"])


def run(path: str, recipe: Recipe, seed: int = 0) -> tuple[Modes, Modes, np.ndarray]:
    """Generated and real triples' modes, and some generated images."""
    images, labels = digits(path)
    known, test, train = np.split(np.arange(len(images)), [len(images) // 3, len(images) // 2])
    classifier = train_classifier(images[known], labels[known], 10)
    real = modes(stack(images[test], SAMPLES, seed=2), classifier)
    data = ImageSplit(stack(images[train], TRAINING_TRIPLES, seed=1))
    trainer, started = Trainer(recipe.model, recipe.optimization, data.spec, seed), time.time()
    tenth = recipe.images // 10
    for until in range(tenth, recipe.images + 1, tenth):
        trainer.fit(data, until)
        sampler = Sampler(recipe.model, data.spec, dict(trainer.ema.module.state_dict()))
        calibrate(sampler.generator, sampler.calibration_batches)
        found = modes(sampler.images(0, range(SAMPLES)), classifier)
        print(f"{until:>9,} images, {time.time() - started:4.0f} s: {found}", flush=True)
    return found, real, sampler.images(0, range(64))


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mnist", nargs="?", help="folder with MNIST as parquet files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--norm", default="batch", help="the generator's normalisation")
    parser.add_argument("--initialization", default="auto", help="the generator's")
    parser.add_argument("--grid", type=Path, help="PNG of samples to write")
    options = parser.parse_args()
    torch.set_num_threads(1)
    recipe = MNIST if options.mnist else DIGITS
    recipe.model.generator.norm = options.norm
    recipe.model.generator.initialization = options.initialization
    found, real, images = run(options.mnist or "embedded:digits", recipe, options.seed)
    print(f"generated {found}, real {real}")
    if options.grid:
        options.grid.write_bytes(png_bytes(images))


if __name__ == "__main__":
    main()
