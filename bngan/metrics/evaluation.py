"""References for scores of generated images, records of these scores, and comparisons of two."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from bngan.metrics.agreement import Agreement
from bngan.metrics.extractors import load_extractor
from bngan.metrics.features import Extractor, Features
from bngan.metrics.fid import expected_bias, frechet_limit, moments
from bngan.metrics.jackknife import Estimate
from bngan.metrics.memorization import memorization
from bngan.metrics.protocol import MIN_COUNT, Protocol
from bngan.metrics.scores import interval_scores, point_scores, real_vs_real
from bngan.serialization.json_records import dataclass_from_json, read_json_object

_REAL, _DESCRIPTION = "real.npz", "reference.json"
BETTER: dict[str, Literal["lower", "higher"]] = {
    "fid": "lower",
    "kid": "lower",
    "mind": "lower",
    "inception_score": "higher",
    "precision": "higher",
    "recall": "higher",
    "density": "higher",
    "coverage": "higher",
}
"""Scores that are compared, and the direction in which they improve."""

RANGES = {
    **dict.fromkeys(("precision", "recall", "coverage", "authenticity"), (0.0, 1.0)),
    **dict.fromkeys(("fid", "density"), (0.0, math.inf)),
    "inception_score": (1.0, math.inf),
}
"""Least and largest value of scores; the others have no bounds."""


@dataclass
class Reference:
    """Features of real images that generated images are scored against.

    Attributes:
        protocol: definition of the measurement.
        extractor: extractor of the features.
        real: features of the real images, ``protocol.count`` of them.
        floor: scores of real images against real images, see ``bngan.metrics.scores.real_vs_real``.
        agreement: whether the features see degradations of real images; None if nobody has looked.
    """

    protocol: Protocol
    extractor: Extractor
    real: Features
    floor: dict[str, float]
    agreement: Agreement | None = None

    def save(self, folder: Path) -> None:
        """Write everything into ``folder``."""
        self.extractor.save(folder)
        self.real.save(folder / _REAL)
        description = {"protocol": asdict(self.protocol), "floor": self.floor}
        if self.agreement:
            description["agreement"] = asdict(self.agreement)
        text = json.dumps(description, indent=2)
        (folder / _DESCRIPTION).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "Reference":
        """Return the reference that ``save`` wrote.

        Raises:
            ValueError: if a file is wrong; the message names the file and the mistake.
        """
        description = read_json_object(folder / _DESCRIPTION)
        protocol = dataclass_from_json(Protocol, description.get("protocol"), _DESCRIPTION)
        extractor, real = load_extractor(folder), Features.load(folder / _REAL)
        if len(real.features) != protocol.count:
            raise ValueError(f"{_REAL} has {len(real.features)} images, not {protocol.count}")
        agreement = description.get("agreement")
        if agreement is not None:
            agreement = Agreement.parse(agreement)
        return cls(protocol, extractor, real, description.get("floor", {}), agreement)

    def smaller(self, protocol: Protocol) -> "Reference":
        """Return a reference with fewer of the images, and the floor among these images.

        Raises:
            ValueError: if the protocol needs images that this reference does not have.
        """
        ours = self.protocol
        if protocol == ours:
            return self
        if protocol.split != ours.split or protocol.count > ours.count:
            raise ValueError(
                f"{protocol.name} cannot be measured here: there are the real images of {ours.name}"
            )
        if ours.count < (needed := 2 * MIN_COUNT):
            raise ValueError(
                f"{protocol.name} cannot be measured here: its floor takes {needed} real images, and "
                f"there are {ours.count}"
            )
        real = self.real.take(slice(protocol.count))
        real_floor = real_vs_real([self.real], protocol.count, self.extractor.sha256)
        return Reference(protocol, self.extractor, real, real_floor, self.agreement)


def evaluation(
    reference: Reference, fakes: Mapping[int, Features], train: np.ndarray | None = None
) -> dict[str, Any]:
    """Return the record of a generator's scores, in JSON values.

    Args:
        reference: the reference to score against.
        fakes: features of ``protocol.count`` generated images for each evaluation seed. The scores
            are those of the first seed; the others show the effect of other latents.
        train: features ``(N, d)`` of training images, to find copies of them.

    Returns:
        ``scores`` by name, ``intervals`` (95 %) of those with a known standard error, ``seeds``
            (FID of each), ``floor``, ``protocol``, ``extractor``, ``agreement``, and ``bias``: the
            FID that so many images of the same distribution would get.
    """
    fake, real = next(iter(fakes.values())), reference.real
    estimates = interval_scores(fake, real, reference.extractor.sha256)
    real_floor = dict(reference.floor)
    points = {str(seed): point_scores(some, real) for seed, some in fakes.items()}
    scores = dict(next(iter(points.values())))
    scores["fid_infinity"] = frechet_limit(fake.features, real.features)
    if train is not None:
        found = memorization(fake.features, real.features, train)
        estimates["authenticity"] = found.authenticity
        real_floor["authenticity"] = found.real_authenticity
        if found.data_copying is not None:
            scores["data_copying"] = found.data_copying
    scores |= {name: estimate.value for name, estimate in estimates.items()}
    covariance = moments(real.features).covariance
    return {
        "scores": scores,
        "intervals": {name: _interval(name, estimate) for name, estimate in estimates.items()},
        "seeds": {seed: some["fid"] for seed, some in points.items()},
        "floor": real_floor,
        "bias": expected_bias(covariance, len(fake.features), len(real.features)),
        "protocol": {**asdict(reference.protocol), "seeds": list(fakes)},
        "extractor": asdict(reference.extractor.info),
        "agreement": reference.agreement and asdict(reference.agreement),
    }


def _interval(name: str, estimate: Estimate) -> list[float]:
    """Return a score's interval, cut to the values that the score can have."""
    low, high = RANGES.get(name, (-math.inf, math.inf))
    return [min(max(end, low), high) for end in estimate.interval()]


class Comparison(NamedTuple):
    """Scores of two generators by one metric."""

    first: float
    second: float
    low: float
    """Lower end of the 95 % interval of first less second."""
    high: float
    verdict: Literal["first", "second", "neither"]
    """Generator that is better by more than chance."""


def compare(reference: Reference, first: Features, second: Features) -> dict[str, Comparison]:
    """Return two generators' scores on the same real images and from the same latents, by name."""
    sha256 = reference.extractor.sha256
    ours, theirs = (interval_scores(side, reference.real, sha256) for side in (first, second))
    return {name: _difference(ours[name], theirs[name], BETTER[name]) for name in ours}


def _difference(ours: Any, theirs: Any, better: str) -> Comparison:
    low, high = (ours - theirs).interval()
    verdict: Literal["first", "second", "neither"] = "neither"
    if high < 0 or low > 0:
        verdict = "first" if (high < 0) == (better == "lower") else "second"
    return Comparison(ours.value, theirs.value, low, high, verdict)
