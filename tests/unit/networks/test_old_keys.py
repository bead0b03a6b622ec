"""Weights of earlier code, whose keys were positions, load into networks with named submodules."""

import time

import pytest
import torch
from torch import Tensor, nn

from bngan.batchnorm.layer import synchronize
from bngan.networks.factory import build_discriminator, build_generator
from bngan.networks.old_keys import with_current_keys
from tests.unit.networks.golden import CASES, SPEC, configured, with_old_keys

BUILD = {"generator": build_generator, "discriminator": build_discriminator}
MLP = "mlp"


def network(case: str, part: str) -> nn.Module:
    return BUILD[part](configured(case), SPEC)


def same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return list(ours) == list(theirs) and all(ours[key] is theirs[key] for key in ours)


@pytest.mark.parametrize("part", list(BUILD))
@pytest.mark.parametrize("case", list(CASES))
def test_every_old_key_has_its_present_one(case: str, part: str) -> None:
    built = network(case, part)
    state = dict(built.state_dict())
    assert list(CASES[case][part].values()) == list(state)
    old = with_old_keys(state, case, part)
    assert len(old) == len(state)
    for prepared in (built, synchronize(built)):
        assert same(with_current_keys(old, prepared, configured(case)), state)
        assert same(with_current_keys(state, prepared, configured(case)), state)


def test_keys_that_nobody_wrote_stay_and_are_refused_by_name() -> None:
    built, model = network(MLP, "generator"), configured(MLP)
    old = with_old_keys(built.state_dict(), MLP, "generator")
    for strange in ("layers.99.weight", "layers", "layers.", "layers.00.weight", "evil"):
        converted = with_current_keys({**old, strange: torch.zeros(1)}, built, model)
        assert converted.keys() - built.state_dict().keys() == {strange}
    lacking = with_current_keys(dict(list(old.items())[1:]), built, model)
    assert built.state_dict().keys() - lacking.keys() == {"blocks.0.linear.weight"}


def test_two_keys_for_one_tensor_are_both_kept_for_the_reader_to_refuse() -> None:
    built, model = network(MLP, "generator"), configured(MLP)
    both = {"layers.0.weight": torch.zeros(1), "blocks.0.linear.weight": torch.ones(1)}
    assert same(with_current_keys(both, built, model), both)


def test_a_key_of_a_million_parts_takes_no_longer_than_others() -> None:
    built, key = network(MLP, "generator"), "layers." * 10**6
    started = time.perf_counter()
    assert list(with_current_keys({key: torch.zeros(1)}, built, configured(MLP))) == [key]
    assert time.perf_counter() - started < 60
