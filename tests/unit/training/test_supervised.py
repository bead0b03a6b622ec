"""The supervised step: what it trains, and what it leaves alone."""

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from bngan.data.dataset import ImageSplit
from bngan.generation.sampler import Sampler
from bngan.generation.weight_diff import weight_difference
from bngan.metrics.classifier import untrained_extractor
from bngan.networks.config import GeneratorConfig, ModelConfig
from bngan.networks.norms import affine_parameters
from bngan.training.config import OptimizationConfig
from bngan.training.supervised import SupervisedConfig, SupervisedTrainer
from bngan.training.trainer import Trainer

RANDOM = np.random.default_rng(0)
DATA = ImageSplit(RANDOM.integers(0, 256, (30, 8, 8, 1), dtype=np.uint8), RANDOM.integers(0, 3, 30))
TRAINING = OptimizationConfig(batch_size=12, lr=1e-2, trainable="affine")
MODELS = {
    "dcgan": ModelConfig("dcgan", 6, False, GeneratorConfig(4)),
    "by class": ModelConfig("mlp", 6, True, GeneratorConfig(8)),
    "self-modulated": ModelConfig(
        "mlp", 6, False, GeneratorConfig(8, norm="self_modulated_batch", weight_norm="spectral")
    ),
}


def base_of(model: ModelConfig) -> Sampler:
    trainer = Trainer(model, replace(TRAINING, trainable="all"), DATA.spec, seed=1)
    trainer.fit(DATA, 120)
    return Sampler(model, DATA.spec, copy.deepcopy(trainer.ema.module.state_dict()))


def adapting(
    base: Sampler, dtype: torch.dtype = torch.float32, **choices: Any
) -> SupervisedTrainer:
    extractor = untrained_extractor((1, 8, 8))
    extractor.network.to(dtype).requires_grad_(False)
    return SupervisedTrainer(
        base.model,
        TRAINING,
        SupervisedConfig(**choices),
        DATA,
        2,
        base.generator.state_dict(),
        extractor.differentiable,
        dtype=dtype,
    )


@pytest.mark.parametrize("name", MODELS)
def test_gamma_beta_and_latents_move_and_nothing_else_by_a_bit(name: str) -> None:
    base = base_of(MODELS[name])
    trainer = adapting(base)
    before = trainer.latents.weight.detach().clone()
    affine = {id(p) for p in affine_parameters(trainer.generator)}
    assert [id(p) in affine for p in trainer.generator.parameters()] == [
        p.requires_grad for p in trainer.generator.parameters()
    ]
    trainer.fit(DATA, 120)
    assert (trainer.latents.weight != before).any(1).all()
    adapted = Sampler(base.model, DATA.spec, trainer.ema.module.state_dict())
    assert weight_difference(adapted, base) == "gamma, beta"
    assert weight_difference(base, base) == "nothing"


def test_images_come_nearer_to_their_originals() -> None:
    trainer = adapting(base_of(MODELS["dcgan"]))
    course = [trainer.fit(DATA, until) for until in (120, 2400)]
    for term in ("loss_g", "loss_pixels", "loss_features"):
        assert course[1][term] < course[0][term]


def test_every_weight_is_felt() -> None:
    base = base_of(MODELS["dcgan"])

    def after(**choices: Any) -> torch.Tensor:
        trainer = adapting(base, **choices)
        trainer.fit(DATA, 60)
        return torch.cat([p.flatten() for p in (*trainer.affine, trainer.latents.weight)])

    usual = after()
    for name in ("feature_weight", "affine_weight", "latent_weight", "latent_noise", "latent_lr"):
        assert (after(**{name: 0.5}) != usual).any(), name
    far = [adapting(base, affine_weight=weight) for weight in (0.0, 100.0)]
    for trainer in far:
        trainer.fit(DATA, 240)
    free, held = (trainer._affine_term() for trainer in far)
    assert held < free / 10


def test_it_goes_on_from_a_state_as_if_nothing_had_been() -> None:
    base = base_of(MODELS["dcgan"])
    once, twice = adapting(base), adapting(base)
    once.fit(DATA, 240)
    twice.fit(DATA, 100)
    resumed = adapting(base)
    resumed.load_state_dict(copy.deepcopy(twice.state_dict()))
    resumed.fit(DATA, 240)
    for ours, theirs in zip(once.networks.values(), resumed.networks.values(), strict=True):
        for key, value in ours.state_dict().items():
            assert (value == theirs.state_dict()[key]).all(), key
    resumed.roll_back(once.state_dict())
    assert (resumed.rollbacks, resumed.images_seen) == (1, once.images_seen)


def test_differences_are_named() -> None:
    base = base_of(MODELS["dcgan"])
    other = copy.deepcopy(base)
    state = other.generator.state_dict()
    next(value for key, value in state.items() if key.endswith("running_mean")).add_(1)
    assert weight_difference(other, base) == "statistics"
    next(affine_parameters(other.generator)).data.add_(1)
    assert weight_difference(other, base) == "gamma, beta, statistics"
    next(other.generator.parameters()).data.add_(1)
    assert weight_difference(other, base) == "all"
    assert weight_difference(base_of(MODELS["by class"]), base) == "all"
