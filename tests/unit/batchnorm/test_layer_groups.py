"""Which samples share statistics."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bngan.batchnorm.layer import group_sizes
from tests.unit.distributed.test_collectives import shards


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
