"""Degradations of real images: a score that does not see them does not see what eyes see.

Every function takes uint8 images ``(N, H, W, C)``, a strength in (0, 1] and a random generator, and
returns as many images. Strength 1 is plain to every eye.
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from PIL import Image

from bngan.data.images import area_resized, to_pil

Degradation = Callable[[np.ndarray, float, np.random.Generator], np.ndarray]
LEVELS = (0.2, 0.4, 0.6, 0.8, 1.0)
_MODES = 10


def blurred(images: np.ndarray, strength: float, random: np.random.Generator) -> np.ndarray:
    """Blur by a Gaussian whose standard deviation is up to a twelfth of the shorter side."""
    from scipy.ndimage import gaussian_filter

    sigma = strength * min(images.shape[1:3]) / 12
    return np.asarray(gaussian_filter(images, (0, sigma, sigma, 0)))


def noisy(images: np.ndarray, strength: float, random: np.random.Generator) -> np.ndarray:
    """Add Gaussian noise with a standard deviation of up to 50 levels."""
    noise = random.normal(0, 50 * strength, images.shape)
    return _bytes(images + noise)


def posterised(images: np.ndarray, strength: float, random: np.random.Generator) -> np.ndarray:
    """Keep fewer levels of each channel: from 28 down to 3."""
    levels = round(3 + 25 * (1 - strength))
    return _bytes(np.round(images / 255 * (levels - 1)) / (levels - 1) * 255)


def shuffled(images: np.ndarray, strength: float, random: np.random.Generator) -> np.ndarray:
    """Exchange blocks within each image: a share ``strength`` of a grid of four by four."""
    out, (rows, columns) = images.copy(), (_cuts(side) for side in images.shape[1:3])
    places = [(r, c) for r in rows for c in columns]
    for image, old in zip(out, images, strict=True):
        count = max(round(strength * len(places)), 2)
        chosen = random.permutation(len(places))[:count]
        for to, source in zip(chosen, np.roll(chosen, 1), strict=True):
            (r, c), (s, t) = places[to], places[source]
            height, width = min(r[1] - r[0], s[1] - s[0]), min(c[1] - c[0], t[1] - t[0])
            part = old[s[0] : s[0] + height, t[0] : t[0] + width]
            image[r[0] : r[0] + height, c[0] : c[0] + width] = part
    return out


def dephased(images: np.ndarray, strength: float, random: np.random.Generator) -> np.ndarray:
    """Turn each frequency's phase by a random angle of up to ``strength`` half turns.

    The spectrum stays, and with it the texture; shapes go.
    """
    spectrum = np.fft.rfft2(images.astype(np.float64), axes=(1, 2))
    turns = random.uniform(-np.pi * strength, np.pi * strength, spectrum.shape[:3])
    turns[:, 0, 0] = 0
    turned = spectrum * np.exp(1j * turns)[..., None]
    return _bytes(np.fft.irfft2(turned, s=images.shape[1:3], axes=(1, 2)))


def halved(images: np.ndarray, strength: float, random: np.random.Generator) -> np.ndarray:
    """Give a share ``strength`` of the images the right half of another image."""
    out, chosen = images.copy(), random.random(len(images)) < strength
    half = images.shape[2] // 2
    out[chosen, :, half:] = np.roll(images, 1, axis=0)[chosen, :, half:]
    return out


def narrowed(images: np.ndarray, strength: float, random: np.random.Generator) -> np.ndarray:
    """Replace up to half of the images, whole kinds by their thumbnails, by images of other kinds."""
    from sklearn.cluster import KMeans

    thumbnails = area_resized(images, 8).reshape(len(images), -1)
    kinds = KMeans(min(_MODES, len(images)), random_state=0, n_init=1).fit_predict(thumbnails)
    place = random.permutation(_MODES)[kinds]
    lost = np.zeros(len(images), bool)
    lost[np.argsort(place, kind="stable")[: round(len(images) * strength / 2)]] = True
    out = images.copy()
    out[lost] = images[random.choice(np.flatnonzero(~lost), lost.sum())]
    return out


def repeated(images: np.ndarray, strength: float, random: np.random.Generator) -> np.ndarray:
    """Replace a share of up to 95 % of the images by copies of the others."""
    kept = max(round(len(images) * (1 - 0.95 * strength)), 1)
    chosen = random.permutation(len(images))
    out = images.copy()
    out[chosen[kept:]] = images[random.choice(chosen[:kept], len(images) - kept)]
    return out


def coarsened(images: np.ndarray, strength: float, random: np.random.Generator) -> np.ndarray:
    """Enlarge images that were reduced to as little as a sixth of their size."""
    height, width = images.shape[1:3]
    factor = 1 + 5 * strength
    small = max(round(width / factor), 1), max(round(height / factor), 1)
    return np.stack(
        [
            np.asarray(
                to_pil(image)
                .resize(small, Image.Resampling.BOX)
                .resize((width, height), Image.Resampling.BICUBIC)
            ).reshape(image.shape)
            for image in images
        ]
    )


DEGRADATIONS: dict[str, Degradation] = {
    "blur": blurred,
    "coarse": coarsened,
    "noise": noisy,
    "few colours": posterised,
    "shuffled blocks": shuffled,
    "random phases": dephased,
    "two halves": halved,
    "dropped kinds": narrowed,
    "copies": repeated,
}


def _cuts(side: int) -> list[tuple[int, int]]:
    edges = [round(side * part / 4) for part in range(5)]
    return [(start, stop) for start, stop in pairwise(edges) if stop > start]


def _bytes(values: np.ndarray) -> np.ndarray:
    return values.round().clip(0, 255).astype(np.uint8)
