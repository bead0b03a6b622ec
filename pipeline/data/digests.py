"""Digests of images: they tell which images a generator has seen, without the images."""

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast
from zipfile import BadZipFile

import numpy as np

from bngan.data.dataset import SPLITS, ImageShape, Split
from bngan.data.decoding import Fit, convert, read_image

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
    """Of the prepared pixels, uint64 ``(N,)``."""
    files: np.ndarray
    """Of the encoded bytes, uint64 ``(N,)``; 0 where they are not known."""

    def take(self, chosen: slice) -> "ImageDigests":
        """Return the digests of the chosen images."""
        return ImageDigests(self.pixels[chosen], self.files[chosen])

    def among(self, others: "ImageDigests") -> np.ndarray:
        """Return whether each image has the pixels or the file of one of ``others``, ``(N,)``."""
        same_file = np.isin(self.files, others.files) & (self.files != _UNKNOWN)
        return np.asarray(same_file | np.isin(self.pixels, others.pixels))

    @classmethod
    def join(cls, parts: Iterable["ImageDigests"]) -> "ImageDigests":
        """Return the parts one after the other."""
        empty = cls(np.zeros(0, np.uint64), np.zeros(0, np.uint64))
        return cls(*map(np.concatenate, zip(empty, *parts, strict=True)))

    @classmethod
    def of_prepared(cls, images: np.ndarray) -> "ImageDigests":
        """Return the digests of prepared images uint8 ``(N, H, W, C)``, whose files are gone."""
        pixels = np.array([digest64(image.tobytes()) for image in images], np.uint64)
        return cls(pixels, np.full(len(images), _UNKNOWN, np.uint64))


@dataclass
class SeenImages:
    """Digests of all images of a prepared data set.

    Attributes:
        splits: digests of each split, in the order of its images.
        fit: way in which the images were brought to their size.
        white: value that was white in images of 9 to 16 bits; None: that of each header.
        base: digests of the images that the generator's base, and its bases, were trained on; None
            if there is no base, or they are not known.
    """

    splits: dict[Split, ImageDigests]
    fit: str
    white: int | None
    base: ImageDigests | None = None

    def before(self, split: Split) -> ImageDigests:
        """Return the digests of the images that shape a generator before it meets ``split``."""
        parts = [self.splits[earlier] for earlier in EARLIER[split]]
        return ImageDigests.join(parts + ([self.base] if self.base else []))

    def find(self, content: bytes, shape: ImageShape) -> list[str]:
        """Return the names of the splits that have an image, ``base`` among them.

        Args:
            content: content of its file.
            shape: shape (C, H, W) of the prepared images.
        """
        channels, *size = shape
        pixels = _UNKNOWN
        with suppress(ValueError):  # a file that is no image was perhaps one to earlier code
            image = read_image(content, self.white).image
            prepared = convert(image, channels, (size[0], size[1]), cast(Fit, self.fit))
            pixels = digest64(prepared.tobytes())
        sought = ImageDigests(
            *(np.array([each], np.uint64) for each in (pixels, digest64(content)))
        )
        return [name for name, part in self._parts().items() if sought.among(part).any()]

    def _parts(self) -> dict[str, ImageDigests]:
        return {str(split): part for split, part in self.splits.items()} | (
            {_BASE: self.base} if self.base else {}
        )

    def save(self, file: Path) -> None:
        """Write everything to a file (npz)."""
        arrays = {name: np.stack(part) for name, part in self._parts().items()}
        form = np.array([self.fit, "" if self.white is None else str(self.white)])
        np.savez(file, form=form, **arrays)  # type: ignore[arg-type]  # numpy's stubs

    @classmethod
    def load(cls, file: Path) -> "SeenImages":
        """Return the digests that ``save`` wrote.

        Raises:
            ValueError: if the file holds anything else.
        """
        try:
            with np.load(file, allow_pickle=False) as arrays:
                fit, white = map(str, arrays["form"])
                splits = {split: _checked(arrays[split]) for split in SPLITS}
                base = _checked(arrays[_BASE]) if _BASE in arrays.files else None
            return cls(splits, fit, int(white) if white else None, base)
        except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
            raise ValueError(f"{file.name} holds no digests of images: {error}") from error

    @classmethod
    def of_prepared(cls, folder: Path, fit: str, white: int | None) -> "SeenImages":
        """Return the digests of a prepared data set that was written without them."""
        images = {split: np.load(folder / f"{split}_images.npy", mmap_mode="r") for split in SPLITS}
        splits = {split: ImageDigests.of_prepared(each) for split, each in images.items()}
        return cls(splits, fit, white)


def _checked(values: np.ndarray) -> ImageDigests:
    if values.dtype != np.uint64 or values.ndim != 2 or len(values) != 2:
        raise ValueError("an array is no pair of digests")
    return ImageDigests(*values)
