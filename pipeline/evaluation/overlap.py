"""Leave out the real images that a generator has seen, before generators are compared on them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from bngan.metrics.evaluation import Reference
from bngan.metrics.protocol import MIN_COUNT
from pipeline.data.digests import DataDigests


@dataclass(frozen=True)
class Overlap:
    """Real images of a reference, and those that generators have seen.

    Attributes:
        split: split of the real images.
        fresh: whether no generator has seen the image, bool ``(N,)``.
        counts: number of images that each generator has seen, by its name; None if it is not known.
    """

    split: str
    fresh: np.ndarray
    counts: Mapping[str, int | None]

    @classmethod
    def of(
        cls,
        reference: Reference,
        real: DataDigests | None,
        generators: Mapping[str, DataDigests | None],
    ) -> "Overlap":
        """Return the overlap of a reference with the images that shaped generators.

        Images of the training split are what every generator is to learn: none of them counts.

        Args:
            reference: the reference; its real images are the first ones of their split.
            real: digests of the data that the reference is from; None if they are not known.
            generators: digests of the data of each generator by its name, None if they are not known.
        """
        split, count = reference.protocol.split, reference.protocol.count
        fresh = np.ones(count, bool)
        if split == "train":
            return cls(split, fresh, dict.fromkeys(generators, 0))
        counts = dict[str, int | None]()
        for name, digests in generators.items():
            counts[name] = None
            if real is None or digests is None or not digests.comparable(real):
                continue
            if (shaped := digests.before(split)) is None:
                continue
            seen = real.splits[split].take(slice(count)).among(shaped)
            fresh &= ~seen
            counts[name] = int(seen.sum())
        return cls(split, fresh, counts)

    @property
    def left(self) -> int:
        """Return the number of images that no generator has seen."""
        return int(self.fresh.sum())

    @property
    def enough(self) -> bool:
        """Return whether so many images are left that generators can be compared on them."""
        return self.left >= MIN_COUNT

    @property
    def unknown(self) -> list[str]:
        """Return the names of generators of which it is not known what they have seen."""
        return [name for name, count in self.counts.items() if count is None]

    def reduced(self, reference: Reference) -> Reference:
        """Return the reference without the images that a generator has seen."""
        return replace(reference, real=reference.real.take(self.fresh))

    def record(self) -> dict[str, object]:
        """Return the numbers in JSON values."""
        return {"real_images": self.left, "left_out": dict(self.counts)}

    def lines(self) -> list[str]:
        """Return sentences about the images that are left out, and about what is not known."""
        total = len(self.fresh)
        known = {name: count for name, count in self.counts.items() if count}
        lines = []
        if known:
            parts = ", ".join(f"{name} has seen {count:,}" for name, count in known.items())
            out = total - self.left
            lines.append(f"{out:,} of {total:,} {self.split} images are left out: {parts}")
        if self.unknown:
            names = " or ".join(self.unknown)
            lines.append(f"bngan cannot tell whether {names} has seen these {self.split} images")
        return lines
