"""Noise and sample order for any seed, size, position and number of workers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bngan.data.dataset import sample_order

seeds = st.integers(0, 2**63 - 1)
counts = st.integers(0, 60)
sizes = st.integers(1, 50)


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


def test_an_epoch_visits_every_image_once_in_an_order_of_its_own() -> None:
    first, second = sample_order(0, np.arange(10), 10), sample_order(0, np.arange(10, 20), 10)
    assert sorted(first) == sorted(second) == list(range(10))
    assert list(first) != list(second)
    pieces = [sample_order(0, start + np.arange(7), 10) for start in range(0, 21, 7)]
    np.testing.assert_array_equal(np.concatenate(pieces), sample_order(0, np.arange(21), 10))
    with pytest.raises(ValueError, match="empty"):
        sample_order(0, np.arange(1), 0)
