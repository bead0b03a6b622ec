"""Memory of a step: the estimate, and the largest pass that fits."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from bngan.data.dataset import ImageSpec
from bngan.distributed.collectives import rank
from bngan.networks.config import DiscriminatorConfig, GeneratorConfig, ModelConfig
from bngan.training import memory
from bngan.training.config import OptimizationConfig
from bngan.training.trainer import Trainer
from tests.workers import run_workers

DCGAN = ModelConfig("dcgan", 100, False, GeneratorConfig(64), DiscriminatorConfig(64, norm="batch"))
BFLOAT16 = OptimizationConfig(precision="bfloat16")
MEASURED = {(64, 64): 237, (64, 128): 367, (64, 512): 1149, (64, 2048): 4283, (32, 128): 94}
"""MB that PyTorch allocated on an H200 at a step's peak, by side and batch (docs/performance.md)."""
GROUPS = replace(BFLOAT16, batch_size=64, norm_batch=8, micro_batch="auto")


@pytest.mark.parametrize(("side", "batch"), MEASURED)
def test_the_estimate_is_what_a_gpu_took(side: int, batch: int) -> None:
    setting = replace(BFLOAT16, batch_size=batch)
    bytes_ = memory.peak_bytes(DCGAN, setting, ImageSpec((3, side, side)))
    assert bytes_ / 1e6 == pytest.approx(MEASURED[side, batch], rel=0.02)


def test_workers_and_passes_share_the_activations() -> None:
    spec = ImageSpec((3, 64, 64), (0.5, 0.5))
    model, whole = replace(DCGAN, conditional=True), replace(BFLOAT16, batch_size=512)
    half = memory.peak_bytes(model, replace(BFLOAT16, batch_size=256), spec)
    assert memory.peak_bytes(model, whole, spec, workers=2) == half
    passes = replace(whole, micro_batch=256, norm_batch=256)
    assert memory.peak_bytes(model, passes, spec) == half


def test_the_quick_estimate_is_about_the_thorough_one() -> None:
    spec = ImageSpec((3, 128, 128), (0.5, 0.5))
    for model in (DCGAN, replace(DCGAN, conditional=True)):
        setting = OptimizationConfig(batch_size=64)
        thorough = memory.peak_bytes(model, setting, spec)
        assert memory.activation_bytes(model, setting, spec) == pytest.approx(thorough, rel=0.3)
    whole, shared = (memory.activation_bytes(DCGAN, setting, spec, n) for n in (1, 4))
    assert whole == 4 * shared


def limited(monkeypatch: pytest.MonkeyPatch, limit: int) -> list[int]:
    """Let steps of more than so many images run out of memory; return the sizes that are tried."""
    tried, step = list[int](), Trainer.step

    def bounded(trainer: Trainer, real: torch.Tensor, labels: Any = None) -> Any:
        tried.append(len(real))
        if len(real) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return step(trainer, real, labels)

    monkeypatch.setattr(Trainer, "step", bounded)
    return tried


SMALL = replace(DCGAN, generator=GeneratorConfig(4), discriminator=DiscriminatorConfig(4))
SPEC = ImageSpec((1, 16, 16))


@pytest.mark.parametrize(("limit", "size"), [(100, 64), (63, 32), (20, 16), (8, 8)])
def test_the_largest_pass_that_fits_is_found_from_above(
    monkeypatch: pytest.MonkeyPatch, limit: int, size: int
) -> None:
    tried = limited(monkeypatch, limit)
    assert memory.largest_pass(SMALL, GROUPS, SPEC, "cpu") == size
    assert tried == [n for n in (64, 32, 16, 8) if n >= size]


def test_no_pass_splits_a_group(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = limited(monkeypatch, 7)
    with pytest.raises(torch.OutOfMemoryError, match=r"passes of 8 images .*: CUDA out of memory"):
        memory.largest_pass(SMALL, GROUPS, SPEC, "cpu")
    assert tried == [64, 32, 16, 8]
    with pytest.raises(torch.OutOfMemoryError, match="passes of 64 images do not fit"):
        memory.largest_pass(SMALL, replace(GROUPS, norm_batch="global"), SPEC, "cpu")
    assert tried[4:] == [64]


def found_together() -> int:
    with pytest.MonkeyPatch.context() as monkeypatch:
        limited(monkeypatch, 100 if rank() == 0 else 9)
        return memory.largest_pass(SMALL, GROUPS, SPEC, "cpu")


def test_workers_take_what_fits_on_all_of_them() -> None:
    assert run_workers(2, found_together) == [16, 16]


def test_a_trainer_takes_auto_for_the_whole_batch() -> None:
    assert Trainer(SMALL, GROUPS, SPEC, 0).config.images_per_pass == 64


@pytest.mark.parametrize("network", ["dcgan", "resnet"])
def test_an_estimate_for_images_that_lie_or_stand(network: Any) -> None:
    model, setting = replace(DCGAN, network=network), OptimizationConfig(batch_size=16)
    lying, standing, square = (
        memory.activation_bytes(model, setting, ImageSpec((3, *size)))
        for size in ((64, 96), (96, 64), (64, 64))
    )
    assert lying == standing == pytest.approx(1.5 * square, rel=0.05)
