"""Which class a label means, and how classes are listed."""

import pytest

from bngan.data.class_names import (
    class_number,
    list_classes,
    no_such_class,
    numbered_name,
    other_meaning,
    short_name,
)

APPS = ["Emoji", "apps", "devices"]
DIGITS = [str(digit) for digit in range(10)]
ODD = ["10", "2", "001", "-1", "", "a\nb"]
"""Names that are, or look like, other classes' numbers, or that nobody can type."""
ACCENT = "caf\u00e9"


@pytest.mark.parametrize(
    ("label", "names", "number"),
    [
        ("apps", APPS, 1),
        ("1", APPS, 1),
        ("002", APPS, 2),
        (1, APPS, 1),
        *((name, DIGITS, int(name)) for name in DIGITS),
        # An exact name wins over a number; an integer is never a name.
        ("10", ODD, 0),
        ("2", ODD, 1),
        (2, ODD, 2),
        ("001", ODD, 2),
        ("1", ODD, 1),
        ("-1", ODD, 3),
        ("", ODD, 4),
        ("5", ODD, 5),
        # macOS stores accents apart from their letters.
        ("cafe\u0301", ["a", ACCENT], 1),
        (ACCENT, ["a", "cafe\u0301"], 1),
        ("cafe\u0301", [ACCENT, "cafe\u0301"], 1),
    ],
)
def test_a_label_means_the_class_of_that_name_or_else_number(label, names, number) -> None:
    assert class_number(label, names) == number


@pytest.mark.parametrize(
    ("label", "names", "message"),
    [
        (7, APPS, "there is no class 7: 0 Emoji, 1 apps, 2 devices"),
        ("7", APPS, "there is no class 7: 0 Emoji, 1 apps, 2 devices"),
        (-1, APPS, "there is no class -1: 0 Emoji, 1 apps, 2 devices"),
        ("-1", APPS, "there is no class -1: 0 Emoji, 1 apps, 2 devices"),
        ("DEVICE", APPS, "there is no class DEVICE: 2 devices, 0 Emoji, 1 apps"),
        ("1.0", APPS, "there is no class 1.0: 0 Emoji, 1 apps, 2 devices"),
        ("\u0661", APPS, "there is no class \u0661: 0 Emoji, 1 apps, 2 devices"),
        ("9" * 5000, APPS, f"there is no class {'9' * 39}…: 0 Emoji, 1 apps, 2 devices"),
        ("x\n\x1b[1m", APPS, "there is no class x\\n\\x1b[1m: 0 Emoji, 1 apps, 2 devices"),
        ("a", DIGITS, "there is no class a: classes are 0 to 9"),
        (10, DIGITS, "there is no class 10: classes are 0 to 9"),
    ],
)
def test_a_label_of_no_class_is_refused_with_those_there_are(label, names, message) -> None:
    with pytest.raises(ValueError, match=r"^there is no class ") as caught:
        class_number(label, names)
    assert str(caught.value) == message == no_such_class(label, names)


def test_of_many_classes_similar_ones_come_first_and_few_are_listed() -> None:
    names = [f"{'kind ' * 100}{n}" for n in range(998)] + ["tabby cat", "tabbi cats"]
    told = no_such_class("tabby catt", names)
    assert told.startswith(
        "there is no class tabby catt: 998 tabby cat, 999 tabbi cats, 0 kind kind "
    )
    assert told.endswith("…, ... (1,000 in all)")
    assert told.count("kind…") == 8
    assert len(told) < 500
    assert list_classes(names[:3], most=2).endswith("(3 in all)")


@pytest.mark.parametrize(
    ("label", "names", "told"),
    [
        (
            "2",
            ["10", "2", "30"],
            "label 2 means class 1, whose name is 2, and not class 2, whose name",
        ),
        (
            "1",
            ["001", "002"],
            "label 1 means class 1, whose name is 002, and not class 0, whose name",
        ),
        ("01", ["2", "1", "3"], None),
        (
            "0",
            ["a", "00"],
            "label 0 means class 0, whose name is a, and not class 1, whose name is 00",
        ),
        ("10", ["10", "a"], None),
        ("1", APPS, None),
        ("apps", APPS, None),
        *((name, DIGITS, None) for name in DIGITS),
    ],
)
def test_where_name_and_number_disagree_it_is_said_which_was_taken(label, names, told) -> None:
    found = other_meaning(label, names)
    assert (found is None) is (told is None)
    assert (found or "").startswith(told or "")


@pytest.mark.parametrize(
    ("number", "name", "shown"),
    [
        (0, "cat", "0 cat"),
        (3, "3", "3"),
        (1, "10", '1 "10"'),
        (1, "wolf, grey", '1 "wolf, grey"'),
        (2, "\u05e9\u05dc\u05d5\u05dd", "2 \u05e9\u05dc\u05d5\u05dd"),
        (2, "\U0001f469\u200d\U0001f4bb", "2 \U0001f469\u200d\U0001f4bb"),
        (2, "a\u202eb", "2 a\\u202eb"),
        (2, "\udcff\t\x00", "2 \\udcff\\t\\x00"),
        (2, "", "2 ''"),
        (2, " ", "2 ' '"),
    ],
)
def test_a_name_is_shown_without_what_a_terminal_would_obey(number, name, shown) -> None:
    assert numbered_name(number, name) == shown
    shown.encode()


def test_a_long_name_is_cut() -> None:
    assert short_name("x" * 40) == "x" * 40
    assert short_name("x" * 41) == "x" * 39 + "…"
