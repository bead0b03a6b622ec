"""Read the rule by which images belong together: a folder, a column, or a part of their names."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

from bngan.serialization.problem import one_line


@dataclass(frozen=True)
class GroupRule:
    """Rule that gives images their groups.

    Attributes:
        kind: folder: a folder above the image names its group. column: a column does. name: a part of
            the image's name does.
        value: level of the folder, counted as ``class_level`` of ``layout.arrange``; name of the
            column; or a regular expression.
    """

    kind: Literal["folder", "column", "name"]
    value: str

    @classmethod
    def parse(cls, text: str) -> "GroupRule":
        """Read ``folder:LEVEL``, ``column:NAME`` or ``name:REGEX``.

        Raises:
            ValueError: if the text has no such form; the message follows a key's name.
        """
        kind, _, value = text.partition(":")
        if kind not in ("folder", "column", "name") or not value:
            raise ValueError(f"must be folder:LEVEL, column:NAME or name:REGEX, got {text}")
        if kind == "folder" and not re.fullmatch("[1-9][0-9]{0,8}", value):
            raise ValueError(f"must be folder:1 or a higher level, got {text}")
        try:
            found = re.compile(value if kind == "name" else "").groups
        except (re.error, OverflowError, RecursionError) as error:
            message = f"must have a regular expression, and {value} is none: {one_line(error)}"
            raise ValueError(message) from error
        if found > 1:
            raise ValueError(
                f"must have one pair of parentheses, not {found}, in {value}: (?:...) only brackets"
            )
        return cls(cast(Literal["folder", "column", "name"], kind), value)

    def of_file(self, name: str, folders: Sequence[str] = ()) -> str | None:
        """Return the group that an image's name gives it; None if it gives none.

        Args:
            name: path of the image's file, relative to the data, with ``/``.
            folders: names of the folders that levels count, from the top.
        """
        if self.kind == "folder":
            return next(iter(folders[int(self.value) - 1 :]), None)
        match = re.search(self.value, name) if self.kind == "name" else None
        return match and match[1 if match.re.groups else 0]


def no_column(where: str, column: str, names: Sequence[str]) -> ValueError:
    """Return the error that there is no column with the groups; ``names`` are the columns there."""
    columns = one_line(", ".join(names)) or "none"
    return ValueError(f"{where} has no column '{column}', which data.group names: it has {columns}")
