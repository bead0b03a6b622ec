"""Text in Markdown: names that people give stay text."""

import re

from bngan.serialization.problem import visible

_PUNCTUATION, _ESCAPED = re.compile(r"[]\\`*_[<>#|&~!$:]"), r"\\\g<0>"
"""Characters that Markdown or HTML could read as markup, and what stands for one."""


def plain(text: str) -> str:
    """Return a text as Markdown that shows it, in a paragraph or in a cell of a table."""
    return _PUNCTUATION.sub(_ESCAPED, visible(text))


def code(text: str) -> str:
    """Return a text as Markdown that shows it as code, in a paragraph.

    The fence is longer than any run of backticks in the text.
    """
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence, space = "`" * (longest + 1), " " if longest else ""
    return f"{fence}{space}{visible(text)}{space}{fence}"
