"""What trials train on, and what is done to initial networks."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from bngan.data.dataset import ImageSplit
from bngan.generation.latents import indexed_latents
from bngan.generation.sampler import Sampler
from bngan.metrics.classifier import untrained_extractor
from bngan.metrics.features import Features
from bngan.networks.config import DiscriminatorConfig, GeneratorConfig, ModelConfig
from bngan.networks.factory import build_generator
from bngan.training.config import OptimizationConfig
from bngan.training.trainer import Trainer
from pipeline.studies.tasks import Images, grid25, mixture_scores, ring8, stack, triple_scores
from pipeline.studies.trial import apply_treatment


def test_mixtures_are_scored_as_published() -> None:
    ring = ring8()
    real = (ring.data.images[:2_500].reshape(-1, 2) / 127.5 - 1).astype(np.float64)
    found = mixture_scores(real, ring.centres, ring.spread)
    assert found["modes"] == 8
    assert found["good_share"] == pytest.approx(1 - math.exp(-4.5), abs=0.006)  # Rayleigh: 98.9 %
    assert found["divergence"] < 0.01
    one = mixture_scores(np.repeat(ring.centres[:1], 10, 0), ring.centres, ring.spread)
    assert (one["modes"], one["good_share"]) == (1, 1.0)
    assert one["divergence"] == pytest.approx(math.log(8))
    assert one["bad_share"] == pytest.approx(7 / 8)
    assert len(grid25().centres) == 25


def test_triples_are_counted_by_channel() -> None:
    images = np.arange(10, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 1), np.uint8)

    class Reads:
        def __call__(self, digits: np.ndarray) -> Any:
            class Out:
                logits = np.eye(10)[digits[:, 0, 0, 0]]

            return Out

    found = triple_scores(stack(images, 26_000, 0), Reads())  # type: ignore[arg-type]
    assert found["modes"] == 1000
    assert found["divergence"] == pytest.approx(999 / 52_000, rel=0.15)  # of chance alone


def test_training_images_that_the_extractor_knows_are_no_reference() -> None:
    """Features of these lie elsewhere, and would make the gap as large as one likes."""
    digits = ImageSplit(np.zeros((4, 8, 8, 1), np.uint8))
    random = np.random.default_rng(0)
    extractor = untrained_extractor((1, 8, 8))
    model = ModelConfig("mlp", 4)
    sampler = Sampler(model, digits.spec, build_generator(model, digits.spec).state_dict())
    width = extractor.info.features
    real = Features(random.normal(size=(90, width)).astype(np.float32), np.zeros((90, 0)))
    extractor.info.trained_on = 60
    known = Features(real.features.copy(), real.logits)
    known.features[:60] += 100
    task = Images(digits, digits, extractor, real, real.take(slice(50)), known)
    found = task.generalisation(sampler)
    task.train = real
    assert found["fid_train"] == task.generalisation(sampler)["fid_train"]
    assert known.features[0, 0] > 50


def trainer(norm: str) -> Trainer:
    model = ModelConfig(
        "mlp",
        8,
        False,
        GeneratorConfig(32, 2, norm=norm),
        DiscriminatorConfig(32, 2),  # type: ignore[arg-type]
    )
    return Trainer(model, OptimizationConfig(batch_size=16, lr=1e-3), ring8().data.spec, 0)


def test_data_dependent_initialisation_standardises_hidden_layers() -> None:
    trained = trainer("none")
    apply_treatment(trained, "data_dependent")
    outputs: list[torch.Tensor] = []
    hidden = [m for m in trained.generator.modules() if isinstance(m, torch.nn.Linear)][:-1]
    for layer in hidden:
        layer.register_forward_hook(lambda module, _, out: outputs.append(out))
    trained.generator(indexed_latents(5, range(5_000), 8))
    for out in outputs:
        assert out.mean(0).abs().max() < 0.1
        assert (out.std(0) - 1).abs().max() < 0.1
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            trained.generator.parameters(), trained.ema.module.parameters(), strict=True
        )
    )


def test_frozen_statistics_stay_and_couple_no_images() -> None:
    trained = trainer("batch")
    apply_treatment(trained, "frozen_statistics")
    before = {k: v.clone() for k, v in trained.generator.state_dict().items()}
    trained.fit(ring8().data, 320)
    after = trained.generator.state_dict()
    moved = {k for k in before if not torch.equal(before[k], after[k])}
    assert not [k for k in moved if "running" in k]
    assert [k for k in moved if "weight" in k]
    latents = indexed_latents(0, range(8), 8)
    alone, together = trained.generator(latents[:1]), trained.generator(latents)[:1]
    assert torch.allclose(alone, together, atol=1e-6)
