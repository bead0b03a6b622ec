"""Numbers in and out of the bounds that stand beside their fields."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import pytest

from bngan.serialization.bounds import bounded, out_of_bounds

INF, NAN = math.inf, math.nan


@dataclass
class Part:
    share: float = bounded(0.5, ge=0, lt=1)
    factor: float = bounded(1.0, gt=0, le=1)


@dataclass
class Whole:
    free: int = 1
    rate: float = bounded(2e-4, gt=0)
    noise: float = bounded(0.0, ge=0)
    seeds: int = bounded(12, ge=6)
    cap: int | None = bounded(None, most=1_000)
    depth: int | None = bounded(None, ge=0, most=1_000)
    size: int = bounded(8, ge=4, most=64, message="{key} must be at least 4 pixels, got {value}")
    part: Part = field(default_factory=Part)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        *(("rate", value, "rate must be positive, got {}") for value in (0, -1, -INF, INF, NAN)),
        *(("noise", value, "noise must not be negative, got {}") for value in (-0.1, INF, NAN)),
        ("seeds", 5, "seeds must be at least 6, got 5"),
        ("cap", 1_001, "cap must be at most 1,000, got 1,001"),
        ("depth", -1, "depth must not be negative, got -1"),
        ("depth", 10**400, f"depth must be at most 1,000, got {10**400:,}"),
        ("size", 3, "size must be at least 4 pixels, got 3"),
        ("size", 65, "size must be at most 64, got 65"),
        *(("part.share", v, "part.share must lie in [0, 1), got {}") for v in (-0.1, 1, NAN, INF)),
        *(("part.factor", v, "part.factor must lie in (0, 1], got {}") for v in (0, 1.1, NAN, INF)),
    ],
)
def test_a_number_out_of_its_bounds_is_one_problem(key: str, value: Any, message: str) -> None:
    config = Whole()
    section, _, name = key.rpartition(".")
    setattr(config.part if section else config, name, value)
    (problem,) = out_of_bounds(config)
    assert problem == (key, message.format(value), ())
    (problem,) = out_of_bounds(config, "at.")
    assert problem.key == f"at.{key}"


@pytest.mark.parametrize(
    "config",
    [
        Whole(),
        Whole(free=-1, rate=1e-300, noise=1e300, seeds=6, cap=-5, depth=1_000, size=4),
        Whole(rate=10**400, seeds=10**400, depth=0, size=64, part=Part(0, 1)),
    ],
)
def test_bounds_themselves_and_none_are_allowed(config: Whole) -> None:
    assert list(out_of_bounds(config)) == []


def test_a_bounded_field_is_a_field_with_a_default() -> None:
    assert asdict(Part()) == {"share": 0.5, "factor": 1.0}
    assert (Part.share, Whole(cap=3).cap) == (0.5, 3)


def test_a_bound_of_another_name_is_refused_where_it_stands() -> None:
    with pytest.raises(KeyError, match="minimum"):
        bounded(1, minimum=0)
