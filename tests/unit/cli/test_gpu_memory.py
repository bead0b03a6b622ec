"""``bngan plan`` on the memory of a GPU."""

from dataclasses import replace
from typing import Any

import pytest

from bngan.data.dataset import ImageSpec
from bngan.training.memory import peak_bytes
from pipeline.cli.gpu_memory import gpu_memory
from pipeline.config.schema import Config, DataConfig, TrainConfig
from pipeline.workflow.results import Decision

PREPARED = Decision(
    "prepare", True, "unchanged", None, {"image_shape": [32, 32, 3], "classes": ["a", "b"]}
)
WAITING = Decision("prepare", False, "first run")


def config(**train: Any) -> Config:
    data = DataConfig(path="digits")
    return Config(name="x", data=data, train=TrainConfig(accelerator="gpu", **train))


@pytest.mark.parametrize(
    ("train", "share", "words"),
    [
        ({"batch_size": 64}, 32, "64 images in one pass over 2 workers"),
        ({"batch_size": 64, "num_workers": 1}, 64, "64 images in one pass over 1 worker"),
        ({"batch_size": 64, "num_workers": [4, 8]}, 16, "64 images in one pass over 4 workers"),
        (
            {"batch_size": 64, "micro_batch": 16, "norm_batch": 8},
            8,
            "16 images in one pass over 2 workers",
        ),
        (
            {"batch_size": 64, "micro_batch": "auto", "norm_batch": 8},
            32,
            "64 images in one pass over 2 workers",
        ),
    ],
)
def test_it_is_that_of_one_workers_part_of_a_pass(
    train: dict[str, Any], share: int, words: str
) -> None:
    settings = config(**train)
    spec = ImageSpec((3, 32, 32), (0.5, 0.5))
    alone = replace(settings.train, batch_size=share, micro_batch=None, norm_batch="global")
    expected = peak_bytes(settings.model, alone, spec)
    line = gpu_memory(settings, [PREPARED])
    assert (
        line == f"memory of a GPU: a step takes about {expected / 1e6:,.0f} MB on each, for {words}"
    )


def test_it_needs_the_shape_of_the_images() -> None:
    settings = config(batch_size=64)
    unknown = "memory of a GPU: known when the data are prepared"
    assert gpu_memory(settings, [WAITING]) == unknown
    settings.data = DataConfig(path="digits", image_size=32, channels=3)
    settings.model = replace(settings.model, conditional=True)
    assert gpu_memory(settings, [WAITING]) == unknown  # the classes are in the data
    settings.model = replace(settings.model, conditional=False)
    assert "a step takes about" in str(gpu_memory(settings, [WAITING]))


def test_height_and_width_are_those_of_the_configuration() -> None:
    settings = config(batch_size=64)
    settings.data = DataConfig(path="digits", image_size=[24, 40], channels=3)
    prepared = {"image_shape": [24, 40, 3], "classes": []}
    found = gpu_memory(settings, [WAITING])
    assert found == gpu_memory(settings, [replace(PREPARED, summary=prepared)])
    settings.data.image_size = 32
    assert found != gpu_memory(settings, [WAITING])


@pytest.mark.parametrize("accelerator", ["cpu", "auto"])
def test_a_training_on_cpus_has_no_such_line(accelerator: Any) -> None:
    settings = config()
    settings.train.accelerator = accelerator
    assert gpu_memory(settings, [PREPARED]) is None


def test_a_supervised_adaptation_has_none() -> None:
    settings = config()
    settings.adapt.method = "supervised"
    assert gpu_memory(settings, [PREPARED]) is None
