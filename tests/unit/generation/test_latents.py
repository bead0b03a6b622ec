"""Latents of samples."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from bngan.generation.latents import calibration_batches, indexed_labels, indexed_latents
from bngan.training.noise import noise_blocks, training_latents
from tests.unit.data.test_dataset import seeds
from tests.unit.distributed.test_collectives import shards


def test_latents_depend_on_seed_and_index_only() -> None:
    alone = indexed_latents(5, [1234], 16)
    among = indexed_latents(5, range(1230, 1240), 16)
    assert torch.equal(alone[0], among[4])
    assert not torch.equal(alone, indexed_latents(6, [1234], 16))
    assert torch.equal(
        indexed_latents(5, [3], 16, truncation=0.5), 0.5 * indexed_latents(5, [3], 16)
    )
    assert indexed_latents(5, [], 16).shape == (0, 16)
    assert torch.equal(indexed_latents(-1, [2**63], 4), indexed_latents(2**64 - 1, [2**63], 4))


def test_latents_are_standard_normal_and_streams_are_disjoint() -> None:
    sampled = indexed_latents(0, range(2000), 32)
    assert abs(sampled.mean()) < 0.02
    assert abs(sampled.std() - 1) < 0.02
    trained = training_latents(0, 0, noise_blocks(np.arange(2000)), 32)
    calibrated = torch.cat([latents for (latents,) in calibration_batches(32, (), 2000)])
    pools = [set(x.flatten().tolist()) for x in (sampled, trained, calibrated)]
    for one, other in ((0, 1), (1, 2), (0, 2)):  # float32 normals meet by chance now and then
        assert len(pools[one] & pools[other]) < 0.05 * len(pools[one])


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
