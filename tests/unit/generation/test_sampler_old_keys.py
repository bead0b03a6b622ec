"""Generators whose files earlier code wrote: they load, and no protection is lost on the way."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from bngan.generation.sampler import WEIGHTS, Sampler
from bngan.networks.factory import build_generator
from tests.unit.generation.test_sampler_safety import WRONG, refused
from tests.unit.networks.golden import CASES, SPEC, configured, with_old_keys

OLD = "dcgan by class with attention and spectral norm"


@pytest.fixture
def old_generator(tmp_path: Path) -> Path:
    """A generator's files as earlier code wrote them: weights are called by position."""
    torch.manual_seed(0)
    model = configured(OLD)
    Sampler(model, SPEC, build_generator(model, SPEC).state_dict()).save(tmp_path, images_seen=7)
    save_file(with_old_keys(load_file(tmp_path / WEIGHTS), OLD, "generator"), tmp_path / WEIGHTS)
    return tmp_path


def test_an_old_generator_makes_the_same_images_and_is_saved_with_present_names(
    old_generator: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert all(key.startswith("layers.") for key in load_file(old_generator / WEIGHTS))
    sampler, model = Sampler.load(old_generator), configured(OLD)
    torch.manual_seed(0)
    fresh = Sampler(model, SPEC, build_generator(model, SPEC).state_dict())
    np.testing.assert_array_equal(sampler.images(0, range(5)), fresh.images(0, range(5)))
    folder = tmp_path_factory.mktemp("again")
    sampler.save(folder)
    assert load_file(folder / WEIGHTS).keys() == fresh.generator.state_dict().keys()


@pytest.mark.parametrize("harm", WRONG.values(), ids=WRONG.keys())
def test_old_weights_that_are_of_another_network_are_refused(
    old_generator: Path, harm: Callable[[dict[str, torch.Tensor], str], Any]
) -> None:
    state, name = load_file(old_generator / WEIGHTS), "layers.0.parametrizations.weight.original"
    harm(state, name)
    save_file(state, old_generator / WEIGHTS)
    message = refused(old_generator, WEIGHTS)
    assert any(part in message for part in (name, CASES[OLD]["generator"][name], "evil"))


@pytest.mark.parametrize(
    "name", ["layers.5.evil", "layers.99.weight", "layers.0.0.bias", "output.x"]
)
def test_old_weights_of_an_unknown_layer_are_refused_by_their_name(
    old_generator: Path, name: str
) -> None:
    state = load_file(old_generator / WEIGHTS)
    save_file({**state, name: torch.zeros(3)}, old_generator / WEIGHTS)
    message = refused(old_generator, WEIGHTS)
    assert name.split(".")[-1] in message
