"""Images and labels from folders, tables, the Hugging Face Hub, or what is embedded.

Everything becomes one ``datasets`` table per split with an undecoded image column, so that a broken
file is met, and can be named, where its pixels are needed.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from bngan.embedded import EMBEDDED

if TYPE_CHECKING:  # takes seconds to import, which only opening a source has to pay
    import datasets

HUB_PREFIX = "hub:"


Fit = Literal["crop", "pad", "stretch"]
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
_MAX_PIXELS = 64_000_000
_SPLITS = ("train", "validation", "test")


def is_symbolic(path: str) -> bool:
    """Whether ``path`` names data that is not a local folder."""
    return path in EMBEDDED or path.startswith(HUB_PREFIX)


@dataclass
class Source:
    """One split of raw data.

    Attributes:
        table: its rows.
        image: name of the image column, which holds ``{"bytes", "path"}``.
        label: name of the label column, if there is one.
    """

    table: "datasets.Dataset"
    image: str
    label: str | None

    def __len__(self) -> int:
        return len(self.table)

    def labels(self) -> list[Any]:
        """Labels as stored, None where there is none."""
        return [None] * len(self) if self.label is None else list(self.table[self.label][:])

    def class_names(self) -> list[str] | None:
        """Names of the classes where the data gives them."""
        feature = self.table.features.get(self.label) if self.label else None
        names = getattr(feature, "names", None)
        return None if names is None else list(names)

    def files(self, order: np.ndarray, chunk: int = 1000) -> Iterator[tuple[str, bytes | None]]:
        """Name and content of the images at ``order``, in that order; None where there is none."""
        for start in range(0, len(order), chunk):
            rows = self.table[order[start : start + chunk]][self.image]
            for index, row in zip(order[start : start + chunk], rows, strict=True):
                yield _read(int(index), row)


def _read(index: int, row: dict[str, Any] | None) -> tuple[str, bytes | None]:
    path = row["path"] if row else None
    content = row["bytes"] if row else None
    if content is None and path and Path(path).is_file():
        content = Path(path).read_bytes()
    return f"row {index}" + (f" ({Path(path).name})" if path else ""), content


def open_source(
    path: str, cache: Path, image_column: str | None = None, label_column: str | None = None
) -> dict[str, Source]:
    """Open the data at ``path``: one of ``EMBEDDED``, ``hub:OWNER/NAME`` or a folder.

    A folder holds images (a sub-folder per class, if classes are known), parquet or Arrow files, or
    what ``Dataset.save_to_disk`` wrote. Files or sub-folders named train, validation or test
    become splits of those names.

    Args:
        cache: folder for what ``datasets`` converts; may be deleted once the source is no longer used.

    Raises:
        ValueError: if nothing can be read there, or a column is missing.
    """
    import datasets

    sources = {}
    for split, table in _open_tables(path, cache).items():
        if split not in _SPLITS:
            continue
        image = image_column or _first(table, datasets.Image) or "image"
        label = label_column or _first(table, datasets.ClassLabel)
        label = label or ("label" if "label" in table.column_names else None)
        for column in (image, label):
            if column is not None and column not in table.column_names:
                raise ValueError(
                    f"{path} has no column '{column}' in split {split}; it has "
                    f"{', '.join(table.column_names)}"
                )
        table = table.cast_column(image, datasets.Image(decode=False))
        sources[split] = Source(table, image, label)
    if "train" not in sources:
        found = ", ".join(sources) or "no split of a usual name"
        raise ValueError(
            f"{path} has no train split, only {found}; names of files and folders decide"
        )
    return sources


def _open_tables(path: str, cache: Path) -> "dict[str, datasets.Dataset]":
    import datasets

    if path in EMBEDDED:
        return EMBEDDED[path]()
    try:
        if path.startswith(HUB_PREFIX):
            loaded = datasets.load_dataset(path.removeprefix(HUB_PREFIX), cache_dir=str(cache))
        elif (Path(path) / "dataset_dict.json").exists() or (Path(path) / "state.json").exists():
            loaded = datasets.load_from_disk(path)
        else:
            loaded = datasets.load_dataset(path, cache_dir=str(cache))
    except Exception as error:
        # datasets has no common base for what can be wrong with files, names and connections.
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(f"cannot read {path}: {reason[0]}") from error
    return {"train": loaded} if isinstance(loaded, datasets.Dataset) else dict(loaded)


def _first(table: "datasets.Dataset", kind: type) -> str | None:
    return next((name for name, f in table.features.items() if isinstance(f, kind)), None)


def decode(content: bytes | None) -> Image.Image:
    """A PIL image in mode L or RGB, upright, transparency laid over white.

    Raises:
        ValueError: if there is no image or it cannot be read.
    """
    if content is None:
        raise ValueError("no image")
    try:
        file = Image.open(io.BytesIO(content), formats=_FORMATS)
        if file.width * file.height > _MAX_PIXELS:
            raise ValueError(f"{file.width}x{file.height} pixels are too many")
        image: Image.Image = ImageOps.exif_transpose(file)
    except UnidentifiedImageError as error:
        raise ValueError("unreadable: no image format that is known") from error
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"unreadable: {error}") from error
    if image.mode.startswith("I"):  # 16-bit grey
        return Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        grey = image.mode in ("LA", "La")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
        return image.convert("L" if grey else "RGB")
    return image.convert("L" if image.mode in ("1", "L", "F") else "RGB")


def convert(image: Image.Image, channels: int, size: int | None, fit: Fit) -> np.ndarray:
    """uint8 ``(H, W, channels)`` of a decoded image; ``size`` makes it square by ``fit``."""
    image = image.convert("L" if channels == 1 else "RGB")
    if size is not None and image.size != (size, size):
        target, method = (size, size), Image.Resampling.BICUBIC
        if fit == "crop":
            image = ImageOps.fit(image, target, method)
        elif fit == "pad":
            image = ImageOps.pad(image, target, method)
        else:
            image = image.resize(target, method)
    pixels = np.asarray(image, dtype=np.uint8)
    return pixels.reshape(image.height, image.width, channels)
