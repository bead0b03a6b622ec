"""Lower a generator's Frechet distance without better images.

``python -m tests.benchmarks.attack GENERATOR REFERENCE PREPARED OUT`` takes the output folders of the
stages train, reference and prepare. It trains a copy of the generator further, on nothing but the
Frechet distance in the reference's features. The real moments are those of training images. Printed is
the distance to all test images before and after: in the reference's features, and in those of a judge.
The judge is a classifier of another network, seed and half of the training images, and no loss uses it.
With ``--both`` the loss has the second classifier's distance as well. With ``--scratch`` the
copy starts from random weights, so that no discriminator has ever taught it.

OUT gets the attacked generator, and ``grid.png``: images of the original above those of the copy.
"""

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bngan.batchnorm.calibration import calibrate
from bngan.data.dataset import UNLABELLED, ImageSplit
from bngan.data.images import from_uint8, png_bytes
from bngan.generation.sampler import Sampler
from bngan.metrics.classifier import FEATURES, PlainClassifier
from bngan.metrics.evaluation import Reference
from bngan.metrics.extractors import load_extractor
from bngan.metrics.features import Extractor, ExtractorInfo
from bngan.metrics.fid import factor, frechet_distance, moments
from bngan.networks.factory import build_generator
from bngan.numerics.rng import Stream, generator
from bngan.numerics.torch_internals import without_compiler
from pipeline.storage.artifacts import SECOND_SPACE

ADAM = without_compiler(torch.optim.Adam)
SEED = 77
"""Seed of the images that are scored; the same latents before and after."""
_EPOCHS, _JUDGE_BATCH, _JUDGE_LR = 40, 64, 1e-3
_PROGRESS = 10
"""Number of lines that an attack prints."""
_LEAST = 1e-10
"""Least eigenvalue whose root is taken, as that of 0 has no gradient."""


class FrechetLoss:
    """Frechet distance of features to the moments of real ones, with gradient, in float64.

    Args:
        real: features of real images ``(N, d)``.
        memory: number of features that the moments of generated images come from. The latest batch
            has a gradient, and earlier ones fill the memory.
    """

    def __init__(self, real: np.ndarray, memory: int) -> None:
        whole = moments(real)
        self.mean = torch.from_numpy(whole.mean)
        self.root = torch.from_numpy(factor(whole.covariance))
        self.trace = float(np.trace(whole.covariance))
        self.memory, self.earlier = memory, torch.zeros(0, real.shape[1], dtype=torch.float64)

    def __call__(self, features: Tensor) -> Tensor:
        """Return the distance for a batch ``(n, d)`` and the features in memory."""
        joined = torch.cat([features.double(), self.earlier])[: self.memory]
        self.earlier = joined.detach()
        mean = joined.mean(0)
        centred = joined - mean
        covariance = centred.T @ centred / (len(joined) - 1)
        values = torch.linalg.eigvalsh(self.root.T @ covariance @ self.root)
        cross = values.clamp_min(_LEAST).sqrt().sum()
        apart = (mean - self.mean).square().sum()
        distance: Tensor = apart + covariance.trace() + self.trace - 2 * cross
        return distance


@dataclass(frozen=True)
class Strength:
    """Settings of an attack."""

    steps: int = 500
    lr: float = 1e-4
    """Learning rate at the start; it falls linearly to 0."""
    batch: int = 128
    memory: int = 1024
    """Features in the moments of generated images, see ``FrechetLoss``."""
    seed: int = 0


def attack(sampler: Sampler, targets: Mapping[Extractor, np.ndarray], how: Strength) -> None:
    """Train the sampler's generator on the Frechet distances to features ``(N, d)`` of real images.

    Each distance counts relative to its value at the start. Batch norm keeps its stored statistics, so
    that the trained generator is the one that is scored.
    """
    network = sampler.generator.eval().requires_grad_(True)
    losses = {extractor: FrechetLoss(real, how.memory) for extractor, real in targets.items()}
    for extractor in targets:
        extractor.network.requires_grad_(False)

    def distances(inputs: tuple[Tensor, ...]) -> Tensor:
        images = network(*inputs)
        return torch.stack([loss(e.differentiable(images)) for e, loss in losses.items()])

    optimizer = ADAM(network.parameters(), how.lr, (0.9, 0.99))
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, how.steps)
    batches = _inputs(sampler, how)
    with torch.no_grad():  # fill the memory, so that the first steps have whole moments
        for _ in range(max(how.memory // how.batch, 1)):
            start = distances(next(batches))
    for step in range(1, how.steps + 1):
        found = distances(next(batches))
        optimizer.zero_grad()
        (found / start).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if step % max(how.steps // _PROGRESS, 1) == 0:
            values = ", ".join(f"{value:.3f}" for value in found.tolist())
            print(f"step {step}: {values} against training images", flush=True)
    network.requires_grad_(False)


def restart(sampler: Sampler, seed: int) -> None:
    """Give the sampler's generator random weights and their batch-norm statistics."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        sampler.generator = build_generator(sampler.model, sampler.spec)
    calibrate(sampler.generator, sampler.calibration_batches)


def _inputs(sampler: Sampler, how: Strength) -> Iterator[tuple[Tensor, ...]]:
    """Yield fresh latents ``(batch, dim)`` without end, and labels if the generator takes them."""
    random, shares = generator(how.seed, Stream.TRAINING), sampler.spec.class_frequencies
    while True:
        shape = how.batch, sampler.model.latent_dim
        latents = torch.from_numpy(random.standard_normal(shape, dtype=np.float32))
        if sampler.model.conditional:
            yield latents, torch.from_numpy(random.choice(len(shares), how.batch, p=shares))
        else:
            yield (latents,)


def trained_judge(train: ImageSplit, seed: int = 1) -> Extractor:
    """Return a classifier of the second half of the images, trained by Adam."""
    half = len(train.images) // 2
    known = np.flatnonzero(train.labels[half:] != UNLABELLED) + half
    images, labels = from_uint8(train.images[known]), torch.from_numpy(train.labels[known])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = PlainClassifier(train.spec.shape, train.classes)
    optimizer = ADAM(network.parameters(), _JUDGE_LR)
    for epoch in range(_EPOCHS):
        order = generator(seed, Stream.CLASSIFIER, epoch).permutation(len(known))
        for start in range(0, len(order), _JUDGE_BATCH):
            chosen = torch.from_numpy(order[start : start + _JUDGE_BATCH])
            loss = F.cross_entropy(network((images[chosen] + 1) * 127.5)[1], labels[chosen])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    info = ExtractorInfo("classifier", train.spec.shape, FEATURES, train.classes)
    return Extractor(network, info)


def distance_to(real: np.ndarray, images: np.ndarray, extractor: Extractor) -> float:
    """Return the Frechet distance of images to real ones in the extractor's features."""
    return frechet_distance(extractor(images).features, extractor(real).features)


def main() -> None:
    """Attack one generator, and print the distances before and after."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("generator", "reference", "prepared", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--steps", type=int, default=Strength.steps)
    parser.add_argument("--lr", type=float, default=Strength.lr)
    parser.add_argument("--seed", type=int, default=Strength.seed)
    parser.add_argument("--images", type=int, default=3000, help="generated images to score")
    parser.add_argument("--scratch", action="store_true", help="start from random weights")
    parser.add_argument("--both", action="store_true", help="attack the second classifier as well")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sampler = Sampler.load(options.generator)
    extractor = Reference.load(options.reference).extractor
    train, test = (ImageSplit.load(options.prepared, split) for split in ("train", "test"))
    judge = trained_judge(train)
    labelled = test.labels != UNLABELLED
    right = judge(test.images).logits.argmax(1) == test.labels
    print(f"the judge classifies {right[labelled].mean():.1%} of the test images correctly")
    before = sampler.images(SEED, range(options.images))
    unseen = train.images[extractor.info.trained_on :]  # the features did not learn from these
    if options.scratch:
        restart(sampler, options.seed)
    how = Strength(options.steps, options.lr, seed=options.seed)
    targets = {extractor: extractor(unseen).features}
    if options.both:
        second = load_extractor(options.reference / SECOND_SPACE)
        targets[second] = second(train.images[len(train.images) // 2 :]).features
    attack(sampler, targets, how)
    after = sampler.images(SEED, range(options.images))
    options.out.mkdir(parents=True, exist_ok=True)
    sampler.save(options.out)
    (options.out / "grid.png").write_bytes(png_bytes(np.concatenate([before[:60], after[:60]]), 12))
    print("| FID to test images | before | after |\n| --- | --- | --- |")
    for name, features in {"reference": extractor, "judge": judge}.items():
        old, new = (distance_to(test.images, images, features) for images in (before, after))
        print(f"| features of the {name} | {old:.2f} | {new:.2f} |")


if __name__ == "__main__":
    main()
