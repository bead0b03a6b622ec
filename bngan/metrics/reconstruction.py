"""Reconstruction of given images by a generator: latents are optimised, weights are not."""

import math
from typing import Any

import torch
from torch import Tensor

from bngan.generation.latents import indexed_latents
from bngan.generation.sampler import Sampler
from bngan.training.optimizers import Adam

STEPS, STARTS = 200, 2
_SEED, _LR = 2_000, 0.3


def reconstruction_errors(sampler: Sampler, images: Tensor, labels: Tensor | None = None) -> Tensor:
    """Return the mean squared error per value of each image's best reconstruction.

    The result is ``(N,)`` float64. For images that the generator has not learned from, it measures
    generalisation (Metz et al. 2017; Xiang & Li 2017): no latent reproduces an image that the
    generator cannot make. Adam takes 200 steps from each of two random latents; the better end
    counts. Latents keep the length that N(0, 1) makes them, sqrt(dim): freer latents reproduce
    anything that the last layer can, whatever was learned.

    Args:
        sampler: the generator.
        images: ``(N, C, H, W)`` in [-1, 1].
        labels: int64 ``(N,)`` for a conditional generator.
    """
    count = len(images)
    dim = sampler.model.latent_dim
    latents = _on_the_sphere(indexed_latents(_SEED, range(STARTS * count), dim)).requires_grad_()
    target = images.repeat(STARTS, 1, 1, 1)
    condition: tuple[Any, ...] = () if labels is None else (labels.repeat(STARTS),)
    optimizer = Adam([latents], lr=_LR)
    best = torch.full((STARTS * count,), torch.inf, dtype=torch.float64)
    for step in range(STEPS + 1):
        with torch.enable_grad():
            difference = sampler.generator(latents, *condition) - target
            errors = difference.square().flatten(1).mean(1)
        best = torch.minimum(best, errors.detach().double())
        if step < STEPS:
            (latents.grad,) = torch.autograd.grad(errors.sum(), latents)
            optimizer.step()
            latents.data = _on_the_sphere(latents.data)
    least: Tensor = best.view(STARTS, count).amin(0)
    return least


def _on_the_sphere(latents: Tensor) -> Tensor:
    lengths = latents.norm(dim=1, keepdim=True).clamp(min=1e-12)
    scaled: Tensor = latents * (math.sqrt(latents.shape[1]) / lengths)
    return scaled
