"""Digests of images: they tell which images a generator has seen, without the images."""

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, cast, get_args

import numpy as np

from bngan.data.dataset import SPLITS, ImageShape, Split
from bngan.data.decoding import Fit, convert, read_image
from bngan.serialization.arrays import opened_arrays

EARLIER: dict[Split, tuple[Split, ...]] = {
    "train": (),
    "select": ("train",),
    "test": ("train", "select"),
}
"""Splits that shape a generator before it is scored on a split."""
_BASE = "base"
_UNKNOWN = 0


def digest64(content: bytes) -> int:
    """Return 64 bits of a hash.

    Among a million different images, two agree by chance once in 4 * 10^7 data sets.
    """
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


class ImageDigests(NamedTuple):
    """Digests of N images, of which each is known by its pixels and by its file."""

    pixels: np.ndarray
    """Digests of the prepared pixels, uint64 ``(N,)``."""
    files: np.ndarray
    """Digests of the encoded bytes, uint64 ``(N,)``; 0 where they are not known."""

    def take(self, chosen: slice) -> "ImageDigests":
        """Return the digests of the chosen images."""
        return ImageDigests(self.pixels[chosen], self.files[chosen])

    def among(self, others: "ImageDigests") -> np.ndarray:
        """Return whether each image has the pixels or the file of one of ``others``, ``(N,)``."""
        same_file = np.isin(self.files, others.files) & (self.files != _UNKNOWN)
        return np.asarray(same_file | np.isin(self.pixels, others.pixels))

    @classmethod
    def none(cls) -> "ImageDigests":
        """Return the digests of no images."""
        return cls(np.zeros(0, np.uint64), np.zeros(0, np.uint64))

    @classmethod
    def join(cls, parts: Iterable["ImageDigests"]) -> "ImageDigests":
        """Return the parts one after the other."""
        return cls(*map(np.concatenate, zip(cls.none(), *parts, strict=True)))

    def unique(self) -> "ImageDigests":
        """Return the digests without repetitions."""
        return ImageDigests(*np.unique(np.stack(self), axis=1))

    @classmethod
    def of_arrays(cls, images: np.ndarray) -> "ImageDigests":
        """Return the digests of prepared images uint8 ``(N, H, W, C)``, whose files are gone."""
        pixels = np.array([digest64(image.tobytes()) for image in images], np.uint64)
        return cls(pixels, np.full(len(images), _UNKNOWN, np.uint64))


@dataclass
class DataDigests:
    """Digests of all images of a prepared data set.

    Attributes:
        splits: digests of each split, in the order of its images.
        fit: way in which the images were brought to their size.
        white: value that was white in images of 9 to 16 bits; None: that of each header.
        base: digests of the images that shaped the base of an adaptation, and its bases; none if
            there is no base, and None if they are not known.
    """

    splits: dict[Split, ImageDigests]
    fit: str
    white: int | None
    base: ImageDigests | None = field(default_factory=ImageDigests.none)

    def before(self, split: Split) -> ImageDigests | None:
        """Return the digests of the images that shape a generator before it meets ``split``.

        None if the generator has a base of which that is not known.
        """
        if self.base is None:
            return None
        return ImageDigests.join([*(self.splits[each] for each in EARLIER[split]), self.base])

    def comparable(self, other: "DataDigests") -> bool:
        """Return whether one image of both data sets has a digest in common."""
        alike = (self.fit, self.white) == (other.fit, other.white)
        return alike or (self.has_files and other.has_files)

    @property
    def has_files(self) -> bool:
        """Return whether the digests of files are known."""
        return bool(self.splits["train"].files.any())

    def prepared(self, content: bytes, shape: ImageShape) -> ImageDigests:
        """Return the digests that an image would have in this data set.

        Args:
            content: content of its file. If it is no image, its pixels are not known.
            shape: shape (C, H, W) of the prepared images.
        """
        channels, height, width = shape
        pixels = _UNKNOWN
        with suppress(ValueError):
            image = read_image(content, self.white).image
            pixels = digest64(
                convert(image, channels, (height, width), cast(Fit, self.fit)).tobytes()
            )
        return ImageDigests(*(np.array([each], np.uint64) for each in (pixels, digest64(content))))

    def places(self, images: ImageDigests) -> list[list[str]]:
        """Return, for each image, the names of the splits that have it, ``base`` among them."""
        among = {name: images.among(part) for name, part in self._parts().items()}
        return [
            [name for name, found in among.items() if found[index]]
            for index in range(len(images.pixels))
        ]

    def _parts(self) -> dict[str, ImageDigests]:
        parts = {str(split): part for split, part in self.splits.items()}
        return parts if self.base is None else {**parts, _BASE: self.base}

    def save(self, file: Path) -> None:
        """Write everything to a file (npz)."""
        arrays = {name: np.stack(part) for name, part in self._parts().items()}
        form = np.array([self.fit, "" if self.white is None else str(self.white)])
        np.savez(file, form=form, **arrays)  # type: ignore[arg-type]  # numpy's stubs

    @classmethod
    def load(cls, file: Path) -> "DataDigests":
        """Return the digests that ``save`` wrote.

        Raises:
            ValueError: if the file holds anything else.
        """
        with opened_arrays(file, "digests of images") as arrays:
            fit, white = map(str, arrays["form"])
            splits = {split: _checked(arrays[split]) for split in SPLITS}
            base = _checked(arrays[_BASE]) if _BASE in arrays else None
            if fit not in get_args(Fit):
                raise ValueError(f"there is no fit {fit}")
            return cls(splits, fit, int(white) if white else None, base)

    @classmethod
    def of_arrays(cls, folder: Path, fit: str, white: int | None, adapted: bool) -> "DataDigests":
        """Return the digests of a prepared data set that was written without them.

        ``adapted`` is whether the generator has a base, whose images are then not known.
        """
        images = {split: np.load(folder / f"{split}_images.npy", mmap_mode="r") for split in SPLITS}
        splits = {split: ImageDigests.of_arrays(each) for split, each in images.items()}
        return cls(splits, fit, white, None if adapted else ImageDigests.none())


def _checked(values: np.ndarray) -> ImageDigests:
    if values.dtype != np.uint64 or values.ndim != 2 or len(values) != 2:
        raise ValueError("an array is no pair of digests")
    return ImageDigests(*values)
