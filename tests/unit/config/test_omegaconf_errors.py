"""Mistakes in a person's words, and what OmegaConf's errors carry for telling them apart."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from omegaconf import OmegaConf
from omegaconf.errors import (
    ConfigTypeError,
    InterpolationKeyError,
    InterpolationValidationError,
    OmegaConfBaseException,
    ValidationError,
)

from pipeline.config.parser import read


@dataclass
class Schema:
    word: str = "w"
    count: int = 1
    perhaps: int | None = None
    factor: float = 1.0
    choice: Literal["a", "b"] = "a"
    either: Literal["all"] | int = "all"
    counts: list[int] = field(default_factory=list)
    limits: dict[str, float] = field(default_factory=dict)
    lists: dict[str, list[str]] = field(default_factory=dict)
    pair: int | list[int] = field(default=2, metadata={"must": "be one or two"})


def error_of(given: str) -> OmegaConfBaseException:
    """OmegaConf's error of ``key=value``, when it is merged or filled in."""
    schema = OmegaConf.structured(Schema)
    try:
        schema.merge_with(OmegaConf.from_dotlist([given]))
        OmegaConf.select(schema, given.partition("=")[0])
    except OmegaConfBaseException as error:
        return error
    pytest.fail(f"{given} is no mistake")


@pytest.mark.parametrize(
    ("given", "kind", "number"),
    [
        ("count=x", ValidationError, None),
        ("count=null", ValidationError, None),
        ("counts=3", ValidationError, None),
        ("counts=null", ValidationError, None),
        ("counts=[1,x]", ValidationError, 1),
        ("counts=[null]", ValidationError, 0),
        ("lists.a=3", ValidationError, None),
        ("lists.a=[null]", ValidationError, 0),
        ("limits.a=x", ValidationError, None),
        ("pair=two", ValidationError, None),
        ("count=${word}", InterpolationValidationError, None),
        ("counts=${word}", InterpolationValidationError, None),
        ("counts=${lists.a}", InterpolationKeyError, None),
        ("counts={}", ConfigTypeError, None),
    ],
)
def test_an_errors_class_and_the_number_of_the_element_are_as_they_were(
    given: str, kind: type, number: int | None
) -> None:
    error = error_of(given)
    assert type(error) is kind
    assert (error.key if isinstance(error.key, int) else None) == number


def test_a_value_that_was_filled_in_is_in_the_error() -> None:
    assert error_of("count=${word}").value == "w"
    assert error_of("count=${perhaps}").value is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("count: x", "count: Value 'x' of type 'str' could not be converted to Integer: write a"),
        (
            "perhaps: 1.5",
            "perhaps: Value '1.5' of type 'float' could not be converted to Integer: ",
        ),
        ("factor: x", "factor: Value 'x' of type 'str' could not be converted to Float"),
        ("count:", "count must not be empty"),
        ("choice:", "choice must not be empty"),
        ("limits: {a: }", "limits.a must not be empty"),
        ("either:", "either: Value 'None' is incompatible"),
        ("counts: 3", "counts is a list: write it as [ONE,OTHER]"),
        ("counts:", "counts is a list: write it as [ONE,OTHER]"),
        ("counts: '${word}'", "counts is a list: write it as [ONE,OTHER]"),
        ("counts: {}", "counts: Cannot merge incompatible container types"),
        ("counts: [1, x]", "counts: Value 'x' of type 'str' could not be converted to Integer: w"),
        ("counts: [1, null]", "counts must have no empty values"),
        ("lists: {a: 1}", "lists.a is a list: write it as [ONE,OTHER]"),
        ("lists: {a: {b: 1}}", "lists.a.b: 'DictConfig' is incompatible"),
        ("lists: 1", "lists is a mapping: write it as {NAME: VALUE}"),
        (
            "count: '${word}'",
            "count: While dereferencing interpolation '${word}': Value 'w' of type",
        ),
        ("count: '${perhaps}'", "count must not be empty"),
        ("count: '${nowhere}'", "count: Interpolation key 'nowhere' not found"),
        ("pair: two", "pair must be one or two, got two"),
        ("pair:", "pair must be one or two, got None"),
        ("pair: [1, x]", "pair must be one or two, got [1, 'x']"),
        ("pair: '${word}'", "pair must be one or two, got w"),
    ],
)
def test_what_a_person_reads(given: str, message: str, tmp_path: Path) -> None:
    (file := tmp_path / "x.yaml").write_text(given)
    found: Any = read(Schema, file)
    (problem,) = found.wrong.values()
    assert problem.message.startswith(message)
    assert problem.key == message.split(":")[0].split()[0]


def test_a_text_that_speaks_of_another_mistake_is_not_taken_for_it(tmp_path: Path) -> None:
    """The values are words of OmegaConf's own messages."""
    (file := tmp_path / "x.yaml").write_text(
        "factor: converted to Integer\nchoice: is not a ListConfig\neither: Incompatible value 'None'\n"
    )
    found = {key: problem.message for key, problem in read(Schema, file).wrong.items()}
    assert found["factor"].endswith("could not be converted to Float")
    assert found["choice"].startswith("choice: Invalid value 'is not a ListConfig', expected")
    assert found["either"].startswith("either: Value 'Incompatible value 'None'' of type")
