"""The type that a schema has for a key."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from pipeline.config.hints import alternatives, declared, element, hints_of
from pipeline.config.schema import KEYS_OF, Config


@dataclass
class Inner:
    rate: float = 1.0


@dataclass
class Outer:
    inner: Inner = field(default_factory=Inner)
    limits: dict[str, float] = field(default_factory=dict)
    draws: dict[str, list[Any]] = field(default_factory=dict, metadata={KEYS_OF: Config})
    pair: int | list[int] = 2


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        (("inner",), Inner),
        (("inner", "rate"), float),
        (("inner", "nowhere"), None),
        (("limits", "a.b"), float),
        (("limits", "a", "b"), None),
        (("draws", "train.lr"), list[float]),
        (("draws", "train.checkpoint_every"), list[float]),  # by its earlier name
        (("draws", "register.model"), list[str]),
        (("draws", "data.classes"), list[list[int] | None]),
        (("draws", "nowhere.at.all"), list[None]),  # type: ignore[misc]
    ],
)
def test_the_type_at_a_path(path: tuple[str, ...], hint: Any) -> None:
    assert declared(Outer, path)[1] == hint


def test_an_earlier_name_has_the_type_of_the_present_one() -> None:
    at = hints_of(Config)
    assert at(("train", "checkpoint_every")) is at(("data", "validation")) is float


def test_unions_are_taken_apart() -> None:
    assert alternatives(int | list[int] | None) == (int, list[int])
    assert alternatives(None) == ()
    assert element(int | list[str] | None) is str
    assert element(int) is None
