"""Standard output and standard error of a command: no loss of their reader ends its work.

Standard error is the display. Standard output is the result: a command ends with exit code 3 if it
could not write that, unless the reader has left because it had enough, as ``head -1`` does.
"""

import io
import os
import select
import sys
from typing import IO, Any, TextIO, cast

from pipeline.core.errors import RetryableError

_PATIENCE_S = 10.0
"""Seconds that the display waits for a reader that reads nothing; from then on it waits no more."""
_GAP = b"\n[bngan left out output that nobody read]\n"


class _Unbreakable(io.FileIO):
    """A descriptor to which every write succeeds; the bytes of failed writes are dropped.

    Attributes:
        lost: the first error of a write.
        patience: seconds to wait until the reader takes bytes; None waits for ever.
    """

    def __init__(self, descriptor: int, patience: float | None) -> None:
        super().__init__(descriptor, "wb", closefd=False)
        self.lost: OSError | None = None
        self.patience = patience
        self._stuck = False

    def write(self, data: Any) -> int:
        """Write all of ``data``, or drop the rest of it; return its size either way."""
        rest = memoryview(data).cast("B")
        size = len(rest)
        try:
            while rest and self._is_ready():
                if self._stuck:
                    self._stuck = False
                    super().write(_GAP)
                    continue  # it has taken room, and a write beyond the room would wait
                rest = rest[super().write(rest[: select.PIPE_BUF]) or 0 :]
        except (OSError, ValueError) as error:  # ValueError: somebody closed the stream
            self.lost = self.lost or (error if isinstance(error, OSError) else OSError(str(error)))
        return size

    def _is_ready(self) -> bool:
        """Return whether the descriptor takes ``PIPE_BUF`` bytes; wait for that with patience."""
        if self.patience is None and os.get_blocking(self.fileno()):
            return True
        poll = select.poll()
        poll.register(self, select.POLLOUT)
        patience = 0.0 if self._stuck else self.patience
        ready = bool(poll.poll(None if patience is None else patience * 1000))
        self._stuck = self._stuck or not ready
        return ready


def install() -> None:
    """Replace ``sys.stdout`` and ``sys.stderr``, and fill descriptors below 3 that are closed.

    Otherwise the next file that is opened, such as a database, would get the number of standard
    error, and with it what libraries and other processes print there.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # Nobody misses the display. A result is lost: a descriptor that reads refuses it.
            mode = os.O_WRONLY if descriptor == 2 else os.O_RDONLY
            os.set_inheritable(os.open(os.devnull, mode), True)  # takes the lowest free number
    sys.stdout = _stream(sys.stdout, 1, None)
    sys.stderr = _stream(sys.stderr, 2, _PATIENCE_S)


def _stream(before: TextIO | None, descriptor: int, patience: float | None) -> TextIO:
    if before is not None and not isinstance(before, io.TextIOWrapper):
        return before  # the caller's own, as in a notebook
    raw = _Unbreakable(descriptor, patience)
    unbuffered = before is not None and before.write_through  # PYTHONUNBUFFERED
    return io.TextIOWrapper(
        cast(IO[bytes], raw) if unbuffered else io.BufferedWriter(raw),
        encoding=before.encoding if before else "utf-8",
        errors="backslashreplace",  # a terminal that lacks a character must not end a run
        line_buffering=before.line_buffering if before else True,
        write_through=unbuffered,
    )


def lost_result() -> OSError | None:
    """Return the error that kept standard output from its reader; None if there is none."""
    if sys.stdout is None:
        return None
    sys.stdout.flush()
    buffer = getattr(sys.stdout, "buffer", None)
    raw = getattr(buffer, "raw", buffer)
    return raw.lost if isinstance(raw, _Unbreakable) else None


def show(text: str) -> None:
    """Write a part of a long result to standard output.

    Raises:
        BrokenPipeError: if the reader has left, so that nobody reads the rest.
    """
    sys.stdout.write(text)
    sys.stdout.flush()
    if isinstance(error := lost_result(), BrokenPipeError):
        raise error


def write_result(descriptor: int, text: str) -> None:
    """Write a result to a descriptor; do nothing if its reader has left.

    Raises:
        RetryableError: if the result cannot be written.
    """
    try:
        with open(descriptor, "w", encoding="utf-8", closefd=False) as out:
            out.write(text)
    except OSError as error:
        raise_if_missed(error)


def raise_if_missed(error: OSError | None) -> None:
    """Raise ``RetryableError`` if an error kept a result from a reader who still waits for it."""
    if error is not None and not isinstance(error, BrokenPipeError):
        reason = error.strerror or error
        raise RetryableError(
            f"standard output cannot be written ({reason}): the result is lost; give the same command "
            "another place for it"
        )
