"""Splits by content: an image keeps its split, whatever other images there are."""

import hashlib

import numpy as np
import pytest

from pipeline.data.splits import Shares, by_content, by_order, content_key, joined_keys

SHARES = Shares(select=0.1, test=0.2)


def images(count: int, seed: int = 0) -> list[bytes]:
    random = np.random.default_rng(seed)
    return [random.bytes(40) for _ in range(count)]


def splits_of(contents: list[bytes], shares: Shares = SHARES, seed: int = 0) -> dict[bytes, str]:
    keys = np.array([content_key(seed, content) for content in contents], np.uint64)
    found = by_content(keys, shares)
    return {contents[i]: split for split, chosen in found.items() for i in chosen}


def test_a_key_is_the_keyed_blake2b_of_the_bytes() -> None:
    expected = hashlib.blake2b(b"abc", digest_size=8, key=(7).to_bytes(8, "little")).digest()
    assert content_key(7, b"abc") == int.from_bytes(expected, "little")


def test_images_that_come_and_go_move_no_other() -> None:
    """Add and remove 100 of 10,000 images; by order, a third of the others would move."""
    contents = images(10_000)
    before = splits_of(contents)
    more, fewer = splits_of([*images(100, 1), *contents]), splits_of(contents[100:])
    assert all(more[content] == before[content] for content in contents)
    assert all(fewer[content] == before[content] for content in contents[100:])
    assert splits_of(contents[::-1]) == before
    assert splits_of(contents, seed=1) != before


def test_shares_are_right_to_the_binomial_within_each_class() -> None:
    contents = images(10_000)
    found = splits_of(contents)
    for part in (contents[:1000], contents[1000:]):  # any classes
        for split, share in (("test", 0.2), ("select", 0.1), ("train", 0.7)):
            count = sum(found[content] == split for content in part)
            deviation = np.sqrt(len(part) * share * (1 - share))
            assert abs(count - share * len(part)) < 4 * deviation


def test_a_split_has_the_fewest_images_whatever_its_share() -> None:
    found = splits_of(images(60), Shares(0.01, 0.01, fewest=20))
    assert sorted(found.values()) == sorted(["train"] * 20 + ["select"] * 20 + ["test"] * 20)
    assert "test" not in splits_of(images(60), Shares(0.3, 0, fewest=20)).values()


@pytest.mark.parametrize("count", [0, 1, 2])
def test_very_few_images_are_in_one_split_each(count: int) -> None:
    assert len(splits_of(images(count), Shares(0.4, 0.4, fewest=1))) == count


def test_what_belongs_together_has_the_smallest_key() -> None:
    keys = np.array([5, 3, 9, 1, 7], np.uint64)
    assert joined_keys(keys, [0, 1, 1, 2, 3]).tolist() == [5, 3, 3, 1, 7]
    assert joined_keys(keys, [0, 1, 1, 2, 3], [8, 8, 9, 9, 7]).tolist() == [1, 1, 1, 1, 7]
    assert joined_keys(keys).tolist() == keys.tolist()


def test_equal_keys_are_not_torn_apart() -> None:
    keys = np.repeat(np.arange(10, dtype=np.uint64) << np.uint64(60), 7)
    found = by_content(keys, Shares(0.1, 0.1, fewest=3))
    for split, chosen in found.items():
        others = np.concatenate([part for name, part in found.items() if name != split])
        assert not set(keys[chosen]) & set(keys[others])


def test_the_law_by_order_is_the_permutation_it_was() -> None:
    """Figures of earlier versions rest on it: the digests of the digits' splits."""
    found = by_order(0, 1797, 180, 180)
    digests = {
        split: hashlib.sha256(order.astype(np.int64).tobytes()).hexdigest()[:12]
        for split, order in found.items()
    }
    assert digests == {"train": "31771865e68d", "select": "c75559d89f49", "test": "d4994c740e27"}
