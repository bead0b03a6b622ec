"""Random numbers as pure functions of (seed, stream, position): no live state to save or to share.

Counter-based generators (Philox, Salmon et al. 2011) give every position of every stream numbers of
its own, block by block. Any worker can compute any block, and a resumed run computes the same ones.
"""

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """Purpose of random numbers. No two streams share a number, for any seeds."""

    TRAINING = 0
    SAMPLING = 1
    CALIBRATION = 2
    SAMPLE_ORDER = 3
    SPLIT = 4
    CLASSIFIER = 5
    FLOOR = 6
    LABELS = 7
    PENALTY = 8
    TELEMETRY = 9
    AUGMENTATION = 10
    FOLDER = 11
    PRIOR = 12
    DIRECTIONS = 13
    DEGRADATION = 14


def generator(seed: int, stream: Stream, position: int = 0, block: int = 0) -> np.random.Generator:
    """Return the generator of a block of a position (both 0 to 2^64 - 1); seeds are modulo 2^64."""
    # The upper counter words name position and block; the lower ones count the draws inside.
    key = np.array([seed % 2**64, int(stream)], dtype=np.uint64)
    counter = np.array([0, 0, block, position], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def derived_seed(seed: int, number: int) -> int:
    """Return another seed below 2^63 for each (seed, number), as good as drawn at random."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0] >> 1)
