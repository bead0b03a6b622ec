"""Slices of a batch by worker."""

from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from bngan.distributed import collectives as distributed


def shards(count: int, workers: int) -> list[slice]:
    with mock.patch.object(distributed, "world_size", return_value=workers):
        return distributed.shard_slices(count)


@given(count=st.integers(0, 1000), workers=st.integers(1, 64))
def test_shards_are_disjoint_complete_in_order_and_even(count: int, workers: int) -> None:
    parts = [range(count)[part] for part in shards(count, workers)]
    assert [i for part in parts for i in part] == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
