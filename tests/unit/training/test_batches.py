"""Batches: prepared in order by a thread, and from images on the device."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from bngan.data.dataset import ImageSplit
from bngan.networks.config import DiscriminatorConfig, GeneratorConfig, ModelConfig
from bngan.training.batches import BatchLoader, prefetched
from bngan.training.config import DataOnDevice, ExecutionConfig, OptimizationConfig
from bngan.training.trainer import Trainer

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 5, 4, 3), dtype=np.uint8)
POLICIES: tuple[DataOnDevice, ...] = "never", "always"
LABELS = np.arange(20) % 4


@pytest.mark.parametrize("flip", [False, True])
def test_images_on_the_device_are_those_that_take_returns(flip: bool) -> None:
    data = ImageSplit(PIXELS, LABELS, flip)
    indices = np.random.default_rng(1).integers(0, len(data), 50)
    noise = (torch.randn(50, 3),)
    one, other = (
        loader.load(loader.prepare(indices, noise))
        for loader in (
            BatchLoader(data, torch.device("cpu"), torch.float32, policy) for policy in POLICIES
        )
    )
    assert other.labels is not None
    assert torch.equal(one.real, other.real)
    assert other.labels.tolist() == (indices % 20 % 4).tolist()
    expected = data.take(indices)[0].transpose(0, 3, 1, 2) / np.float32(127.5) - 1
    assert np.array_equal(other.real.numpy(), expected)
    assert torch.equal(other.noise[0], noise[0])
    assert torch.equal(one.indices, other.indices)


def test_training_on_images_of_the_device_is_the_same_training() -> None:
    states = []
    for policy in POLICIES:
        data = ImageSplit(PIXELS[:, :4], LABELS, flip=True)
        model = ModelConfig("mlp", 4, True, GeneratorConfig(8), DiscriminatorConfig(8))
        config = OptimizationConfig(batch_size=6, augment=["color"])
        trainer = Trainer(
            model, config, data.spec, seed=1, execution=ExecutionConfig(data_on_device=policy)
        )
        trainer.fit(data, 60)
        states.append(trainer.ema.module.state_dict())
    for key, value in states[0].items():
        assert torch.equal(value, states[1][key]), key


@pytest.mark.parametrize("ahead", [0, 1, 3, 100])
def test_results_come_in_order_from_one_thread(ahead: int) -> None:
    threads, started = set[str](), list[int]()

    def make(number: int) -> int:
        threads.add(threading.current_thread().name)
        started.append(number)
        return number**2

    prepared = list[str]()
    ready = lambda: prepared.append(threading.current_thread().name)  # noqa: E731
    assert list(prefetched(make, range(10), ahead, ready)) == [n**2 for n in range(10)]
    assert prepared == (["batches_0"] if ahead else [])
    assert started == list(range(10))
    assert threads == ({"batches_0"} if ahead else {threading.current_thread().name})


def test_no_more_is_prepared_than_is_asked_for() -> None:
    asked = list[int]()

    def numbers() -> Iterator[int]:
        for number in range(100):
            asked.append(number)
            yield number

    results = prefetched(lambda number: number, numbers(), 3)
    assert [next(results), next(results)] == [0, 1]
    assert asked == [0, 1, 2, 3, 4]
    results.close()


@pytest.mark.parametrize("ahead", [0, 2])
def test_an_error_of_the_thread_reaches_the_caller(ahead: int) -> None:
    def make(number: int) -> float:
        return 1 / (number - 2)

    results = prefetched(make, range(5), ahead)
    assert next(results) == -0.5
    assert next(results) == -1
    with pytest.raises(ZeroDivisionError):
        next(results)
