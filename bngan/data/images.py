"""Conversions between the networks' range and 8-bit images, and pictures of many images."""

import io
import math

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor


def to_uint8(images: Tensor) -> np.ndarray:
    """Convert ``(N, C, H, W)`` in [-1, 1] to uint8 ``(N, H, W, C)``, the nearest levels."""
    levels = ((images.detach().float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return levels.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def from_uint8(images: np.ndarray | Tensor, device: torch.device | str | None = None) -> Tensor:
    """Convert uint8 ``(N, H, W, C)`` to float32 ``(N, C, H, W)`` in [-1, 1].

    The function is the inverse of ``to_uint8``. The result has the same bits on every device; None
    is the device of a tensor, and the CPU for an array.
    """
    if not isinstance(images, Tensor):
        images = torch.from_numpy(np.array(images, order="C"))
    levels = images.to(device)
    # CUDA multiplies by the reciprocal of a Python number, which rounds differently.
    half = torch.full((), 127.5, device=levels.device)
    return levels.permute(0, 3, 1, 2).float().div_(half).sub_(1)


def area_resized(images: np.ndarray, side: int) -> np.ndarray:
    """Return float32 ``(N, side, side, C)`` of uint8 images: each value is the mean of an area."""
    pixels = torch.from_numpy(np.array(images, order="C")).permute(0, 3, 1, 2).float()
    resized = F.interpolate(pixels, (side, side), mode="area")
    return resized.permute(0, 2, 3, 1).numpy()


def to_pil(image: np.ndarray) -> Image.Image:
    """Convert uint8 ``(H, W, 1 or 3)`` to a PIL image (mode L or RGB)."""
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def grid(images: np.ndarray, columns: int | None = None, min_side: int = 512) -> Image.Image:
    """Lay uint8 ``(N, H, W, C)`` out row by row, enlarged by a whole factor to about ``min_side``.

    Without ``columns`` there are about as many as rows, so the grid has the images' proportions.

    Raises:
        ValueError: if there is no image.
    """
    if len(images) == 0:
        raise ValueError("a grid needs at least one image")
    count, height, width, channels = images.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    cells = np.full((rows * columns, height + 1, width + 1, channels), 255, np.uint8)
    cells[:count, 1:, 1:] = images
    canvas = np.vstack([np.hstack(list(row)) for row in np.split(cells, rows)])
    canvas = np.pad(canvas, ((0, 1), (0, 1), (0, 0)), constant_values=255)
    factor = max(1, round(min_side / max(canvas.shape[:2])))
    return to_pil(canvas.repeat(factor, axis=0).repeat(factor, axis=1))


def encode(picture: Image.Image) -> bytes:
    """Return a picture as the content of a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def png_bytes(images: np.ndarray, columns: int | None = None) -> bytes:
    """Return ``grid(images, columns)`` as the content of a PNG file."""
    return encode(grid(images, columns))
