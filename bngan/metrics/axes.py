"""Leading axes of features.

A Frechet distance takes time with the cube of the number of features. Along the axes that vary most it
loses little: of 60 photographs against 60, 128 axes tell more than 6 or 32 do.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bngan.serialization.arrays import opened_arrays

MOST = 128
"""Most axes."""
NOT_PROJECTED = ("random", "inception", "file")
"""Kinds of extractors that need no training images: their features stay as they are."""


class Axes(NamedTuple):
    """Projection of d features onto k axes."""

    mean: np.ndarray
    """float64 ``(d,)``."""
    vectors: np.ndarray
    """float64 ``(d, k)``: orthonormal columns."""

    @classmethod
    def leading(cls, features: np.ndarray) -> "Axes":
        """Return the ``MOST`` axes along which features ``(N, d)`` vary most.

        There are fewer axes if there are fewer images.
        """
        wanted = min(MOST, len(features) - 1)
        mean = features.mean(axis=0, dtype=np.float64)
        centred = features - mean
        _, vectors = np.linalg.eigh(centred.T @ centred)
        leading = vectors[:, ::-1][:, :wanted]
        largest = np.abs(leading).argmax(axis=0)
        return cls(mean, leading * np.sign(leading[largest, np.arange(wanted)]))

    @property
    def sha256(self) -> str:
        """Return a hash (hex) over the values."""
        return hashlib.sha256(self.mean.tobytes() + self.vectors.tobytes()).hexdigest()

    def save(self, file: Path) -> None:
        """Write both arrays to a file (npz)."""
        np.savez(file, **self._asdict())

    @classmethod
    def load(cls, file: Path) -> "Axes":
        """Return the axes that ``save`` wrote.

        Raises:
            ValueError: if the file holds anything else.
        """
        with opened_arrays(file, "axes of features") as arrays:
            mean, vectors = (np.ascontiguousarray(arrays[name]) for name in cls._fields)
            if mean.dtype != np.float64 or vectors.dtype != np.float64 or vectors.ndim != 2:
                raise ValueError("no real axes")
            if mean.shape != vectors.shape[:1]:
                raise ValueError("mean and axes differ in length")
            return cls(mean, vectors)
