"""Read words by the type of their key: YAML 1.2, in plain digits."""

import math
from typing import Any, Literal

import pytest
from omegaconf.errors import ValidationError

from pipeline.config.scalars import mend, require_fit, typed, written

WORDS = [
    *(
        "1.10",
        "no",
        "yes",
        "on",
        "off",
        "y",
        "N",
        "2024_11",
        "1e3",
        "12:30",
        "1:30.5",
        "010",
        "0x10",
    ),
    *("0b1", "0o7", "2024-11-30", ".5", "5.", "+1", "-0", "1_000", ".inf", "-.INF", ".nan", "="),
    *(
        "<<",
        "true",
        "False",
        "00",
        "1__0",
        "0_1",
        "1e400",
        "\uff11\uff12",
        "5\xa0",
        "\u0663",
        "0b_",
    ),
]
"""Words, most of which YAML 1.1 takes for something else."""


@pytest.mark.parametrize("word", WORDS)
def test_a_text_is_what_was_written(word: str) -> None:
    for hint in (str, str | None):
        assert typed(word, True, hint) == typed(word, False, hint) == word


@pytest.mark.parametrize(
    ("word", "value"),
    [("0", 0), ("-0", 0), ("+1", 1), ("-12", -12), ("1_000", 1_000), ("2_000_000", 2_000_000)],
)
def test_a_whole_number_is_decimal(word: str, value: int) -> None:
    for hint in (int, int | None, int | Literal["auto"], Literal["auto"] | int, int | list[int]):
        found = typed(word, True, hint)
        assert (found, type(found)) == (value, int)
        require_fit(found, hint)


@pytest.mark.parametrize(
    ("word", "value"),
    [
        *((".5", 0.5), ("5.", 5.0), ("1e3", 1000.0), ("2.0e-4", 0.0002), ("1e-05", 0.00001)),
        *(("1_000.5", 1000.5), ("-1.5E+2", -150.0), ("0.1", 0.1), (".inf", math.inf), ("1", 1)),
        *(("1e400", math.inf), ("-.INF", -math.inf)),
    ],
)
def test_a_number_is_decimal(word: str, value: float) -> None:
    require_fit(found := typed(word, True, float), float)
    assert found == value


@pytest.mark.parametrize("hint", [int, float, bool, int | None, int | list[int], list[int]])
@pytest.mark.parametrize(
    "word",
    [
        *("010", "00", "0100", "-01", "0x1F", "0b1", "0o7", "1:30", "1:30.5", "1__0", "1_", "0_1"),
        *("_1", "x", "yes", "no", "on", "off", "y", "\uff11\uff12", "5\xa0", "\u0663", " 5", "5\n"),
        *("inf", "nan", "2024-11-30", "010.5", "9" * 5000),
    ],
)
def test_what_readers_disagree_about_is_no_number(word: str, hint: Any) -> None:
    value = typed(word, True, hint)
    assert value == word
    with pytest.raises(ValidationError, match=r"Value '"):
        require_fit([value] if hint == list[int] else value, hint)


@pytest.mark.parametrize(("word", "value"), [("true", True), ("False", False), ("TRUE", True)])
def test_a_switch_is_true_or_false(word: str, value: bool) -> None:
    assert typed(word, True, bool) is typed(word, False, bool) is value
    require_fit(value, bool)
    for hint in (int, float):
        with pytest.raises(ValidationError):
            require_fit(value, hint)
    for number in (0, 1, 1.0):
        with pytest.raises(ValidationError):
            require_fit(number, bool)


def test_a_choice_is_a_word_even_if_it_looks_like_a_switch() -> None:
    hint = Literal["off", "networks", "1.10"]
    assert typed("off", True, hint) == "off"
    assert typed("1.10", True, hint) == "1.10"
    assert typed("no", True, hint) == "no"  # OmegaConf refuses it by name


def test_nothing_is_null_unless_it_has_quotes() -> None:
    for word in ("", "~", "null", "Null", "NULL"):
        assert typed(word, True, str | None) is typed(word, True, int) is None
        assert typed(word, False, str | None) == word
    assert typed("nULL", True, str | None) == "nULL"


def test_without_a_type_quotes_make_a_text() -> None:
    assert [typed(word, True, Any) for word in ("1.5", "no", "010", "true")] == [
        *(1.5, "no", "010", True)
    ]
    assert typed("1.5", False, Any) == typed("1.5", False, None) == "1.5"


@pytest.mark.parametrize(
    ("given", "hint", "value"),
    [
        ("${oc.env:BNGAN_WORD}", str, "010"),
        ("${oc.env:BNGAN_WORD}", int, "010"),  # refused, as in a file
        ("${oc.env:BNGAN_NULL}", str | None, "null"),  # a text, as from quotes
        ("${oc.env:BNGAN_NONE,null}", str | None, None),
        ("${oc.env:BNGAN_NONE,'null'}", str | None, "null"),
        ("${oc.env:BNGAN_NONE,1.10}", str, "1.10"),
        ("${oc.env:BNGAN_NONE, 1.10}", str, "1.10"),
        ("v${oc.env:BNGAN_NONE,1.10}/${oc.env:BNGAN_WORD}", str, "v1.10/010"),
        ("${oc.env:BNGAN_NONE,2e-4}", float, 0.0002),
        ("${oc.env:BNGAN_YES}", bool, "yes"),
        ("${oc.env:BNGAN_NONE}", str, "${oc.env:BNGAN_NONE}"),
        ("${oc.env:BNGAN_ODD}", str, "${oc.env:BNGAN_ODD}"),
        ("${train.lr}", int, "${train.lr}"),
    ],
)
def test_a_variables_text_arrives(
    given: str, hint: Any, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in {"WORD": "010", "NULL": "null", "YES": "yes", "ODD": "${x"}.items():
        monkeypatch.setenv(f"BNGAN_{name}", text)
    assert typed(given, True, hint) == value


def test_the_mend_is_given_where_it_helps() -> None:
    assert mend(100000.0, int) == ": write it out, as 100000"
    assert mend("x", int) == mend(1.5, int) == mend(1e30, int) == ": write a whole number"
    assert (
        mend("010", int)
        == mend("1:30", float)
        == (": write it in decimal digits 0 to 9, without zeros at the front")
    )
    assert mend("yes", bool) == ": write true or false"
    assert mend("fast", float) == mend("x", str) == ""


def test_what_is_written_for_an_override() -> None:
    assert [
        written(value) for value in ("1.10", "a #b", "null", "'a'", None, True, [1], 1e-05)
    ] == [*("1.10", "a #b", '"null"', "\"'a'\"", "null", "true", "[1]", "1e-05")]
