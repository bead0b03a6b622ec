"""Undocumented parts of Pillow: decoding a file's pixels as if its header said something else."""

from typing import Any

import numpy as np
from PIL import Image, ImageFile


def raw_mode(file: ImageFile.ImageFile) -> str:
    """Return Pillow's name of the layout of an opened file's pixels, such as ``RGB;16B``."""
    arguments: Any = file.tile[0][3]
    return arguments if isinstance(arguments, str) else str(arguments[0])


def ppm_maximum(file: ImageFile.ImageFile) -> int:
    """Return the largest value that the header of an opened PGM or PPM allows, 255 if unknown."""
    arguments: Any = file.tile[0][3]
    if arguments == "I;16B":
        return 65535
    return int(arguments[-1]) if isinstance(arguments, tuple) else 255


def ppm_place(file: ImageFile.ImageFile) -> int | None:
    """Return the place of the values in an opened PGM or PPM; None if they are text."""
    decoder, _, place, _ = file.tile[0]
    return None if decoder == "ppm_plain" else place


def load_as(file: ImageFile.ImageFile, mode: str, layout: str) -> Image.Image:
    """Load an opened file as if its pixels had this layout, and give an image of ``mode``."""
    file._mode = mode
    for number, (decoder, box, place, arguments) in enumerate(file.tile):
        later = arguments[1:] if isinstance(arguments, tuple) else None
        changed = layout if later is None else (layout, *later)
        file.tile[number] = ImageFile._Tile(decoder, box, place, changed)
    file.load()
    return file


def load_ppm_text(file: ImageFile.ImageFile) -> np.ndarray:
    """Return int32 ``(H, W)``, or ``(H, 3 W)`` of colours, scaled to 0 to 65535."""
    decoder, _, place, _ = file.tile[0]
    arguments = "I", ppm_maximum(file)
    file._size = file.width * (3 if file.mode == "RGB" else 1), file.height
    file._mode = "I"
    file.tile = [ImageFile._Tile(decoder, (0, 0, *file.size), place, arguments)]
    file.load()
    return np.asarray(file)
