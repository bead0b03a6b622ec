"""The consoles that all commands print on."""

from typing import Any

from rich.console import Console
from rich.text import Text

from bngan.serialization.problem import visible


class Terminal(Console):
    """A console that shows names as they are, whatever characters people put into them.

    Strings may have rich's markup; ``rich.markup.escape`` protects a name from it. Each is a line:
    a control character, such as one that clears the screen, is shown and not obeyed.
    """

    def __init__(self, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, emoji=False)  # a class or a folder may be called ":bug:"

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a string as rich's text, with all of its characters visible."""
        return super().render_str(visible(text), **options)
