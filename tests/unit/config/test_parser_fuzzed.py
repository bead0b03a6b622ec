"""Configurations that nobody would write: whatever they are, a person is told in lines."""

import string
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipeline.config.loader import load_config
from pipeline.config.parser import flatten
from pipeline.core.errors import UserError

DIGITS = Path(__file__).parents[3] / "configs" / "digits.yaml"
KNOWN = sorted(flatten(asdict(load_config(DIGITS))))
NUMBERS = st.one_of(
    st.integers(-3, 300),
    st.sampled_from([2**31, 2**63, 10**30, -(2**63), 0.0, 1e-300, 1e308, "1e400"]),
    st.floats(),
)
VALUES = st.recursive(
    st.one_of(NUMBERS, st.none(), st.booleans(), st.text(max_size=8), st.sampled_from(KNOWN)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=4,
)
CHANGES = st.dictionaries(st.sampled_from(KNOWN), VALUES, min_size=1, max_size=4)
TEXTS = st.text(st.sampled_from(string.printable + "éß\x00\u2028${}&*!"), max_size=200)


def read(file: Path, overrides: list[str]) -> None:
    try:
        load_config(file, overrides)
    except UserError as error:
        lines = str(error).splitlines()
        assert lines
        assert all(line.strip() for line in lines)


def tree(flat: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in flat.items():
        *sections, last = key.split(".")
        here = found
        for section in sections:
            here = here.setdefault(section, {})
        here[last] = value
    return found


def fuzz(count: int, folder: Path) -> list[Callable[[], None]]:
    """Tests of so many cases each: of values, of texts, of overrides."""
    file = folder / "x.yaml"
    often = settings(
        max_examples=count, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )

    @often
    @given(CHANGES)
    def values(changes: dict[str, Any]) -> None:
        known = {"name": "x", "data.path": "embedded:digits", "register.model": "x"}
        file.write_text(yaml.safe_dump(tree(known | changes)), errors="surrogatepass")
        read(file, [])

    @often
    @given(TEXTS)
    @example("a: ${")
    @example("a: &a [*a]")
    def texts(text: str) -> None:
        file.write_text(text)
        read(file, [])

    @often
    @given(
        st.lists(
            st.one_of(TEXTS, st.builds("{}={}".format, st.sampled_from(KNOWN), TEXTS)), max_size=3
        )
    )
    def overrides(given_: list[str]) -> None:
        read(DIGITS, given_)

    return [values, texts, overrides]


@pytest.mark.parametrize("kind", range(3), ids=["values", "texts", "overrides"])
def test_no_configuration_is_a_traceback(kind: int, tmp_path: Path) -> None:
    fuzz(60, tmp_path)[kind]()


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", range(3), ids=["values", "texts", "overrides"])
def test_no_configuration_is_a_traceback_at_length(kind: int, tmp_path: Path) -> None:
    fuzz(2_000, tmp_path)[kind]()
