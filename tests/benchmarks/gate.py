"""Measure how often the gate is wrong about equal generators, and about better ones.

``python -m tests.benchmarks.gate BETTER WORSE REFERENCE PREPARED COUNT [COMPARISONS]`` takes folders of
two generators, of a reference stage's output and of its prepared data. The candidate is BETTER. The
champion makes the same images, but a share comes from WORSE, so that its Frechet distance is so
many per cent higher. Each comparison draws COUNT unseen real images, and latents. Printed is the share
of comparisons that the gate promotes, and the reasons of the others.
"""

import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bngan.data.dataset import ImageSplit
from bngan.generation.sampler import Sampler
from bngan.metrics.extractors import load_extractor
from bngan.metrics.features import Features
from bngan.metrics.fid import frechet_distance
from bngan.metrics.memorization import CopyDetector
from bngan.metrics.second_space import SecondSpace
from pipeline.config.schema import RegisterConfig
from pipeline.evaluation.promotion import judge
from pipeline.evaluation.vetoes import Draw, GateCandidate

HIGHER = (0.0, 0.05, 0.1)
DRAWS, MOST = 128, 80_000


class Pool(NamedTuple):
    """Images of one kind in both spaces."""

    features: Features
    second: np.ndarray

    def take(self, chosen: np.ndarray) -> Draw:
        """Return these images as the gate takes them."""
        return Draw(self.features.take(chosen), self.second[chosen])


class World(NamedTuple):
    """Pools of images, and features of training images; all comparisons share them."""

    better: Pool
    worse: Pool
    real: Pool
    train: np.ndarray
    space: SecondSpace

    def mixed(self, share: float) -> np.ndarray:
        """Return which images of a pool come from the worse generator: bool ``(N,)``."""
        return np.random.default_rng(0).random(len(self.better.second)) < share

    def share(self, higher: float) -> float:
        """Return the share of worse images at which the distance is higher by ``higher``."""
        ours, theirs, real = (p.features.features for p in (self.better, self.worse, self.real))
        whole = frechet_distance(ours, real)
        low, high = 0.0, 1.0
        for _ in range(12):
            middle = (low + high) / 2
            mixed = np.where(self.mixed(middle)[:, None], theirs, ours)
            grown = frechet_distance(mixed, real) / whole - 1
            low, high = (middle, high) if grown < higher else (low, middle)
        return low


def load(better: Path, worse: Path, reference: Path, prepared: Path, count: int) -> World:
    """Return the pools: as many generated images as all draws of a comparison take, or 80,000."""
    extractor = load_extractor(reference)
    splits = {name: ImageSplit.load(prepared, name) for name in ("train", "select", "test")}
    real = np.concatenate([splits[name].images for name in ("select", "test")])
    classifier = reference / "second"
    space = SecondSpace.load(classifier) if classifier.is_dir() else SecondSpace(real)
    total = min(2 * DRAWS * count, MOST)

    def pool(images: np.ndarray) -> Pool:
        return Pool(extractor(images), space.describe(images))

    fakes = (Sampler.load(path).images(12_345, range(total)) for path in (better, worse))
    train = extractor(splits["train"].images[:5000]).features
    return World(*map(pool, fakes), pool(real), train, space)


def promoted(world: World, share: float, count: int, comparison: int) -> str:
    """Return the reason of one comparison's verdict, without its numbers."""
    random, draws = np.random.default_rng(comparison), min(DRAWS, MOST // (2 * count))
    chosen = random.permutation(len(world.real.second))[:count]
    real = world.real.take(chosen)
    orders = [random.permutation(len(world.better.second)) for _ in range(2)]
    mixed = world.mixed(share)

    def draw(side: int, number: int) -> Draw:
        mine = orders[side][number * count : (number + 1) * count]
        ours, theirs = world.better.take(mine), world.worse.take(mine)
        swap = mixed[mine] & bool(side)
        features = np.where(swap[:, None], theirs.features.features, ours.features.features)
        place = swap.reshape(-1, *(1,) * (ours.second.ndim - 1))
        second = np.where(place, theirs.second, ours.second)
        return Draw(Features(features, ours.features.logits), second)

    copies = CopyDetector(real.features.features, world.train)
    candidate, champion = (GateCandidate(partial(draw, side), copies) for side in (0, 1))
    space, config = SecondSpace(real.second, world.space.classifier), RegisterConfig("x")
    verdict = judge(config, real.features, space, candidate, champion, draws)
    return verdict.reason.split(":")[0].split(" (")[0]


def main() -> None:
    """Print the table."""
    folders, (count, *more) = map(Path, sys.argv[1:5]), map(int, sys.argv[5:])
    world, comparisons = load(*folders, count), more[0] if more else 100
    print(f"{count} images, {world.space.label}")
    print("| champion's FID | promoted | reasons of the others |\n| --- | --- | --- |")
    for higher in HIGHER:
        share = world.share(higher)
        reasons = Counter(promoted(world, share, count, n) for n in range(comparisons))
        rate = reasons.pop("better", 0) / comparisons
        print(f"| {higher:+.0%} | {rate:.1%} | {dict(reasons.most_common(4))} |", flush=True)


if __name__ == "__main__":
    main()
