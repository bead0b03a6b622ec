"""Leave out the real images that a generator has seen, before generators are compared on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bngan.metrics.evaluation import Reference
from bngan.metrics.protocol import MIN_COUNT
from pipeline.data.digests import SeenImages


@dataclass(frozen=True)
class Overlap:
    """Real images of a reference, and those that generators have seen.

    Attributes:
        split: split of the real images.
        fresh: whether no generator has seen the image, bool ``(N,)``.
        seen: number of images that each generator has seen, by its name; None if it is not known.
    """

    split: str
    fresh: np.ndarray
    seen: Mapping[str, int | None]

    @classmethod
    def of(
        cls, reference: Reference, shown: SeenImages | None, seen: Mapping[str, SeenImages | None]
    ) -> "Overlap":
        """Return the overlap of a reference with the images that shaped generators.

        Images of the training split are what every generator is to learn: none of them counts.

        Args:
            reference: the reference.
            shown: digests of the data that the reference is from; None if they are not known.
            seen: digests of the data of each generator by its name, None if they are not known.
        """
        split, count = reference.protocol.split, reference.protocol.count
        fresh, counts = np.ones(count, bool), dict[str, int | None]()
        for name, images in seen.items():
            if shown is None or images is None:
                counts[name] = None
                continue
            real = shown.splits[split].take(slice(count))
            among = real.among(images.before(split))
            fresh &= ~among
            counts[name] = int(among.sum())
        return cls(split, fresh, counts)

    @property
    def left(self) -> int:
        """Return the number of images that no generator has seen."""
        return int(self.fresh.sum())

    @property
    def enough(self) -> bool:
        """Return whether so many images are left that generators can be compared on them."""
        return self.left >= MIN_COUNT

    def reduced(self, reference: Reference) -> Reference:
        """Return the reference without the images that a generator has seen."""
        return replace(reference, real=reference.real.take(self.fresh))

    def record(self) -> dict[str, object]:
        """Return the numbers in JSON values."""
        return {"real_images": self.left, "left_out": dict(self.seen)}

    def lines(self) -> list[str]:
        """Return sentences about the images that are left out, and about what is not known."""
        count = len(self.fresh)
        known = {name: seen for name, seen in self.seen.items() if seen}
        unknown = [name for name, seen in self.seen.items() if seen is None]
        lines = []
        if known:
            parts = ", ".join(f"{name} has seen {seen:,}" for name, seen in known.items())
            out = count - self.left
            lines.append(f"{out:,} of {count:,} {self.split} images are left out: {parts} of them")
        if unknown:
            lines.append(
                f"nobody knows whether {_joined(unknown)} has seen these {self.split} images"
            )
        return lines


def _joined(names: Sequence[str]) -> str:
    return " or ".join(names)
