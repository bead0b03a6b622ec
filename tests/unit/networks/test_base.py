"""A family of one's own: some layers and a forward pass are all that it needs."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from bngan.data.dataset import ImageSpec
from bngan.generation.sampler import Sampler
from bngan.networks.base import Discriminator, Generator
from bngan.networks.config import DiscriminatorConfig, GeneratorConfig, ModelConfig
from bngan.networks.factory import Family, build_discriminator, build_generator
from bngan.networks.norms import Condition


class OwnGenerator(Generator):
    def __init__(self, model: ModelConfig, images: ImageSpec) -> None:
        super().__init__()
        self.linear, self.shape = nn.Linear(model.latent_dim, 64), images.shape

    def synthesize(self, latents: Tensor, condition: Condition) -> Tensor:
        return self.linear(latents).tanh().view(len(latents), *self.shape)


class OwnDiscriminator(Discriminator):
    def __init__(self, model: ModelConfig, images: ImageSpec) -> None:
        super().__init__()
        self.features = 64

    def extract(self, images: Tensor) -> Tensor:
        return images.flatten(1)


def test_an_own_family_has_classes_weight_norms_and_initial_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = {"mlp": Family(OwnGenerator, OwnDiscriminator)}
    monkeypatch.setattr("bngan.networks.factory._FAMILIES", own)
    parts = GeneratorConfig(initialization="normal"), DiscriminatorConfig(weight_norm="spectral")
    model, spec = ModelConfig("mlp", 5, True, *parts), ImageSpec((1, 8, 8), (0.5, 0.25, 0.25))
    generator, discriminator = build_generator(model, spec), build_discriminator(model, spec)
    assert list(generator.state_dict()) == ["linear.weight", "linear.bias", "embedding.weight"]
    assert (generator.get_parameter("linear.bias") == 0).all()
    latents, labels = torch.randn(3, 5), torch.arange(3)
    images = generator(latents, labels)
    assert not torch.allclose(images, generator(latents, labels.flip(0)))
    assert discriminator(images, labels).shape == (3,)
    assert parametrize.is_parametrized(discriminator.logit)
    sampler = Sampler(model, spec, dict(generator.state_dict()))
    assert sampler.images(0, range(3)).shape == (3, 8, 8, 1)
