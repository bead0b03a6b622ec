"""Latents and draws of a training step."""

from collections.abc import Callable
from itertools import combinations
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bngan.data.dataset import ImageSpec
from bngan.networks.config import ModelConfig
from bngan.numerics.rng import Stream
from bngan.training import base, noise
from bngan.training.config import OptimizationConfig
from bngan.training.noise import (
    BLOCK,
    augmentation_draws,
    mixture_weights,
    noise_blocks,
    training_latents,
)
from bngan.training.trainer import Trainer
from tests.unit.data.test_dataset import seeds

Noise = Callable[[int, int, list[noise.NoiseBlock]], torch.Tensor]
NOISE: dict[str, Noise] = {
    "latents": lambda seed, step, rows: training_latents(seed, step, rows, 5),
    "mixture": mixture_weights,
    "augmentation": augmentation_draws,
}
every_noise = pytest.mark.parametrize("noise", NOISE.values(), ids=NOISE)


@every_noise
@given(seed=seeds, step=st.integers(0, 10**12), batch=st.integers(0, 1200), data=st.data())
def test_noise_of_a_step_is_the_same_however_it_is_shared(noise, seed, step, batch, data) -> None:
    rows = np.arange(batch)
    whole = noise(seed, step, noise_blocks(rows))
    assert len(whole) == batch
    cuts = sorted(data.draw(st.lists(st.integers(0, batch), max_size=8)))
    parts = [noise(seed, step, noise_blocks(part)) for part in np.split(rows, cuts)]
    assert torch.equal(torch.cat(parts), whole)
    some = rows[data.draw(st.integers(0, 300)) :: data.draw(st.integers(1, 300))]
    assert torch.equal(noise(seed, step, noise_blocks(some)), whole[some])


@pytest.mark.parametrize(
    ("batch", "latent", "weight", "draws"),
    [
        (1, [-0.26580974, 0.34952223, -0.16579008], 0.97966737, [0.39457160, 0.39405584]),
        (128, [-0.34099039, 0.30466092, 0.35665214], 0.85797304, [0.37527108, 0.71142572]),
        (256, [0.28979626, -0.24183600, 0.48747215], 0.10716850, [0.03825617, 0.26841080]),
    ],
)
def test_noise_of_a_batch_within_a_block_is_what_it_always_was(
    batch, latent, weight, draws
) -> None:
    """Numbers of the last row, from before there were blocks: else old trainings would go elsewhere."""
    last = [
        make(7, 3, noise_blocks(np.arange(batch)))[-1].flatten().tolist() for make in NOISE.values()
    ]
    for ours, known in zip(last, (latent, [weight], draws), strict=True):
        assert ours[: len(known)] == pytest.approx(known, rel=0, abs=1e-8)


@every_noise
@given(seed=seeds, step=st.integers(0, 10**12))
def test_noise_differs_from_block_to_block_and_from_step_to_step(noise, seed, step) -> None:
    rows = noise_blocks(np.arange(3 * BLOCK))
    blocks = [block for n in range(3) for block in noise(seed, step + n, rows).split(BLOCK)]
    for one, other in combinations(blocks, 2):
        assert (one == other).float().mean() < 0.05  # float32 meets by chance now and then


def test_a_worker_draws_the_blocks_of_its_rows_and_no_others() -> None:
    optimization = OptimizationConfig(
        batch_size=1200,
        micro_batch=600,
        norm_batch=300,
        penalty="gradient_penalty",
        augment=["cutout"],
    )
    with mock.patch.object(base, "shard_slice", return_value=slice(300, 400)):
        trainer = Trainer(ModelConfig("mlp"), optimization, ImageSpec((1, 4, 4)), 0)
    with mock.patch.object(noise, "generator", wraps=noise.generator) as generator:
        trainer.step(torch.zeros(200, 1, 4, 4))
    streams = (Stream.TRAINING, Stream.PENALTY, Stream.AUGMENTATION)
    asked = sorted(
        (stream, block) for _, stream, _, block in (c.args for c in generator.mock_calls)
    )
    assert asked == sorted((stream, block) for stream in streams for block in (1, 3))
    assert [rows.drawn for rows in noise_blocks(np.arange(300, 600))] == [256, 88]
