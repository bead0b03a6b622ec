"""Where convolutions have to be exact on a GPU; what they are asked for is seen on any machine."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from bngan.batchnorm.calibration import calibrate
from bngan.data.dataset import ImageSplit
from bngan.generation.sampler import Sampler
from bngan.metrics.classifier import untrained_extractor
from bngan.networks.config import ModelConfig
from bngan.training.config import OptimizationConfig
from bngan.training.trainer import Trainer

DATA = ImageSplit(np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), dtype=np.uint8))


def training() -> tuple[nn.Module, Callable[[], object]]:
    trainer = Trainer(ModelConfig(), OptimizationConfig(batch_size=8), DATA.spec, seed=0)
    return trainer.discriminator, lambda: trainer.fit(DATA, 8)


def built() -> Sampler:
    trainer = Trainer(ModelConfig(), OptimizationConfig(), DATA.spec, seed=0)
    return Sampler(trainer.model, DATA.spec, dict(trainer.ema.module.state_dict()))


def sampling() -> tuple[nn.Module, Callable[[], object]]:
    sampler = built()
    return sampler.generator, lambda: sampler.images(0, range(3))


def calibration() -> tuple[nn.Module, Callable[[], object]]:
    generator = (sampler := built()).generator
    return generator, lambda: calibrate(generator, lambda: sampler.calibration_batches(20))


def features() -> tuple[nn.Module, Callable[[], object]]:
    extractor = untrained_extractor((1, 8, 8))
    return extractor.network, lambda: extractor(DATA.images)


@pytest.mark.parametrize("kind", [training, sampling, calibration, features])
def test_convolutions_are_exact_within_and_as_ever_outside(
    kind: Callable[[], tuple[nn.Module, Callable[[], object]]],
) -> None:
    network, act = kind()

    def asked() -> tuple[bool, bool]:
        return torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32

    before, seen = asked(), set[tuple[bool, bool]]()
    network.register_forward_pre_hook(lambda *_: seen.add(asked()))
    act()
    assert before == asked() == (False, True)
    assert seen == {(True, False)}
