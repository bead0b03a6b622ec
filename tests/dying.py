"""Databases that die at one of their writes, as those of a killed process do."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine

_WRITES = ("INSERT", "UPDATE", "DELETE", "REPLACE")


class Died(BaseException):
    """Stand for the end of a process: no code of ours catches it."""


class Connections:
    """Count the writes of all databases; from number ``last`` on, nothing gets through.

    Attributes:
        writes: how many statements that write have begun.
    """

    def __init__(self, last: int | None) -> None:
        self.last, self.writes = last, 0

    def begin(self, connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        """Raise ``Died`` at the statement that nothing gets through from."""
        self.writes += statement.lstrip().upper().startswith(_WRITES)
        self._live()

    def commit(self, connection: Any) -> None:
        """Raise ``Died`` in place of a commit after the end."""
        self._live()

    def _live(self) -> None:
        if self.last is not None and self.writes >= self.last:
            raise Died


@contextmanager
def dying(at: int | None = None) -> Iterator[Connections]:
    """Let databases die at write number ``at``, counted from 1; None: only count the writes."""
    connections = Connections(at)
    listeners = {"before_cursor_execute": connections.begin, "commit": connections.commit}
    for name, listener in listeners.items():
        event.listen(Engine, name, listener)
    try:
        yield connections
    finally:
        for name, listener in listeners.items():
            event.remove(Engine, name, listener)
