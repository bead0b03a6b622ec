"""Mistakes in a configuration as data, from the check that finds them to the print."""

from typing import NamedTuple


class Problem(NamedTuple):
    """A mistake in a configuration.

    Attributes:
        key: dotted key of the wrong value; "" if no key is wrong.
        message: one sentence for a person, which names the key and the repair.
        rests_on: further keys; the sentence is true only while their values stay.
    """

    key: str
    message: str
    rests_on: tuple[str, ...] = ()

    def within(self, section: str) -> "Problem":
        """Return the problem with keys from ``section`` on; the message must begin with a key."""
        keys = tuple(f"{section}.{key}" for key in self.rests_on)
        return Problem(f"{section}.{self.key}", f"{section}.{self.message}", keys)


class ConfigurationError(ValueError):
    """Something cannot be built from a configuration."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return self.problem.message


def one_line(message: object) -> str:
    """Return an error, or a name from outside, as one line without control characters."""
    return visible(str(message).strip() or type(message).__name__)


def visible(text: str, keep: str = "") -> str:
    r"""Return a text with ``\x1b`` in place of a character that a terminal or a page would obey.

    These are control characters, line ends, surrogates and marks of the direction of writing. The
    characters of ``keep`` stay.
    """
    return "".join(c if c.isprintable() or c in keep else ascii(c)[1:-1] for c in text)


def first_line(error: BaseException) -> str:
    """Return the first line that an error says, or its kind where it says nothing."""
    return one_line((str(error).strip() or type(error).__name__).splitlines()[0])
