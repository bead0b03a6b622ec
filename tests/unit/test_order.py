"""Noise and sample order for any seed, size, position and number of workers."""

from unittest import mock

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from bngan import distributed
from bngan.data import sample_order
from bngan.latents import (
    calibration_batches,
    indexed_labels,
    indexed_latents,
    mixture_weights,
    training_latents,
)
from bngan.normalization import group_sizes

seeds = st.integers(0, 2**63 - 1)
counts = st.integers(0, 60)
sizes = st.integers(1, 50)


def shards(count: int, workers: int) -> list[slice]:
    with mock.patch.object(distributed, "world_size", return_value=workers):
        return distributed.shards(count)


@given(count=st.integers(0, 1000), workers=st.integers(1, 64))
def test_shards_are_disjoint_complete_in_order_and_even(count: int, workers: int) -> None:
    parts = [range(count)[part] for part in shards(count, workers)]
    assert [i for part in parts for i in part] == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@given(seed=seeds, size=sizes, epochs=st.integers(0, 3), first=st.integers(0, 10**12))
def test_every_epoch_is_disjoint_and_complete(seed, size, epochs, first) -> None:
    start = first // size * size
    order = sample_order(seed, start, epochs * size, size)
    for epoch in order.reshape(epochs, size):
        assert sorted(epoch) == list(range(size))


@given(seed=seeds, size=sizes, start=st.integers(0, 10**12), data=st.data())
def test_the_order_can_be_resumed_at_any_index(seed, size, start, data) -> None:
    count = data.draw(counts)
    middle = data.draw(st.integers(0, count))
    whole = sample_order(seed, start, count, size)
    first, second = (
        sample_order(seed, start, middle, size),
        sample_order(seed, start + middle, count - middle, size),
    )
    np.testing.assert_array_equal(whole, np.concatenate([first, second]))


@given(seed=seeds, step=st.integers(0, 10**12), batch=sizes, workers=st.integers(1, 8))
def test_noise_of_a_step_is_the_same_however_it_is_shared(seed, step, batch, workers) -> None:
    for noise in (training_latents(seed, step, batch, 3), mixture_weights(seed, step, batch)):
        joined = torch.cat([noise[part] for part in shards(batch, workers)])
        assert torch.equal(joined, noise)
    assert torch.equal(
        training_latents(seed, step, batch, 3), training_latents(seed, step, batch, 3)
    )
    assert not torch.equal(
        training_latents(seed, step, batch, 3), training_latents(seed, step + 1, batch, 3)
    )


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
