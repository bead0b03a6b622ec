"""Read a value that a person wrote, by the type of its key.

The rules, for files and overrides:

- A text is what was written, such as ``1.10``, ``no`` or ``010``. Quotes around it are removed. Where
  a key may be empty, ``null`` and ``~`` without quotes are no text.
- A choice is one of the words that its key lists, such as ``off``.
- A number is decimal. ``_`` may group its digits. ``010``, ``0x1F`` and ``1:30`` are no numbers,
  because readers of YAML disagree about them. ``1e3`` is no whole number.
- A switch is true or false.
- ``${oc.env:BNGAN_NAME,DEFAULT}`` stands for the text of the variable, or for the default.
"""

import json
import os
import re
from typing import Any, Literal, get_args, get_origin

from omegaconf.errors import ValidationError

from pipeline.config.hints import alternatives, element

_NULLS = ("", "~", "null", "Null", "NULL")
_SWITCHES = {"true": True, "True": True, "TRUE": True}
_SWITCHES |= {"false": False, "False": False, "FALSE": False}
_WHOLE = r"(0|[1-9][0-9]*(_[0-9]+)*)"
_INT = re.compile(rf"[-+]?{_WHOLE}")
_FLOAT = re.compile(rf"[-+]?({_WHOLE}(\.([0-9]+(_[0-9]+)*)?)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_VARIABLE = re.compile(r"(?<!\\)\$\{oc\.env:(BNGAN_\w+)(?:,([^${}]*))?\}")
_NUMBERS = {int: "Integer", float: "Float", bool: "bool"}


def typed(text: str, plain: bool, hint: Any) -> Any:
    """Return a scalar's value for a key of the type ``hint``, which may be None for any type.

    A text that does not fit the key remains a text. ``plain`` is whether it has no quotes.
    """
    text, plain = _with_variables(text, plain)
    kinds = alternatives(hint)
    if "${" in text:
        return text
    if plain and text in _NULLS:
        return None
    choices = [choice for kind in kinds if get_origin(kind) is Literal for choice in get_args(kind)]
    if text in choices or str in kinds:
        return text
    if not plain and not set(kinds) & set(_NUMBERS):
        return text
    value = _number(text)
    if value is None or (choices and type(value) not in kinds):
        return text
    return value


def _number(text: str) -> bool | int | float | None:
    if text in _SWITCHES:
        return _SWITCHES[text]
    try:
        if _INT.fullmatch(text):
            return int(text)
    except ValueError:  # thousands of digits
        return None
    if _INFINITE.fullmatch(text):
        return float(text.replace(".", ""))
    return float(text) if _FLOAT.fullmatch(text) else None


def _with_variables(text: str, plain: bool) -> tuple[str, bool]:
    """Return ``text`` with variables filled in, and whether it is still one without quotes."""
    if match := _VARIABLE.fullmatch(text):
        value = os.environ.get(match[1])
        if value is None and match[2] is not None:
            return _unquoted(match[2].strip())
        return (text, plain) if value is None or "${" in value else (value, False)
    return _VARIABLE.sub(_value, text), plain


def _value(match: re.Match[str]) -> str:
    default = match[0] if match[2] is None else _unquoted(match[2].strip())[0]
    value = os.environ.get(match[1], default)
    return match[0] if "${" in value else value


def _unquoted(text: str) -> tuple[str, bool]:
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1], False
    return text, True


def require_fit(value: Any, hint: Any) -> None:
    """Raise OmegaConf's ``ValidationError`` for a text or a switch where a number belongs.

    OmegaConf itself takes ``010`` and digits of any script for numbers, and yes for true.
    """
    kinds = alternatives(hint)
    if isinstance(value, list):
        for index, part in enumerate(value):
            try:
                require_fit(part, element(hint))
            except ValidationError as error:
                error.key = index if len(kinds) == 1 else None
                raise
        return
    wanted = [kind for kind in kinds if kind in _NUMBERS]
    others = [kind for kind in kinds if kind is str or get_origin(kind) is Literal]
    fits = type(value) in wanted or (type(value) is int and float in wanted)
    if not wanted or others or fits or value is None or "${" in str(value):
        return
    if not isinstance(value, dict):
        found = f"Value '{value}' of type '{type(value).__name__}'"
        if wanted == [bool]:
            raise ValidationError(
                f"Value '{value}' is not a valid bool (type {type(value).__name__})"
            )
        raise ValidationError(f"{found} could not be converted to {_NUMBERS[wanted[0]]}")


def mend(value: Any, kind: Any) -> str:
    """Return the end of a message about a value that is no number or switch, as ": " and advice."""
    if kind is bool:
        return ": write true or false"
    if kind not in (int, float):
        return ""
    if isinstance(value, str) and any(character.isdigit() for character in value):
        return ": write it in decimal digits 0 to 9, without zeros at the front"
    if kind is float:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return f": write it out, as {int(value)}"
    return ": write a whole number"


def written(value: Any) -> str:
    """Return a value as the text after ``=`` in an override that reads back as the value."""
    if isinstance(value, str) and value not in _NULLS and not value.startswith(("'", '"')):
        return value
    return json.dumps(value, ensure_ascii=False)
