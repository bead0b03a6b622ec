import copy
import math
from unittest import mock

import pytest
import torch
from torch import Tensor, nn

from bngan.batchnorm.calibration import calibrate
from bngan.data.dataset import ImageSpec
from bngan.diagnostics.batchnorm_telemetry import (
    _worker_parts,
    batch_mate_sensitivity,
    batchnorm_metrics,
    gamma_values,
    small_gammas,
    statistics_distance,
    worker_distance,
)
from bngan.generation.sampler import Sampler
from bngan.networks.config import DiscriminatorConfig, GeneratorConfig, ModelConfig
from bngan.networks.factory import build_generator
from bngan.training.config import OptimizationConfig
from bngan.training.trainer import Trainer


def pairs(size: int) -> list[tuple[tuple[Tensor, ...], tuple[Tensor, ...]]]:
    return [((torch.randn(size, 3),), (torch.randn(size, 3),)) for _ in range(40)]


def test_sensitivity_is_what_normalising_one_number_gives() -> None:
    """G(z) = (z - mean) / std: from two batches of n the same z differs by (1 + z^2 / 2) * 2 / n."""
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(3, affine=False)
    for size in (32, 64):
        # E z^2 = 1, so S = 3 / n at first order, less the sixteenth that both batches share.
        expected = 3 / size * 15 / 16
        assert batch_mate_sensitivity(norm, pairs(size)) == pytest.approx(expected, rel=0.3)
    assert batch_mate_sensitivity(nn.Identity(), pairs(32)) == 0


def test_distances_are_kl_divergences() -> None:
    one, other = nn.BatchNorm1d(2, eps=0), nn.BatchNorm1d(2, eps=0)
    other.running_mean.fill_(1.0)
    other.running_var.fill_(4.0)
    expected = 0.5 * (1 / 4 - 1 + math.log(4) + 1 / 4)
    found = statistics_distance(nn.Sequential(one), nn.Sequential(other))
    assert found == {"0": pytest.approx(expected, rel=1e-4)}
    assert statistics_distance(nn.Sequential(one), nn.Sequential(one)) == {"0": 0}


def test_worker_distance_sees_how_shards_differ() -> None:
    network = nn.Sequential(nn.BatchNorm1d(1), nn.BatchNorm1d(1))
    alike = torch.tensor([[-1.0], [1.0]]).repeat(8, 1)
    halves = [(slice(0, 16), [slice(0, 8), slice(8, 16)])]
    assert worker_distance(network, (alike,), halves) == {"0": 0, "1": 0}
    apart = torch.cat([alike[:8] - 3, alike[:8] + 3])
    # Each half N(-+3, 1) in a batch N(0, 10)
    expected = 0.5 * (0.1 - 1 + math.log(10) + 0.9)
    assert worker_distance(network, (apart,), halves)["0"] == pytest.approx(expected, rel=1e-3)
    # Where each half is a group of its own, no worker sees less than its group.
    groups = [(slice(0, 8), [slice(0, 8)]), (slice(8, 16), [slice(0, 8)])]
    assert worker_distance(network, (apart,), groups)["0"] == 0
    assert network[0].running_mean.item() == 0


def test_groups_and_workers_parts_of_them() -> None:
    with mock.patch("bngan.distributed.collectives.world_size", return_value=3):
        found = _worker_parts(12, 6)
    assert found == [
        (slice(0, 6), [slice(0, 4), slice(4, 6)]),
        (slice(6, 12), [slice(0, 2), slice(2, 6)]),
    ]


def test_workers_share_the_batch_of_each_pass() -> None:
    model, spec = ModelConfig(), ImageSpec((1, 8, 8))
    passes = OptimizationConfig(batch_size=64, micro_batch=16, norm_batch=16)
    trainer = Trainer(model, passes, spec, seed=0)
    sampler = Sampler(model, spec, copy.deepcopy(trainer.ema.module).state_dict())
    with mock.patch("bngan.distributed.collectives.world_size", return_value=2):
        assert batchnorm_metrics(trainer, sampler)["worker_distance/1x1"] > 0.01


@pytest.mark.parametrize("conditional", [False, True])
def test_gammas_are_called_by_the_map_size_of_their_norm(conditional: bool) -> None:
    model = ModelConfig("resnet", 6, conditional, GeneratorConfig(4, 1))
    generator = build_generator(model, ImageSpec((1, 16, 16), (0.5, 0.5))).eval()
    inputs = (torch.randn(3, 6), torch.tensor([0, 1, 1]))
    found = gamma_values(generator, inputs if conditional else inputs[:1])
    assert list(found) == ["8x8", "16x16", "16x16_2"]
    assert [len(gammas) for gammas in found.values()] == (
        [3 * 8, 3 * 4, 3 * 4] if conditional else [8, 4, 4]
    )
    (first, *_) = found.values()
    norm = generator.get_submodule("blocks.0.residual.norm1")
    own = norm.modulation.of_class.weight[inputs[1], :8] if conditional else norm.weight
    torch.testing.assert_close(first, own.flatten())


def test_small_gammas_are_counted() -> None:
    norm = nn.BatchNorm1d(4)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.005, -0.009, 0.02, 1.0]))
    assert small_gammas(nn.Sequential(norm)) == 0.5
    assert small_gammas(nn.Sequential(nn.BatchNorm1d(4, affine=False))) is None


@pytest.mark.parametrize("conditional", [False, True])
def test_a_training_is_measured_without_being_changed(conditional: bool) -> None:
    model = ModelConfig(
        "dcgan", 6, conditional, GeneratorConfig(8), DiscriminatorConfig(8, norm="batch")
    )
    spec = ImageSpec((1, 16, 16), (0.5, 0.5))
    trainer = Trainer(model, OptimizationConfig(batch_size=16), spec, seed=0)
    sampler = Sampler(model, spec, copy.deepcopy(trainer.ema.module).state_dict())
    calibrate(sampler.generator, lambda: sampler.calibration_batches(200))
    before = copy.deepcopy((trainer.state_dict(), sampler.generator.state_dict()))
    found = batchnorm_metrics(trainer, sampler)
    sizes = ["4x4", "8x8"]
    assert {name for name in found if name.startswith("running")} == {
        f"running_distance/{size}" for size in sizes
    }
    judged = {f"discriminator_worker_distance/{size}" for size in sizes[:1]}
    assert {name for name in found if "discriminator_worker" in name} == judged
    names = {name.split("/")[0] for name in found}
    assert names >= {"batch_mate_sensitivity", "running_distance", "worker_distance"}
    assert names >= {"discriminator_worker_distance", "discriminator_small_gammas"}
    assert found["batch_mate_sensitivity"] > 0
    assert all(math.isfinite(value) for value in found.values())
    after = (trainer.state_dict(), sampler.generator.state_dict())
    for old, new in zip(before[1].values(), after[1].values(), strict=True):
        assert torch.equal(old, new)
    for part in ("generator", "discriminator", "ema"):
        for key, value in before[0][part].items():
            assert torch.equal(value, after[0][part][key])
