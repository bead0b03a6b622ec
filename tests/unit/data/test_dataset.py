"""Noise and sample order for any seed, size, position and number of workers."""

from collections.abc import Callable
from itertools import combinations
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bngan.batchnorm.layer import group_sizes
from bngan.data.dataset import ImageSpec, sample_order
from bngan.distributed import collectives as distributed
from bngan.generation.latents import (
    calibration_batches,
    indexed_labels,
    indexed_latents,
)
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

seeds = st.integers(0, 2**63 - 1)
counts = st.integers(0, 60)
sizes = st.integers(1, 50)


def shards(count: int, workers: int) -> list[slice]:
    with mock.patch.object(distributed, "world_size", return_value=workers):
        return distributed.shard_slices(count)


@given(count=st.integers(0, 1000), workers=st.integers(1, 64))
def test_shards_are_disjoint_complete_in_order_and_even(count: int, workers: int) -> None:
    parts = [range(count)[part] for part in shards(count, workers)]
    assert [i for part in parts for i in part] == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@given(seed=seeds, size=sizes, epochs=st.integers(0, 3), first=st.integers(0, 10**12))
def test_every_epoch_is_disjoint_and_complete(seed, size, epochs, first) -> None:
    start = first // size * size
    order = sample_order(seed, start + np.arange(epochs * size), size)
    for epoch in order.reshape(epochs, size):
        assert sorted(epoch) == list(range(size))


@given(seed=seeds, size=sizes, start=st.integers(0, 10**12), data=st.data())
def test_the_order_can_be_resumed_at_any_index(seed, size, start, data) -> None:
    count = data.draw(counts)
    middle = data.draw(st.integers(0, count))
    positions = start + np.arange(count)
    parts = [sample_order(seed, part, size) for part in np.split(positions, [middle])]
    np.testing.assert_array_equal(sample_order(seed, positions, size), np.concatenate(parts))


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


@given(seed=seeds, indices=st.lists(st.integers(0, 2**63), max_size=6))
def test_sampling_noise_depends_on_seed_and_index_alone(seed, indices) -> None:
    for position, index in enumerate(indices):
        together = indexed_latents(seed, indices, 3)[position]
        assert torch.equal(together, indexed_latents(seed, [index], 3)[0])
        label = indexed_labels(seed, indices, (0.5, 0.5))[position]
        assert label == indexed_labels(seed, [index], (0.5, 0.5))[0]


@given(count=st.integers(1, 1200), workers=st.integers(1, 8))
def test_workers_share_the_calibration_latents(count: int, workers: int) -> None:
    alone = list(calibration_batches(2, (0.5, 0.5), count))
    for part in (0, 1):
        whole = torch.cat([batch[part] for batch in alone])
        joined = [
            torch.cat([batch[part][own] for own in shards(len(batch[part]), workers)])
            for batch in alone
        ]
        assert len(whole) == count
        assert torch.equal(torch.cat(joined), whole)


@given(groups=st.integers(1, 12), size=st.integers(1, 9), workers=st.integers(1, 8))
def test_groups_are_made_of_consecutive_global_indices(groups, size, workers) -> None:
    batch = groups * size
    counted = np.zeros(groups, int)
    for part in shards(batch, workers):
        local = range(batch)[part]
        own = group_sizes(local, batch, size)
        assert own == [sum(i // size == group for i in local) for group in range(groups)]
        counted += own
    assert (counted == size).all()
