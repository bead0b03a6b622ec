"""What was found, row by row, and the time that is left for more."""

import gc
import json
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import torch

Values = dict[str, Any]
_Choice = TypeVar("_Choice")
_LONG = 2.0
"""Seconds of a row after which it is worth while to look for memory that it has left."""
_GRACE = 3.0
"""Seconds that a row may take beyond its part's end."""


class OutOfTime(Exception):
    """Ends a row that takes too long."""


@dataclass
class Row:
    """One line of the table."""

    part: str
    what: str
    verdict: str
    values: Values
    """Figures by name, or words."""


class Session:
    """Rows that are on disk as soon as they are found, and deadlines.

    Args:
        out: folder for ``gpu.json`` and ``gpu.md``.
        minutes: for all parts together.
        dry: whether sizes are tiny, and nothing is to be learned.
        about: what the figures were measured on, and how.
    """

    def __init__(
        self, out: Path, minutes: float, device: torch.device, dry: bool, about: Values
    ) -> None:
        self.out, self.device, self.dry, self.about = out, device, dry, about
        self.rows: list[Row] = []
        self.part, self.parts = "", list[str]()
        self._start, self._whole = time.monotonic(), 60 * minutes
        self._share, self._end = 0.0, self._start
        out.mkdir(parents=True, exist_ok=True)
        signal.signal(signal.SIGALRM, _ring)

    def begin(self, part: str, share: float) -> None:
        """Begin a part; what those before it have left of their shares is its own, too."""
        self.part, self._share = part, self._share + share
        self._end = self._start + self._share * self._whole
        self.parts.append(part)
        print(f"\n## {part} ({self.left():.0f} s)", flush=True)

    def left(self) -> float:
        """Return the seconds that this part has left."""
        return self._end - time.monotonic()

    def spent(self) -> float:
        """Return the seconds since the beginning."""
        return time.monotonic() - self._start

    def choose(self, real: _Choice, dry: _Choice) -> _Choice:
        """Return the first in earnest and the second in a dry run."""
        return dry if self.dry else real

    def attempt(self, what: str, work: Callable[[], Values | None], needs: float = 1.0) -> None:
        """Make a row of what ``work`` returns or raises, unless time is up.

        Args:
            work: returns figures, with ``ok`` where they are judged; None if it has made rows.
            needs: seconds without which it is not begun.
        """
        if self.left() < needs:
            self.add(what, {}, f"skipped: {max(self.left(), 0):.0f} s are left")
            return
        began = time.monotonic()
        try:
            with _limited(self.left() + _GRACE):
                found = work()
        except Exception as error:
            self.add(what, {"seconds": time.monotonic() - began}, failure(error))
        else:
            if found is not None:
                self.add(what, found)
        finally:
            if time.monotonic() - began > _LONG:
                gc.collect()
                if self.device.type == "cuda":
                    _quietly(torch.cuda.empty_cache)

    def add(self, what: str, values: Mapping[str, Any], verdict: str | None = None) -> None:
        """Add a row, print it and write everything anew."""
        values = dict(values)
        if verdict is None:
            verdict = {None: "measured", True: "ok", False: "not ok"}[values.pop("ok", None)]
        row = Row(self.part, what, verdict, values)
        self.rows.append(row)
        print(f"{self.spent():6.1f} s  {what}: {verdict}; {described(values)}", flush=True)
        self.write()

    def write(self) -> None:
        """Write both files."""
        told = {
            **self.about,
            "seconds": round(self.spent(), 1),
            "parts": self.parts,
            "rows": [asdict(row) for row in self.rows],
        }
        _replace(self.out / "gpu.json", json.dumps(told, indent=1, default=str) + "\n")
        _replace(self.out / "gpu.md", _table(self.about, self.rows))


def failure(error: BaseException) -> str:
    """Say what an error says first, and its kind."""
    lines = str(error).strip().splitlines() or [""]
    return f"failed: {type(error).__name__}: {lines[0][:300]}"


def guarded(name: str, work: Callable[[], Values]) -> Values:
    """Return what ``work`` returns, or its failure as the value of ``name``."""
    try:
        return work()
    except OutOfTime:
        raise
    except Exception as error:
        return {name: failure(error)}


def described(values: Mapping[str, Any]) -> str:
    """Return figures in words; what is nested is for the JSON file alone."""
    flat = {name: value for name, value in values.items() if not isinstance(value, dict | list)}
    return "; ".join(f"{name} {_number(value)}" for name, value in flat.items())


def _number(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.4g}"


def _table(about: Mapping[str, Any], rows: list[Row]) -> str:
    head = [f"{name}: {value}  " for name, value in about.items()]
    lines = [*head, "", "| part | what | verdict | figures |", "| --- | --- | --- | --- |"]
    for row in rows:
        cells = row.part, row.what, row.verdict, described(row.values)
        lines.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _replace(path: Path, text: str) -> None:
    draft = path.with_suffix(path.suffix + ".part")
    draft.write_text(text)
    draft.replace(path)


def _quietly(work: Callable[[], Any]) -> None:
    """Run ``work``; after an error of the device even this may fail."""
    try:
        work()
    except Exception as error:
        print(failure(error), flush=True)


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raise ``OutOfTime`` inside after so many seconds."""
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.1))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _ring(number: int, frame: FrameType | None) -> None:
    raise OutOfTime("the part's time is up")
