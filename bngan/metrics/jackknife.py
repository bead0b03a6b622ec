"""Standard errors of scores: the delete-group jackknife over generated and over real images.

A bootstrap draws images twice, and a distance between sets takes the repeats for a difference: it
inflates a small Frechet distance by half. The jackknife does not, since it only leaves images out.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

GROUPS = 20
"""Number of groups of consecutive images; the jackknife leaves out one group of one side at a
time."""


def group_slices(count: int) -> list[slice]:
    """Return the ``GROUPS`` parts of ``count`` images, as equal as possible.

    Raises:
        ValueError: if there are fewer images than groups.
    """
    if count < GROUPS:
        raise ValueError(f"an interval needs {GROUPS} images on each side, got {count}")
    edges = [round(count * group / GROUPS) for group in range(GROUPS + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges)]


@dataclass(frozen=True)
class Estimate:
    """Score of all images, and scores without each group of images.

    Attributes:
        value: the score of all images.
        without: scores ``(GROUPS,)`` without each group of a set, by name of the set; chance has
            drawn the images of each set. Sets of one name in two scores are the same draw: the same
            real images, or images of two generators from the same latents.
    """

    value: float
    without: Mapping[str, np.ndarray]

    @property
    def standard_error(self) -> float:
        """Return the jackknife's standard error over all sets (Efron & Stein 1981), by groups."""
        variances = [(GROUPS - 1) * np.var(values) for values in self.without.values()]
        return float(np.sqrt(sum(variances)))

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return an interval for the expected score of so many images, by Student's t."""
        reach = student_t(GROUPS - 1, 0.5 + level / 2) * self.standard_error
        return self.value - reach, self.value + reach

    def bound(self, level: float) -> float:
        """Return the expected score's upper bound at ``level``; ``1 - level``: its lower bound."""
        return self.value + student_t(GROUPS - 1, level) * self.standard_error

    def p_above(self, limit: float) -> float:
        """Return the p-value of the hypothesis that the expected score is at most ``limit``."""
        return p_above(self.value - limit, self.standard_error, GROUPS - 1)

    def __sub__(self, other: "Estimate") -> "Estimate":
        """Return the difference; chance in sets of the same name, which both share, cancels."""
        without = {name: values - self.value for name, values in self.without.items()}
        for name, values in other.without.items():
            without[name] = without.get(name, np.zeros(GROUPS)) - (values - other.value)
        difference = self.value - other.value
        return Estimate(difference, {n: difference + change for n, change in without.items()})


def student_t(degrees: int, level: float) -> float:
    """Return the quantile of Student's t at probability ``level``."""
    from scipy.special import stdtrit  # slow to import, and most commands never get here

    return float(stdtrit(degrees, level))


def p_above(value: float, error: float, degrees: int) -> float:
    """Return the p-value of the hypothesis that a mean is at most 0, by Student's t.

    Args:
        value: the observed mean.
        error: its standard error; 0: the mean is exact.
        degrees: degrees of freedom of the error.

    Returns:
        the p-value; 0 if value or error is no number, so that it never speaks for the hypothesis.
    """
    from scipy.special import stdtr  # slow to import, and most commands never get here

    if math.isnan(value) or math.isnan(error):
        return 0.0
    if error == 0:
        return float(value <= 0)
    return float(stdtr(degrees, -value / error))


def holm(p_values: Mapping[str, float], level: float) -> set[str]:
    """Return the names of the hypotheses that Holm's procedure (1979) rejects.

    The probability to reject any true hypothesis is at most ``level``, however they depend on each
    other.
    """
    rejected = set[str]()
    for name in sorted(p_values, key=p_values.__getitem__):
        if p_values[name] > level / (len(p_values) - len(rejected)):
            break
        rejected.add(name)
    return rejected


def average(draws: Sequence[Estimate]) -> Estimate:
    """Return the mean score of several draws of generated images against the same real ones.

    From ``GROUPS`` draws on, their own spread gives the error of the drawing: groups of draws are left
    out. The jackknife within draws overstates it by some 10 % for a Frechet distance of 300 images.
    """
    values = np.array([draw.value for draw in draws])
    value, changes = float(values.mean()), dict[str, np.ndarray]()
    if many := len(draws) >= GROUPS:
        changes["draws"] = leave_groups_out(lambda some: float(some.mean()), values) - value
    for number, draw in enumerate(draws):
        for name, without in draw.without.items():
            if many and name != "real":
                continue
            # Real images are the same draw each time, generated ones are not.
            key = name if name == "real" else f"{name} {number}"
            change = (without - draw.value) / len(draws)
            changes[key] = changes.get(key, np.zeros(GROUPS)) + change
    return Estimate(value, {name: value + change for name, change in changes.items()})


def leave_groups_out(score: Callable[[np.ndarray], float], samples: np.ndarray) -> np.ndarray:
    """Return ``score`` of all samples but each group's, ``(GROUPS,)``."""
    groups = group_slices(len(samples))
    return np.array([score(np.delete(samples, group, axis=0)) for group in groups])
