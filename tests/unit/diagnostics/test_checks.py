from typing import Any

import pytest
import torch

from bngan.batchnorm.layer import batch_layout, synchronize
from bngan.data.dataset import ImageSpec
from bngan.diagnostics.checks import is_blind, network_errors, network_warnings
from bngan.networks.config import DiscriminatorConfig, GeneratorConfig, ModelConfig
from bngan.networks.factory import build_discriminator
from bngan.training.config import OptimizationConfig, batch_problem
from bngan.training.losses import LOSSES

SPEC = ImageSpec((1, 12, 12), (0.5, 0.5))
NORMED = DiscriminatorConfig(norm="batch")
BLIND = {"norm": "batch", "norm_place": "after_activation"}


def model(network: Any = "mlp", conditional: bool = False, **discriminator: Any) -> ModelConfig:
    return ModelConfig(
        network, 5, conditional, discriminator=DiscriminatorConfig(8, 2, **discriminator)
    )


@pytest.mark.parametrize(
    ("config", "blind"),
    [
        (model(**BLIND), True),
        (model(**BLIND, batch_statistics="joint"), False),
        (model(norm="batch"), False),
        (model(), False),
        (model(**BLIND, conditional=True), False),  # the class's projection still tells
        (model("dcgan", norm="batch"), False),
    ],
)
def test_a_discriminator_that_cannot_learn_is_found(config: ModelConfig, blind: bool) -> None:
    assert is_blind(config, SPEC) is blind


def test_a_blind_discriminator_is_best_off_constant() -> None:
    """Jensen: whatever its weights, its loss is no smaller than that of one constant logit."""
    torch.manual_seed(0)
    discriminator = synchronize(build_discriminator(model(**BLIND), SPEC)).double()
    loss = LOSSES["non_saturating"]
    images = torch.rand(32, 1, 12, 12, dtype=torch.float64)
    images[16:] *= 0.1
    for _ in range(5):
        with torch.no_grad(), batch_layout([16, 16]):
            for parameter in discriminator.parameters():
                parameter.normal_()
            real, fake = discriminator(images).view(2, 16)
        value = loss.discriminator(real, fake).mean()
        constant = real.mean()
        assert fake.mean().item() == pytest.approx(constant.item(), abs=1e-9)
        assert value >= loss.discriminator(constant, constant)


@pytest.mark.parametrize(("size", "depth", "blind"), [(8, 3, True), (32, 4, False), (64, 6, True)])
def test_a_convolutional_one_is_blind_once_its_map_is_one_pixel(
    size: int, depth: int, blind: bool
) -> None:
    part = DiscriminatorConfig(2, depth, "batch", "after_activation")
    config = ModelConfig("dcgan", 5, discriminator=part)
    assert is_blind(config, ImageSpec((1, size, size))) is blind


def test_what_cannot_learn_is_told_for_the_images_there_are() -> None:
    def problem(config: ModelConfig, images: ImageSpec = SPEC) -> tuple[str, str]:
        (found,) = network_errors(config, images)
        return found.key, found.message

    assert list(network_errors(model(), SPEC)) == []
    key, message = problem(ModelConfig(discriminator=NORMED))
    assert key == "model.discriminator.norm"
    assert "no layer for it" in message
    key, message = problem(model(**BLIND))
    assert key == "model.discriminator"
    assert "cannot learn" in message
    assert list(network_errors(model(**BLIND, allow_blind=True), SPEC)) == []
    key, message = problem(model(batch_statistics="joint"))
    assert key == "model.discriminator.batch_statistics"
    assert "joint needs norm: batch" in message
    key, message = problem(model(conditional=True), ImageSpec((1, 12, 12)))
    assert key == "model.conditional"
    assert "needs images with labels" in message


@pytest.mark.parametrize(
    ("network", "part", "options", "key"),
    [
        ("mlp", "generator", {"norm": "instance"}, "model.generator.norm"),
        ("mlp", "discriminator", {"attention": [4]}, "model.discriminator.attention"),
        ("mlp", "generator", {"mapping": 1}, "model.generator.mapping"),
        ("transformer", "generator", {"patch_size": 40}, "model.generator.patch_size"),
        (
            "transformer",
            "discriminator",
            {"norm_place": "after_activation"},
            "model.discriminator.norm_place",
        ),
    ],
)
def test_what_cannot_be_built_names_its_setting(
    network: Any, part: str, options: Any, key: str
) -> None:
    kind = GeneratorConfig if part == "generator" else DiscriminatorConfig
    (found,) = network_errors(ModelConfig(network, **{part: kind(**options)}), SPEC)
    assert found.key == key
    assert found.message.startswith(key)


def test_what_does_not_mean_what_it_seems_to_is_told() -> None:
    penalised = OptimizationConfig(penalty="r1")
    assert list(network_warnings(model(), penalised)) == []
    assert len(list(network_warnings(model(norm="batch"), OptimizationConfig()))) == 0
    (one,) = network_warnings(model(norm="batch"), penalised)
    assert "r1" in one
    (unbounded,) = network_warnings(model(), OptimizationConfig(loss="wasserstein"))
    assert "no bound" in unbounded
    assert not list(
        network_warnings(model(weight_norm="spectral"), OptimizationConfig(loss="wasserstein"))
    )
    unused = ModelConfig(
        "resnet",
        generator=GeneratorConfig(patch_size=4),
        discriminator=DiscriminatorConfig(norm_first=True),
    )
    assert len(list(network_warnings(unused, OptimizationConfig()))) == 2
    (wrong,) = network_warnings(model(), OptimizationConfig(loss="inverted_minimax"))
    assert "signs wrong" in wrong
    assert len(list(network_warnings(model(norm="batch", weight_norm="spectral"), penalised))) == 2


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, None),
        ({"norm_batch": 4, "micro_batch": 8}, None),
        ({"micro_batch": 5}, "micro_batch 5 must divide batch_size 16"),
        ({"micro_batch": 0}, "micro_batch 0 must divide"),
        ({"micro_batch": 8}, "micro_batch with batch norm needs norm_batch"),
        ({"norm_batch": 3}, "norm_batch 3 must be at least 2 and divide 16"),
        ({"norm_batch": 8, "micro_batch": 4}, "norm_batch 8 must be at least 2 and divide 4"),
        ({"norm_batch": 1}, "norm_batch 1 must be at least 2"),
    ],
)
def test_a_batch_that_cannot_be_split_is_refused(options: Any, problem: str | None) -> None:
    found = batch_problem(model(), OptimizationConfig(batch_size=16, **options))
    message = "" if found is None else found.message
    assert message == "" if problem is None else message.startswith(problem)
    assert found is None or message.startswith(f"{found.key} ")
    joint = model(norm="batch", batch_statistics="joint")
    assert batch_problem(joint, OptimizationConfig(batch_size=16, norm_batch=16)) is None
    for options in ({"norm_batch": 4}, {"micro_batch": 8, "norm_batch": 8}):
        found = batch_problem(joint, OptimizationConfig(batch_size=16, **options))
        assert found is not None
        assert found.message.startswith("micro_batch and norm_batch do not go with joint")
        assert found.key == ("micro_batch" if "micro_batch" in options else "norm_batch")
