"""YAML by the words in it."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml

from pipeline.config.hints import HintAt, hints_of
from pipeline.config.yaml_reader import compose, key_lines, override_value, to_value


@dataclass
class Schema:
    word: str = ""
    perhaps: str | None = None
    count: int = 0
    words: list[str] = field(default_factory=list)
    by_name: dict[str, list[str]] = field(default_factory=dict)
    pair: int | list[int] = 2
    limits: dict[str, float] = field(default_factory=dict)


AT: HintAt = hints_of(Schema)


def value(text: str) -> Any:
    return to_value(compose(text), AT)


def test_texts_and_names_are_as_written_in_lists_and_mappings_too() -> None:
    text = "word: 1.10\nwords: [no, 010, 2024_11, 'on', \"a\\tb\", 12:30, 2024-11-30, 1e3]\n"
    text += "by_name: {no: [off, 1_0], 1.10: [.5], 0x10: [], 2024-11-30: [~, '~']}\n"
    assert value(text) == {
        "word": "1.10",
        "words": ["no", "010", "2024_11", "on", "a\tb", "12:30", "2024-11-30", "1e3"],
        "by_name": {"no": ["off", "1_0"], "1.10": [".5"], "0x10": [], "2024-11-30": [None, "~"]},
    }


def test_tags_and_blocks() -> None:
    text = "word: !!str null\ncount: !!int 7\nlimits: {a: !!float 1}\n"
    text += "words:\n- |\n  a\n- >-\n  b\n  c\n"
    assert value(text) == {
        "word": "null",
        "count": 7,
        "limits": {"a": 1},
        "words": ["a\n", "b c"],
    }


def test_anchors_and_merges() -> None:
    text = "limits: &a {a: 1, b: 2}\nby_name: &b {<<: [{x: [no]}, {x: [z], y: [on]}], y: ['1']}\n"
    text += "word: &w 010\nperhaps: *w\n"
    assert value(text) == {
        "limits": {"a": 1, "b": 2},
        "by_name": {"x": ["no"], "y": ["1"]},
        "word": "010",
        "perhaps": "010",
    }
    assert value("a: &a {b: 1, c: 2}\nd: {<<: *a, c: 3}")["d"] == {"b": 1, "c": 3}


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("a: 1\nb: 2\na: 3", 3, "found duplicate key a"),
        ("x:\n  no: 1\n  'no': 2", 3, "found duplicate key no"),
        ("x: {<<: {a: 1}, <<: {a: 2}}", 1, "found duplicate key <<"),
        ("x: [{a: 1, a: 2}]", 1, "found duplicate key a"),
        ("x: {<<: 3}", 1, "<< takes a mapping, or a list of mappings"),
        ("x:\n  <<: [{a: 1}, 2]", 2, "<< takes a mapping, or a list of mappings"),
        ("? [a]\n: 1", 1, "found unhashable key"),
        ("a: 1\nb: !!binary aGk=", 2, "could not determine a constructor for the tag"),
        ("a: 1\nb: !!set {a}", 2, "could not determine a constructor for the tag"),
        ("a: 1\nb: !!timestamp 2024-11-30", 2, "could not determine a constructor for the tag"),
        ("a: 1\nb: !mine [1]", 2, "could not determine a constructor for the tag '!mine'"),
        ("a: &a [*a]", 1, "YAML recursive aliases are not supported"),
        ("a: &a {<<: *a}", 1, "YAML recursive aliases are not supported"),
    ],
)
def test_what_no_reader_should_guess_is_refused_with_its_line(
    text: str, line: int, problem: str
) -> None:
    with pytest.raises(yaml.MarkedYAMLError) as caught:
        compose(text)
    assert str(caught.value.problem).startswith(problem)
    assert caught.value.problem_mark is not None
    assert caught.value.problem_mark.line + 1 == line


def test_aliases_that_would_fill_the_memory_are_refused() -> None:
    merges = "a: &a {" + ", ".join(f"k{n}: 1" for n in range(100)) + "}\n"
    merges += f"b: {{<<: [{', '.join(['*a'] * 100)}]}}\n"
    with pytest.raises(yaml.MarkedYAMLError, match="node expansion exceeds"):
        compose(merges)


def test_lines_of_keys() -> None:
    text = "a: &a\n  b: 1\nc:\n  <<: *a\n  d: 2\n'e.f': 3\n"
    assert dict(key_lines(compose(text))) == {
        **{"a": 1, "a.b": 2, "c": 3, "c.b": 2, "c.d": 5, "e.f": 6}
    }
    assert dict(key_lines(None)) == {}


@pytest.mark.parametrize(
    "text",
    [
        *("/x/set #2", "my runs #1", "#1", "a: b", "[v1]", "[v1", "{a}", "%20", "*a", "&a b", "!x"),
        *("@x", "`x`", "|", ">", "- a", "? a", "-", ",", "a, b", " a ", "\t", "a\\n", "=", "=a=b"),
        *("'a' b", "a'", "'", '"', "'a", '"C:\\dir"', "it's", '"a" #b', "---", "...", "!!str 1"),
        *("1.10", "no", "010", "2024-11-30", "\xa0a", "\uff11", "a\nb", "nULL", "a  b", "$HOME"),
    ],
)
def test_a_text_in_an_override_is_all_that_follows(text: str) -> None:
    for name in ("word", "perhaps"):
        assert override_value(text, AT, (name,)) == text


@pytest.mark.parametrize(
    ("path", "text", "found"),
    [
        ("word", "'a b'", "a b"),
        ("word", '"a #b"', "a #b"),
        ("word", "'it''s'", "it's"),
        ("word", '"\\u00e9\\t"', "é\t"),
        ("word", "''", ""),
        ("perhaps", "'null'", "null"),
        ("perhaps", "null", None),
        ("perhaps", "~", None),
        ("perhaps", "", None),
        ("count", " 7 ", 7),
        ("count", "'7'", 7),
        ("pair", "7", 7),
        ("pair", "[1, 2]", [1, 2]),
        ("words", "[no, 1.10, '#']", ["no", "1.10", "#"]),
        ("words", "", None),
        ("by_name", "{no: [on]}", {"no": ["on"]}),
        ("limits.a", "1e3", 1000.0),
        ("nowhere", "1.5", 1.5),
    ],
)
def test_a_value_in_an_override(path: str, text: str, found: Any) -> None:
    assert override_value(text, AT, tuple(path.split("."))) == found


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("words", "[a] #b"),
        ("count", "7 #8"),
        ("pair", "2 #3"),
        ("words", "[a #b]"),
        ("by_name", "{a: [], a: []}"),
    ],
)
def test_text_behind_a_value_is_not_dropped(path: str, text: str) -> None:
    with pytest.raises(yaml.YAMLError):
        override_value(text, AT, (path,))
