"""Reconstruction tells what a generator can make from what it cannot."""

import pytest
import torch

from bngan.data.dataset import ImageSpec
from bngan.generation.latents import indexed_latents
from bngan.generation.sampler import Sampler
from bngan.metrics.reconstruction import reconstruction_errors
from bngan.networks.config import GeneratorConfig, ModelConfig
from bngan.networks.factory import build_generator


@pytest.mark.parametrize("conditional", [False, True])
def test_own_images_are_found_again_and_others_are_not(conditional: bool) -> None:
    model = ModelConfig("mlp", 8, conditional, GeneratorConfig(32, 1))
    spec = ImageSpec((1, 6, 6), (0.5, 0.5))
    torch.manual_seed(0)
    sampler = Sampler(model, spec, build_generator(model, spec).state_dict())
    latents = indexed_latents(7, range(6), 8)
    latents = latents * (8**0.5 / latents.norm(dim=1, keepdim=True))
    labels = torch.tensor([0, 1] * 3) if conditional else None
    own = sampler.generator(latents, *([labels] if labels is not None else []))
    foreign = own.flatten(1)[:, torch.randperm(36)].view_as(own)
    found, lost = (reconstruction_errors(sampler, images, labels) for images in (own, foreign))
    assert found.shape == (6,)
    assert found.median() < 0.01 * lost.median()
    assert torch.equal(found, reconstruction_errors(sampler, own, labels))
    if labels is not None:
        wrong = reconstruction_errors(sampler, own, 1 - labels)
        assert wrong.median() > found.median()
