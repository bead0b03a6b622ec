"""Real images that a generator has seen do not decide between generators."""

import numpy as np
import pytest

from bngan.data.dataset import SPLITS
from bngan.metrics.classifier import untrained_extractor
from bngan.metrics.evaluation import Reference
from bngan.metrics.features import Features
from bngan.metrics.protocol import Protocol
from pipeline.data.digests import DataDigests, ImageDigests
from pipeline.evaluation.overlap import Overlap

COUNT = 40


def images(**numbers: range | list[int]) -> DataDigests:
    arrays = {split: np.array(numbers.get(split, []), np.uint64) + 1 for split in SPLITS}
    splits = {split: ImageDigests(array, 0 * array) for split, array in arrays.items()}
    return DataDigests(splits, "crop", None)


def reference(split: str = "test") -> Reference:
    """Each real image has its number as its only feature."""
    numbers = np.arange(COUNT, dtype=np.float32)[:, None]
    real = Features(numbers, np.zeros((COUNT, 0), np.float32))
    protocol = Protocol.parse(f"fid{COUNT}_{split}")
    return Reference(protocol, untrained_extractor((1, 8, 8)), real, {"count": 1.0})


def test_images_that_either_generator_was_trained_on_or_chosen_by_are_left_out() -> None:
    ours = images(train=range(100, 200), test=range(COUNT + 10))
    theirs = images(train=[3, 5, 45, 150], select=[7], test=[11, 13])
    overlap = Overlap.of(reference(), ours, {"ours": ours, "theirs": theirs})
    assert overlap.counts == {"ours": 0, "theirs": 3}  # 45 is no image of the protocol
    expected = [number for number in range(COUNT) if number not in (3, 5, 7)]
    assert overlap.reduced(reference()).real.features[:, 0].tolist() == expected
    assert overlap.record() == {"real_images": 37, "left_out": {"ours": 0, "theirs": 3}}
    assert overlap.lines() == ["3 of 40 test images are left out: theirs has seen 3"]


def test_an_image_that_both_have_seen_is_left_out_once() -> None:
    ours = images(train=[0, 1], test=range(COUNT))  # copies in one data set
    theirs = images(train=[1, 2])
    overlap = Overlap.of(reference(), ours, {"ours": ours, "theirs": theirs})
    assert (overlap.left, overlap.enough) == (COUNT - 3, True)
    assert overlap.lines() == [
        "3 of 40 test images are left out: ours has seen 2, theirs has seen 2"
    ]


@pytest.mark.parametrize(("split", "left"), [("train", COUNT), ("select", COUNT - 4)])
def test_only_earlier_splits_count(split: str, left: int) -> None:
    ours = images(**{split: range(COUNT)})
    theirs = images(train=range(4), select=range(8))
    assert Overlap.of(reference(split), ours, {"ours": ours, "theirs": theirs}).left == left


@pytest.mark.parametrize(("trained_on", "enough"), [(20, True), (21, False)])
def test_twenty_images_are_enough(trained_on: int, enough: bool) -> None:
    ours, theirs = images(test=range(COUNT)), images(train=range(trained_on))
    assert Overlap.of(reference(), ours, {"theirs": theirs}).enough == enough


def test_it_is_said_if_nobody_knows() -> None:
    ours = images(test=range(COUNT))
    overlap = Overlap.of(reference(), ours, {"ours": ours, "theirs": None})
    assert overlap.counts == {"ours": 0, "theirs": None}
    assert overlap.lines() == ["bngan cannot tell whether theirs has seen these test images"]
    overlap = Overlap.of(reference(), None, {"ours": None, "theirs": ours})
    assert overlap.left == COUNT
    assert overlap.lines() == [
        "bngan cannot tell whether ours or theirs has seen these test images"
    ]


def test_the_training_split_counts_nothing_even_for_an_adaptation() -> None:
    ours = images(train=range(COUNT))
    ours.base = ours.splits["train"]
    overlap = Overlap.of(reference("train"), ours, {"ours": ours})
    assert (overlap.left, overlap.counts) == (COUNT, {"ours": 0})


def test_a_base_counts_and_an_unknown_one_is_said() -> None:
    ours, theirs = images(test=range(COUNT)), images()
    theirs.base = images(train=range(5)).splits["train"]
    assert Overlap.of(reference(), ours, {"theirs": theirs}).counts == {"theirs": 5}
    theirs.base = None
    overlap = Overlap.of(reference(), ours, {"theirs": theirs})
    assert (overlap.counts, overlap.unknown) == ({"theirs": None}, ["theirs"])


def test_pixels_of_another_form_say_nothing() -> None:
    ours, theirs = images(test=range(COUNT)), images(train=range(COUNT))
    theirs.fit = "pad"
    assert Overlap.of(reference(), ours, {"theirs": theirs}).unknown == ["theirs"]
