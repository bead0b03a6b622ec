"""Files made at random: whatever they hold, they are read or refused as documented."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bngan.generation.sampler import DESCRIPTION, WEIGHTS, Sampler
from bngan.serialization.manifest import NAME, damage, parse_manifest
from tests.unit.generation.test_sampler_safety import ENTRY, generator, original, refused, sealed

__all__ = ["generator", "original"]  # fixtures

ANYTHING = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


ENTRIES = st.fixed_dictionaries({"size": JSON, "sha256": JSON}) | JSON | st.just(ENTRY)
MANIFESTS = st.builds(sealed, st.dictionaries(st.text(), ENTRIES, max_size=3) | JSON, JSON)
MANIFESTS |= st.binary(max_size=300) | JSON.map(lambda value: json.dumps(value).encode())


def a_manifest_is_read_or_refused(folder: Path, content: bytes) -> None:
    (folder / NAME).write_bytes(content)
    found = damage(folder)
    try:
        names = parse_manifest(content)["files"]
    except ValueError:
        assert found == f"manifest altered: {folder / NAME}"
        return
    assert (found is None) == (not names)
    assert all((folder / name).resolve().is_relative_to(folder.resolve()) for name in names)


VALUES = (
    JSON | st.integers(0, 10) | st.sampled_from(["mlp", "none", "batch", 10**9, 1e308, [1, 8, 8]])
)
KEYS = st.lists(st.integers(0, 30), min_size=1, max_size=4)


def a_description_is_read_or_refused(folder: Path, keys: list[int], value: Any) -> None:
    """With the value somewhere in it."""
    content = (folder / DESCRIPTION).read_text()
    place = description = json.loads(content)
    for number in keys:
        parent, name = place, list(place)[number % len(place)]
        if not isinstance(place := parent[name], dict) or not place:
            break
    parent[name] = value
    try:
        (folder / DESCRIPTION).write_text(json.dumps(description))
        Sampler.load(folder)
    except ValueError as error:
        assert "\n" not in str(error)  # noqa: PT017 (it may also be right)
    finally:
        (folder / DESCRIPTION).write_text(content)


TENSOR = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "F64", "I64", "BOOL", "F8_E4M3", "U8"]) | JSON,
        "shape": st.lists(st.integers(-1, 10) | st.integers(), max_size=4) | JSON,
        "data_offsets": st.lists(st.integers(-1, 64) | st.integers(), min_size=2, max_size=2)
        | JSON,
    }
)
HEADERS = st.dictionaries(st.text(max_size=5) | st.just("__metadata__"), TENSOR | JSON, max_size=3)


def weights_are_read_or_refused(folder: Path, header: Any, size: int | None, tail: bytes) -> None:
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    length = struct.pack("<Q", len(content) if size is None else size)
    (folder / WEIGHTS).write_bytes(length + content + tail)
    refused(folder)


SIZES, TAILS = st.none() | st.integers(0, 2**64 - 1), st.binary(max_size=64)


@given(content=MANIFESTS)
@settings(ANYTHING, max_examples=100)
def test_no_manifest_breaks_it(tmp_path: Path, content: bytes) -> None:
    a_manifest_is_read_or_refused(tmp_path, content)


@given(keys=KEYS, value=VALUES)
@settings(ANYTHING, max_examples=100)
def test_no_description_breaks_it(generator: Path, keys: list[int], value: Any) -> None:
    a_description_is_read_or_refused(generator, keys, value)


@given(header=HEADERS | st.binary(max_size=100), size=SIZES, tail=TAILS)
@settings(ANYTHING, max_examples=100)
def test_no_weights_break_it(generator: Path, header: Any, size: int | None, tail: bytes) -> None:
    weights_are_read_or_refused(generator, header, size, tail)


@pytest.mark.slow
@given(content=MANIFESTS)
@settings(ANYTHING, max_examples=4000)
def test_no_manifest_of_thousands_breaks_it(tmp_path: Path, content: bytes) -> None:
    a_manifest_is_read_or_refused(tmp_path, content)


@pytest.mark.slow
@given(keys=KEYS, value=VALUES)
@settings(ANYTHING, max_examples=4000)
def test_no_description_of_thousands_breaks_it(
    generator: Path, keys: list[int], value: Any
) -> None:
    a_description_is_read_or_refused(generator, keys, value)


@pytest.mark.slow
@given(header=HEADERS | st.binary(max_size=100), size=SIZES, tail=TAILS)
@settings(ANYTHING, max_examples=4000)
def test_no_weights_of_thousands_break_it(
    generator: Path, header: Any, size: int | None, tail: bytes
) -> None:
    weights_are_read_or_refused(generator, header, size, tail)
