"""How often the gate is wrong: a trained generator against itself, and against a slightly worse one.

``python -m tests.benchmarks.gate GENERATOR REFERENCE`` takes the output folders of the stages train and
reference. Candidate and champion are disjoint draws of the same generator's images; the champion's
features are then shifted until its Frechet distance is so many per cent higher. Printed is the share
of comparisons that the gate promotes, by ``register.draws``.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import numpy as np

from bngan.generation.sampler import Sampler
from bngan.metrics.evaluation import Reference
from bngan.metrics.features import Extractor, Features
from bngan.metrics.fid import frechet_distance, frechet_estimate
from bngan.metrics.jackknife import Estimate
from pipeline.config.schema import RegisterConfig
from pipeline.evaluation import promotion as gate

SETS, COMPARISONS = 64, 2000
WORSE = (0.0, 0.05, 0.1, 0.2)
DRAWS = (4, 16, 32)


def shift(features: np.ndarray, real: np.ndarray, share: float) -> np.ndarray:
    """What to add to every feature so that the distance to ``real`` grows by ``share``."""
    away = features.mean(0) - real.mean(0)
    away /= np.linalg.norm(away)
    whole = frechet_distance(features, real)
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        grown = frechet_distance(features + middle * away, real) / whole - 1
        low, high = (middle, high) if grown < share else (low, middle)
    return (low * away).astype(np.float32)


def promoted(
    draws: int, sets: Sequence[Features], worse: Sequence[Features], real: Features
) -> float:
    """Share of comparisons in which a candidate replaces a champion that is worse."""
    random, wins = np.random.default_rng(draws), 0
    for _ in range(COMPARISONS):
        order = random.permutation(len(sets))[: 2 * draws].reshape(2, draws)
        candidate = gate.GateCandidate(lambda number, chosen=order[0]: sets[chosen[number]])
        champion = gate.GateCandidate(lambda number, chosen=order[1]: worse[chosen[number]])
        verdict = gate.judge(RegisterConfig("x", draws=draws), real, candidate, champion)
        wins += verdict.promote
    return wins / COMPARISONS


def generated(sampler: Sampler, extractor: Extractor, count: int) -> Features:
    """Features of so many images of a seed that nothing else uses."""
    return Features.join(extractor(images) for images in sampler.batches(12_345, range(count)))


def main() -> None:
    """Print the table."""
    generator, folder = Path(sys.argv[1]), Path(sys.argv[2])
    reference, sampler = Reference.load(folder), Sampler.load(generator)
    real, count = reference.real, reference.protocol.count
    pool = generated(sampler, reference.extractor, SETS * count)
    sets = [pool.take(slice(n * count, (n + 1) * count)) for n in range(SETS)]
    shifts = [shift(pool.features, real.features, share) for share in WORSE]
    worse = [[Features(s.features + by, s.logits) for s in sets] for by in shifts]
    print(f"{reference.protocol.name}, FID {frechet_distance(pool.features, real.features):.3f}")
    print(f"| draws | {' | '.join(f'{share:.0%} worse' for share in WORSE)} |")
    print("| --- " * (len(WORSE) + 1) + "|")
    known: dict[int, Estimate] = {}

    def estimate(fake: np.ndarray, other: np.ndarray) -> Estimate:
        if id(fake) not in known:
            known[id(fake)] = frechet_estimate(fake, other)
        return known[id(fake)]

    with (
        mock.patch.object(gate, "frechet_estimate", estimate),
        mock.patch.object(gate, "_losses", return_value={}),
    ):
        for draws in DRAWS:
            rates = [promoted(draws, sets, side, real) for side in worse]
            print(f"| {draws} | {' | '.join(f'{rate:.1%}' for rate in rates)} |", flush=True)


if __name__ == "__main__":
    main()
