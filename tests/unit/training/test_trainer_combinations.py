"""What the configuration allows, two settings at a time: each pair of them trains somewhere."""

import random
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch

from bngan.batchnorm.calibration import calibrate
from bngan.batchnorm.layer import batch_layout
from bngan.data.dataset import ImageSplit
from bngan.diagnostics.checks import network_errors
from bngan.generation.sampler import Sampler
from bngan.networks.config import DiscriminatorConfig, GeneratorConfig, ModelConfig
from bngan.training.config import OptimizationConfig, optimizer_errors
from bngan.training.losses import LOSSES
from bngan.training.penalties import PENALTIES
from bngan.training.trainer import Trainer

NORMS = ["batch", "layer", "group", "instance", "none"]
WEIGHT_NORMS = ["none", "spectral", "weight"]
AXES: dict[str, list[Any]] = {
    "network": ["mlp", "dcgan", "resnet", "transformer"],
    "conditional": [False, True],
    "generator.norm": ["self_modulated_batch", *NORMS],
    "generator.norm_place": ["before_activation", "after_activation"],
    "generator.activation": ["relu", "elu", "silu", "gelu", "none"],
    "generator.weight_norm": WEIGHT_NORMS,
    "generator.initialization": ["auto", "torch", "glorot", "he", "normal", "orthogonal"],
    "generator.attention": [[], [5]],
    "generator.output_norm": [False, True],
    "generator.mapping": [0, 1],
    "discriminator.norm": NORMS,
    "discriminator.norm_first": [False, True],
    "discriminator.weight_norm": WEIGHT_NORMS,
    "discriminator.batch_statistics": ["separate", "joint"],
    "discriminator.attention": [[], [5]],
    "train.loss": list(LOSSES),
    "train.label_smoothing": [0.0, 0.1],
    "train.penalty": ["none", *PENALTIES],
    "train.discriminator_steps": [1, 2],
    "train.micro_batch": [None, 4],
    "train.optimizer": ["adam", "adamw"],
    "train.trainable": ["all", "affine"],
    "train.lr_schedule": ["constant", "linear", "cosine"],
    "train.augment": [[], ["translation", "cutout", "color"]],
    "train.precision": ["float32", "bfloat16"],
}
BATCH, STEPS = 8, 4
_random = np.random.default_rng(0)
DATA = ImageSplit(
    _random.integers(0, 256, (20, 9, 9, 3), dtype=np.uint8), _random.integers(0, 2, 20), flip=True
)
Choice = dict[str, int]


def configured(choice: Choice) -> tuple[ModelConfig, OptimizationConfig]:
    """The axes' values by section; what a value needs besides itself comes with it."""
    sections: dict[str, dict[str, Any]] = {"generator": {}, "discriminator": {}, "train": {}}
    model: dict[str, Any] = {}
    for axis, number in choice.items():
        section, _, key = axis.rpartition(".")
        (sections[section] if section else model)[key] = AXES[axis][number]
    train = sections["train"]
    if train["micro_batch"]:
        train["norm_batch"] = 4
    if train["lr_schedule"] != "constant":
        train["lr_decay_end"] = 3 * BATCH
    return ModelConfig(
        **model,
        latent_dim=6,
        generator=GeneratorConfig(width=8, depth=2, **sections["generator"]),
        discriminator=DiscriminatorConfig(width=8, depth=2, **sections["discriminator"]),
    ), OptimizationConfig(batch_size=BATCH, lr=1e-3, lr_final_factor=0.5, **train)


def allowed(choice: Choice) -> bool:
    model, train = configured(choice)
    return not list(optimizer_errors(model, train)) and not list(network_errors(model, DATA.spec))


def covering() -> tuple[list[Choice], set[Any]]:
    """Allowed choices that together hold every pair of values found, greedily; and those pairs."""
    draw, found, covered = random.Random(0), list[Choice](), set[Any]()

    def pairs(choice: Choice) -> set[Any]:
        return set(combinations(sorted(choice.items()), 2))

    every = {
        pair
        for one, other in combinations(sorted(AXES), 2)
        for i in range(len(AXES[one]))
        for j in range(len(AXES[other]))
        for pair in [((one, i), (other, j))]
    }
    for pair in sorted(every):
        if pair in covered:
            continue
        good = list[Choice]()
        for _ in range(60):
            choice = {
                axis: 0 if draw.random() < 0.5 else draw.randrange(len(values))
                for axis, values in AXES.items()
            } | dict(pair)
            if allowed(choice):
                good.append(choice)
            if len(good) == 4:
                break
        if good:
            best = max(good, key=lambda choice: len(pairs(choice) - covered))
            found.append(best)
            covered |= pairs(best)
    return found, every - covered


CASES, REFUSED = covering()


def value(setting: tuple[str, int]) -> str:
    return f"{setting[0]}={AXES[setting[0]][setting[1]]}"


def test_only_what_cannot_be_is_refused() -> None:
    assert {(value(one), value(other)) for one, other in REFUSED} == {
        ("discriminator.attention=[5]", "network=mlp"),
        ("discriminator.attention=[5]", "network=transformer"),
        ("discriminator.batch_statistics=joint", "discriminator.norm=group"),
        ("discriminator.batch_statistics=joint", "discriminator.norm=instance"),
        ("discriminator.batch_statistics=joint", "discriminator.norm=layer"),
        ("discriminator.batch_statistics=joint", "discriminator.norm=none"),
        ("discriminator.batch_statistics=joint", "train.micro_batch=4"),
        ("discriminator.norm=instance", "network=mlp"),
        ("generator.attention=[5]", "network=mlp"),
        ("generator.attention=[5]", "network=transformer"),
        *(("generator.mapping=1", f"generator.norm={norm}") for norm in NORMS),
        ("generator.norm=instance", "network=mlp"),
        ("generator.norm_place=after_activation", "network=transformer"),
        ("train.label_smoothing=0.1", "train.loss=hinge"),
        ("train.label_smoothing=0.1", "train.loss=inverted_minimax"),
        ("train.label_smoothing=0.1", "train.loss=relativistic"),
        ("train.label_smoothing=0.1", "train.loss=wasserstein"),
    }


@pytest.mark.parametrize("choice", CASES, ids=range(len(CASES)))
def test_what_is_allowed_trains_and_can_be_sampled(choice: Choice) -> None:
    model, train = configured(choice)
    trainer = Trainer(model, train, DATA.spec, seed=1)
    before = {
        name: parameter.detach().clone()
        for network in (trainer.generator, trainer.discriminator)
        for name, parameter in network.named_parameters(prefix=type(network).__name__)
    }
    means = trainer.fit(DATA, STEPS * BATCH)
    assert np.isfinite(list(means.values())).all()
    for network in (trainer.generator, trainer.discriminator):
        changed = set[bool]()
        for name, parameter in network.named_parameters(prefix=type(network).__name__):
            assert parameter.isfinite().all(), name
            moved = (parameter - before[name]).abs().max() > 1e-4
            changed.add(bool(moved))
            assert parameter.requires_grad or not moved, name
        assert True in changed
    labels = torch.from_numpy(DATA.labels[:BATCH]) if model.conditional else None
    with torch.no_grad(), batch_layout([BATCH], track=False):
        logits = trainer.discriminator(torch.randn(BATCH, 3, 9, 9), labels)
        images = trainer.generator(torch.randn(BATCH, 6), labels)
    assert logits.std() > 1e-4
    assert images.std(dim=0).max() > 1e-4
    sampler = Sampler(model, DATA.spec, trainer.ema.module.state_dict())
    calibrate(sampler.generator, lambda: sampler.calibration_batches(200))
    images = sampler.images(0, range(5))
    assert images.shape == (5, 9, 9, 3)
    difference = images[3].astype(int) - sampler.images(0, [3])[0]
    assert np.abs(difference).max() <= 1
