import copy
import subprocess
import sys

import pytest
import torch

from bngan.data.dataset import ImageSpec
from bngan.networks.config import DiscriminatorConfig, GeneratorConfig, ModelConfig
from bngan.networks.factory import build_generator
from bngan.networks.norms import affine_parameters
from bngan.training.optimizers import (
    OptimizerConfig,
    build_optimizer,
    load_optimizer,
    schedule_problem,
    scheduled_factor,
    set_learning_rate,
)

SPEC = ImageSpec((1, 8, 8), (0.5, 0.5))


def generator(network="mlp", norm="batch", conditional: bool = False) -> torch.nn.Module:
    parts = GeneratorConfig(4, 2, norm), DiscriminatorConfig(4)
    return build_generator(ModelConfig(network, 5, conditional, *parts), SPEC)


@pytest.mark.parametrize("network", ["mlp", "dcgan", "resnet", "transformer"])
@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("norm", ["batch", "self_modulated_batch", "layer"])
def test_gamma_and_beta_are_found_once_each(network, norm, conditional) -> None:
    built = generator(network, norm, conditional)
    found = {id(parameter) for parameter in affine_parameters(built)}
    names = {name for name, parameter in built.named_parameters() if id(parameter) in found}
    assert len(list(affine_parameters(built))) == len(found)
    norms = {"mlp": 2, "dcgan": 2, "resnet": 5, "transformer": 5}[network]
    if norm == "self_modulated_batch":
        # Two layers each, and by class an embedding.
        assert len(names) == (5 if conditional else 4) * norms
        assert all(".modulation." in name for name in names)
    elif norm == "batch" and conditional:
        assert len(names) == norms
        assert all(name.endswith(".modulation.of_class.weight") for name in names)
    else:
        assert len(names) == 2 * norms
        sizes = {tuple(p.shape) for p in built.parameters() if id(p) in found}
        assert all(len(size) == 1 for size in sizes)


def test_settings_of_gamma_and_beta_are_their_own() -> None:
    built = generator()
    config = OptimizerConfig(
        "adamw", lr=1e-3, weight_decay=0.1, affine_lr_factor=0.25, affine_weight_decay=0.5
    )
    weights, affine = build_optimizer(built, config, 1e-3).param_groups
    assert (weights["lr"], weights["weight_decay"]) == (1e-3, 0.1)
    assert (affine["lr"], affine["weight_decay"]) == (0.25e-3, 0.5)
    assert len(affine["params"]) == 4
    assert len(weights["params"]) + 4 == len(list(built.parameters()))
    assert isinstance(build_optimizer(built, config, 1e-3), torch.optim.AdamW)


def test_a_step_of_adam_moves_gamma_by_its_own_learning_rate() -> None:
    built = generator()
    before = {name: p.detach().clone() for name, p in built.named_parameters()}
    optimizer = build_optimizer(built, OptimizerConfig(affine_lr_factor=10.0), 1e-3)
    for parameter in built.parameters():
        parameter.grad = torch.ones_like(parameter)
    set_learning_rate(optimizer, 0.5)
    optimizer.step()
    for name, parameter in built.named_parameters():
        lr = 5e-3 if ".norm." in name else 5e-4
        moved = before[name] - parameter.detach()
        torch.testing.assert_close(moved, torch.full_like(moved, lr), rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize(
    ("options", "course"),
    [
        ({}, {0: 1, 10**9: 1}),
        ({"lr_warmup": 100}, {0: 0, 25: 0.25, 100: 1, 1000: 1}),
        (
            {"lr_schedule": "linear", "lr_decay_start": 100, "lr_decay_end": 300},
            {0: 1, 100: 1, 150: 0.75, 300: 0, 500: 0},
        ),
        (
            {"lr_schedule": "cosine", "lr_decay_end": 100, "lr_final_factor": 0.2},
            {0: 1, 50: 0.6, 100: 0.2, 200: 0.2},
        ),
        (
            {"lr_schedule": "linear", "lr_decay_end": 100, "lr_warmup": 50},
            {25: 0.5 * 0.75, 75: 0.25},
        ),
    ],
)
def test_schedules_are_functions_of_images(options, course: dict[int, float]) -> None:
    config = OptimizerConfig(**options)
    assert schedule_problem(config) is None
    for images, factor in course.items():
        assert scheduled_factor(config, images) == pytest.approx(factor), images


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"lr_schedule": "cosine"}, "lr_schedule cosine needs lr_decay_end"),
        ({"lr_decay_end": 5}, "lr_decay_end needs lr_schedule"),
        (
            {"lr_schedule": "linear", "lr_decay_start": 5, "lr_decay_end": 5},
            "lr_decay_end 5 must come after",
        ),
    ],
)
def test_schedules_that_make_no_sense_are_told(options, problem: str) -> None:
    found = schedule_problem(OptimizerConfig(**options))
    assert found is not None
    assert found.message.startswith(problem)


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_a_loaded_state_is_not_moved_by_training(optimizer) -> None:
    networks = [generator() for _ in range(3)]
    optimizers = [build_optimizer(n, OptimizerConfig(optimizer), 1e-3) for n in networks]

    def step(number: int) -> None:
        for parameter in networks[number].parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizers[number].step()

    step(0)
    state = optimizers[0].state_dict()
    kept = copy.deepcopy(state)
    for number in (1, 2):
        networks[number].load_state_dict(networks[0].state_dict())
        load_optimizer(optimizers[number], state)
    for number in (1, 2):
        step(number)
        for key, values in state["state"].items():
            for name, value in values.items():
                assert torch.equal(value, kept["state"][key][name]), (number, key, name)
    for ours, theirs in zip(networks[1].parameters(), networks[2].parameters(), strict=True):
        assert torch.equal(ours, theirs)


WITHOUT_COMPILER = """
import sys
import numpy as np
from bngan.data.dataset import ImageSplit
from bngan.diagnostics import checks
from bngan.metrics.classifier import train_classifier
from bngan.networks import ModelConfig
from bngan.training.config import OptimizationConfig
from bngan.training.trainer import Trainer
images = np.zeros((64, 8, 8, 1), np.uint8)
data = ImageSplit(images)
checks.parameters(ModelConfig(), data.spec)
for optimizer in ("adam", "adamw"):
    options = OptimizationConfig(batch_size=32, optimizer=optimizer)
    trainer = Trainer(ModelConfig(), options, data.spec, 0)
    trainer.fit(data, 64)
    trainer.load_state_dict(trainer.state_dict())
train_classifier(images, np.arange(64) % 2, 2)
assert "torch._dynamo" not in sys.modules
"""


def test_neither_training_nor_its_plan_imports_torchs_compiler() -> None:
    subprocess.run([sys.executable, "-c", WITHOUT_COMPILER], check=True)
