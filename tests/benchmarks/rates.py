"""Rates that are measured side by side, and the table that they make.

On a machine that others use as well, an absolute rate says little, and a ratio of two that were
measured one after the other not much more. Here those that are compared take turns, in CPU time of the
process where one thread does the work, and the median of each is told.
"""

import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

import torch

Work = Callable[[], float]
"""Does a piece of work, and returns how much it was: images, say."""


@dataclass
class Row:
    """One line of the table: ours, and what it is compared with."""

    what: str
    ours: float
    unit: str
    beside: str = ""
    """Name of the other."""
    theirs: float | None = None
    least: float | None = None
    """What is aimed at: of the ratio, or of ours where there is nothing to compare it with."""
    most: float | None = None

    @property
    def ratio(self) -> float | None:
        """Ours by theirs."""
        return self.ours / self.theirs if self.theirs else None

    @property
    def reached(self) -> bool | None:
        """Whether what is aimed at is there; None where nothing is."""
        value = self.ours if self.ratio is None else self.ratio
        if self.least is None and self.most is None:
            return None
        return (self.least is None or value >= self.least) and (
            self.most is None or value <= self.most
        )

    @property
    def target(self) -> str:
        """What is aimed at, in words."""
        limits = (("≥", self.least), ("≤", self.most))
        return " and ".join(f"{s} {_number(v)}" for s, v in limits if v is not None)


def rates(
    works: Mapping[str, Work],
    rounds: int = 7,
    clock: Callable[[], float] = time.process_time,
    others: Mapping[str, Work] = MappingProxyType({}),
) -> dict[str, float]:
    """Median rate of each, in its unit per second, of turns that alternate after one to warm up.

    ``others`` work in processes of their own, and return the rate that these have measured.
    """
    found: dict[str, list[float]] = {name: [] for name in (*works, *others)}
    for turn in range(rounds + 1):
        for name, work in works.items():
            started = clock()
            amount = work()
            if turn:
                found[name].append(amount / (clock() - started))
        for name, measured in others.items():
            rate = measured()
            if turn:
                found[name].append(rate)
    return {name: statistics.median(values) for name, values in found.items()}


def machine() -> str:
    """What the figures were measured on, in words."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if platform.system() == "Linux" else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    processor = names[0] if names else platform.processor()
    return f"{processor}, {len(names)} cores, torch {torch.__version__}"


def occasion() -> dict[str, str]:
    """Today, and the machine."""
    return {"date": datetime.now(UTC).date().isoformat(), "machine": machine()}


def table(rows: Sequence[Row]) -> str:
    """Markdown."""
    lines = ["| what | ours | beside | ratio | target |", "| --- | --- | --- | --- | --- |"]
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.2f} ×"
        beside = "" if row.theirs is None else f"{row.beside}: {_number(row.theirs)}"
        verdict = {None: "", True: " ✓", False: " (not reached)"}[row.reached]
        ours = f"{_number(row.ours)} {row.unit}"
        lines.append(f"| {row.what} | {ours} | {beside} | {ratio} | {row.target}{verdict} |")
    return "\n".join(lines)


def save(rows: Sequence[Row], path: Path) -> None:
    """JSON: the rows, the date and the machine."""
    told = [{**asdict(row), "ratio": row.ratio, "reached": row.reached} for row in rows]
    found = occasion() | {"rows": told}
    path.write_text(json.dumps(found, indent=2) + "\n")


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
