"""How sure a score is: the delete-group jackknife over generated and over real images.

A bootstrap draws images twice, and a distance between sets takes the repeats for a difference: it
inflates a small Frechet distance by half. Leaving images out does not.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

GROUPS = 20
"""Consecutive images are left out together: a twentieth of one side at a time."""


def group_slices(count: int) -> list[slice]:
    """The ``GROUPS`` parts, as equal as can be, of so many images.

    Raises:
        ValueError: for fewer images than groups.
    """
    if count < GROUPS:
        raise ValueError(f"an interval needs {GROUPS} images on each side, got {count}")
    edges = [round(count * group / GROUPS) for group in range(GROUPS + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges)]


@dataclass(frozen=True)
class Estimate:
    """A score, and what it is when a group of images is left out.

    Attributes:
        value: the score of all images.
        without: for each set of images that chance has drawn, by name, ``(GROUPS,)``: the score
            without each of its groups. Sets of one name in two scores are the same draw: the same
            real images, or images of two generators from the same latents.
    """

    value: float
    without: Mapping[str, np.ndarray]

    @property
    def standard_error(self) -> float:
        """By the jackknife (Efron & Stein 1981), with groups for samples, over all sets."""
        return float(
            np.sqrt(sum((GROUPS - 1) * np.var(values) for values in self.without.values()))
        )

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Where the expected score of so many images lies, by Student's t."""
        reach = student_t(GROUPS - 1, 0.5 + level / 2) * self.standard_error
        return self.value - reach, self.value + reach

    def bound(self, level: float) -> float:
        """Above the expected score with this confidence, one-sided; below it for ``1 - level``."""
        return self.value + student_t(GROUPS - 1, level) * self.standard_error

    def __sub__(self, other: "Estimate") -> "Estimate":
        """The difference; what chance both share, set by set of the same name, cancels."""
        without = {name: values - self.value for name, values in self.without.items()}
        for name, values in other.without.items():
            without[name] = without.get(name, np.zeros(GROUPS)) - (values - other.value)
        difference = self.value - other.value
        return Estimate(difference, {n: difference + change for n, change in without.items()})


def student_t(degrees: int, level: float) -> float:
    """What Student's t stays below with this probability."""
    from scipy.special import stdtrit  # takes a moment to import, and most commands never get here

    return float(stdtrit(degrees, level))


def average(draws: Sequence[Estimate]) -> Estimate:
    """The mean score of several draws of generated images against the same real ones."""
    value = float(np.mean([draw.value for draw in draws]))
    without: dict[str, np.ndarray] = {}
    for number, draw in enumerate(draws):
        for name, values in draw.without.items():
            # Real images are the same draw each time, generated ones are not.
            key = name if name == "real" else f"{name} {number}"
            change = (values - draw.value) / len(draws)
            without[key] = without.get(key, np.zeros(GROUPS)) + change
    return Estimate(value, {name: value + change for name, change in without.items()})


def leave_groups_out(score: Callable[[np.ndarray], float], samples: np.ndarray) -> np.ndarray:
    """``score`` of all samples but each group's, ``(GROUPS,)``."""
    groups = group_slices(len(samples))
    return np.array([score(np.delete(samples, group, axis=0)) for group in groups])
