"""Classes by name or number: which one a label means, and how lists and messages show them."""

import difflib
import re
import unicodedata
from collections.abc import Sequence

_LISTED = 10
"""Most classes that a message lists."""
_LONGEST = 40
"""Most characters of a name that lists and tables show."""
_JOINERS = "\u200c\u200d"
"""Characters without a picture of their own that emoji and Persian words need."""
_CLOSE, _COMPARED = 3, 100
"""Number of similar names that a message has first, and characters that are compared."""


def class_number(label: int | str, names: Sequence[str]) -> int:
    """Return the number of the class that ``label`` means.

    An integer is a number. A text is the name of a class or, if no class has that name, a number.

    Raises:
        ValueError: if there is no such class; the message lists the classes.
    """
    number = _named(label, names) if isinstance(label, str) else int(label)
    if number is None:
        number = _as_number(str(label))
    if number is None or not 0 <= number < len(names):
        raise ValueError(no_such_class(label, names))
    return number


def other_meaning(label: str, names: Sequence[str]) -> str | None:
    """Return a warning if ``label`` looks like the number or the name of another class, too.

    ``class_number(label, names)`` is the class that it means.
    """
    taken, number = class_number(label, names), _as_number(label)
    if number is None:
        return None
    meanings = [place for place, name in enumerate(names) if _as_number(name) == number]
    meanings += [number] if number < len(names) else []
    others = [meaning for meaning in meanings if meaning != taken]
    if not others:
        return None
    return (
        f"label {label} means class {taken}, whose name is {short_name(names[taken])}, "
        f"and not class {others[0]}, whose name is {short_name(names[others[0]])}"
    )


def no_such_class(label: int | str, names: Sequence[str]) -> str:
    """Return a message on a label that means no class; it lists classes, similar names first."""
    similar = _similar(label, names) if isinstance(label, str) else []
    known = list_classes(names, similar)
    known = f"classes are {known}" if _are_numbers(names) else known
    return f"there is no class {short_name(str(label))}: {known}"


def list_classes(names: Sequence[str], first: Sequence[int] = (), most: int = _LISTED) -> str:
    """Return at most ``most`` classes as ``0 cat, 1 dog``, those numbered ``first`` before others.

    The classes' total follows if some are left out. Classes that have only numbers are ``0 to 9``.
    """
    if _are_numbers(names):
        return f"0 to {len(names) - 1}"
    order = [*first, *(number for number in range(len(names)) if number not in first)]
    listed = ", ".join(numbered_name(number, names[number]) for number in order[:most])
    return listed if len(names) <= most else f"{listed}, ... ({len(names):,} in all)"


def numbered_name(number: int, name: str) -> str:
    """Return ``0 cat``, or the number alone if it is the name.

    Quotes part a name like ``10`` or ``cat, wild`` from the number before and the class after.
    """
    short = short_name(name)
    if name == str(number):
        return short
    return f'{number} "{short}"' if short[0].isdigit() or "," in short else f"{number} {short}"


def numbers_as_names(classes: int) -> list[str]:
    """Return the names of classes without names: their numbers."""
    return [str(number) for number in range(classes)]


def short_name(name: str) -> str:
    """Return a name for people: one line, without control characters, 40 characters at most."""
    text = "".join(c if c.isprintable() or c in _JOINERS else ascii(c)[1:-1] for c in name)
    if not text.strip():
        return repr(text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _are_numbers(names: Sequence[str]) -> bool:
    return list(names) == numbers_as_names(len(names))


def _named(label: str, names: Sequence[str]) -> int | None:
    """Return the number of the class with this name; accents may be stored in another form."""
    if label in names:
        return names.index(label)
    wanted = unicodedata.normalize("NFC", label)
    same = [n for n, name in enumerate(names) if unicodedata.normalize("NFC", name) == wanted]
    return same[0] if len(same) == 1 else None


def _as_number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


def _similar(label: str, names: Sequence[str]) -> list[int]:
    """Return the numbers of the classes whose names are most like ``label``, the best first."""
    places = {name.casefold()[:_COMPARED]: n for n, name in reversed(list(enumerate(names)))}
    wanted = label.casefold()[:_COMPARED]
    return [places[name] for name in difflib.get_close_matches(wanted, places, _CLOSE)]
