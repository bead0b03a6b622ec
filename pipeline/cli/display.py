"""What a person sees during a run: on standard error, drawn on a terminal, plain lines elsewhere."""

import shlex
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from bngan.metrics.features import ExtractorInfo
from bngan.serialization.problem import visible
from pipeline.core.uris import REGISTERED, redact_uri
from pipeline.reports.gate_report import VETOES, space_rows
from pipeline.reports.in_words import in_words
from pipeline.reports.page import readable
from pipeline.reports.tables import LABELS, score_rows, warnings
from pipeline.storage.artifacts import GATE_REPORT, REPORT, SAMPLE_GRID
from pipeline.storage.workspace import Workspace
from pipeline.tracking.runs import RunState
from pipeline.tracking.tracker import tracking_uri
from pipeline.training.equivalence_check import LIMIT, Difference
from pipeline.workflow.cleanup import Item
from pipeline.workflow.results import Decision, RunResult, StageResult

if TYPE_CHECKING:  # MLflow takes seconds to import
    from pipeline.evaluation.comparison import VersionComparison
    from pipeline.registry.aliases import Verdict

_PLAIN_INTERVAL = 10.0
_MARKS = {
    "ran": "[green]done[/]",
    "cached": "[cyan]cached[/]",
    "failed": "[red]failed[/]",
    "interrupted": "[yellow]interrupted[/]",
}

_KINDS = {"mlflow": "MLflow"}


class ConsoleDisplay:
    """Stages as they start and end, and a progress bar with time left."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bar: Progress | None = None
        self.spoken = 0.0
        self.origin: tuple[float, int] | None = None

    def stage_started(self, decision: Decision) -> None:
        """Announce a stage that will run; hits are told at their end."""
        self.spoken, self.origin = time.monotonic(), None
        if not decision.hit:
            self._print(f"[bold]{decision.stage:<10}[/] {escape(decision.reason)}")

    def progress(self, stage: str, done: int, total: int, note: str) -> None:
        """Move the bar, or say a line every ten seconds where there is no terminal."""
        note = visible(note)  # rich formats it past the console
        if not self.console.is_terminal:
            self._say(done, total, note)
            return
        if self.bar is None:
            self.bar = Progress(
                TextColumn("{task.description:<10}", markup=False),
                BarColumn(24),
                TextColumn("{task.percentage:>3.0f}% {task.fields[note]}", markup=False),
                TimeRemainingColumn(),
                console=self.console,
                transient=True,
            )
            self.bar.add_task(stage, total=total, note=note)
            self.bar.start()
        self.bar.update(self.bar.task_ids[0], completed=done, total=total, note=note)

    def message(self, text: str) -> None:
        """Say a line above the bar."""
        self._print(f"{'':<10} {escape(text)}")

    def _say(self, done: int, total: int, note: str) -> None:
        now = time.monotonic()
        if self.origin is None and done:
            self.origin = (now, done)
        if now - self.spoken < _PLAIN_INTERVAL:
            return
        self.spoken = now
        line = f"{'':<10} {done:,}/{total:,} {note}"
        if self.origin and done > self.origin[1]:
            since, before = self.origin
            line += f" | {(now - since) * (total - done) / (done - before):,.0f} s left"
        self._print(escape(line))

    def _print(self, markup: str) -> None:
        self.console.print(markup, highlight=False, soft_wrap=True)

    def stage_ended(self, stage: str, result: StageResult) -> None:
        """Say how a stage ended and how long it took."""
        self.close()
        detail = f"{result.reason}; {result.note}" if result.status == "cached" else result.note
        took = f"{_MARKS[result.status]} in {result.seconds:.1f} s"
        self._print(f"[bold]{stage:<10}[/] {took}  {escape(detail)}".rstrip())

    def close(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.stop()
        self.bar = None


def print_plan(console: Console, decisions: list[Decision]) -> None:
    """What will happen, and why; a stage whose inputs are not there yet may still be a hit."""
    for decision in decisions:
        action = "[cyan]cached[/] " if decision.hit else "[yellow]run[/]    "
        if decision.fingerprint is None:
            action = "[yellow]depends[/]"
        line = f"[bold]{decision.stage:<10}[/] {action} {escape(decision.reason)}"
        console.print(line, highlight=False, soft_wrap=True)


def print_differences(console: Console, differences: list[Difference], workers: str) -> None:
    """What one step on several workers makes different from one process, and the verdict."""
    table = Table("after one step", "float64", "float32, relative", "largest at", box=None)
    for d in differences:
        table.add_row(d.part, f"{d.exact:.1e}", f"{d.relative:.1e}", escape(d.where))
    console.print(table)
    worst = max(d.exact for d in differences)
    colour, negation = ("green", "") if worst <= LIMIT else ("red", "do not ")
    verdict = f"[{colour}]{workers} {negation}train what one process trains[/]"
    summary = f"{verdict}: largest difference {worst:.1e} in float64, limit {LIMIT:.0e}"
    console.print(summary, highlight=False, soft_wrap=True)


def print_summary(console: Console, result: RunResult, storage: Workspace) -> None:
    """Scores beside what real images score, where things are, and what can be done next."""
    record, model = result.summaries["evaluate"], result.summaries["register"]
    folder = result.folders["evaluate"]
    print_scores(console, record)
    uri = redact_uri(tracking_uri(storage.local))
    for name, text in {
        "samples": folder / SAMPLE_GRID,
        "report": folder / REPORT,
        "gate": result.folders["register"] / GATE_REPORT,
        "model": f"{model['name']} version {model['version']}, {model['alias'] or 'no alias'}",
        "sample it": shlex.join(
            ("bngan", "sample", model["uri"], "--workspace", storage.workspace, "-o", "grid.png")
        ),
        "look around": uri
        if uri.startswith("http")
        else shlex.join(("mlflow", "ui", "--backend-store-uri", uri)),
    }.items():
        _line(console, name, text)


def print_scores(console: Console, record: Mapping[str, Any]) -> None:
    """A record of scores, what measured them, and what to know before trusting them."""
    scores = Table("score", "generator", "95 % interval", "real images", box=None)
    for row in score_rows(record):
        scores.add_row(*row)
    console.print("", *in_words(record), scores, sep="\n", highlight=False)
    for note in warnings(record):
        console.print(f"[yellow]{escape(note)}[/]")
    extractor = ExtractorInfo(**record["extractor"])
    _line(console, "measured by", f"{record['protocol']['name']}, {extractor.describe()}")


def print_comparison(console: Console, names: tuple[str, str], found: "VersionComparison") -> None:
    """Two generators' scores, the intervals of their differences, a verdict on each, and notes."""
    table = Table("score", "first", "second", "difference, 95 %", "better", box=None)
    for name, pair in found.scores.items():
        interval = f"{readable(pair.low)} to {readable(pair.high)}"
        verdict = "" if pair.verdict == "neither" else pair.verdict
        table.add_row(LABELS[name], readable(pair.first), readable(pair.second), interval, verdict)
    console.print("", table)
    for name, text in zip(("first", "second"), names, strict=True):
        _line(console, name, text)
    measured = f"{found.protocol.name}, on the first one's real images and features"
    _line(console, "measured by", measured)
    for note in found.overlap.lines():
        console.print(f"[yellow]{escape(note)}.[/]", highlight=False, soft_wrap=True)
    if all(pair.verdict == "neither" for pair in found.scores.values()):
        console.print("[yellow]No difference beyond chance.[/]")
    _print_gate(console, found.gate)


def _print_gate(console: Console, gate: "Verdict | None") -> None:
    """Print both spaces and all vetoes of a comparison."""
    if gate is None:
        console.print(
            "[yellow]The gate needs the first version's prepared data, which are gone.[/]"
        )
        return
    table = Table("what the gate sees", "first", "second", "upper bound", "must be below", box=None)
    for name, *values in space_rows(gate.details):
        first, second, _, bound, limit = map(readable, values)
        table.add_row(name, first, second, bound, limit)
    console.print("", table)
    table = Table("veto", "first", "against", "loss", "margin", "worse", box=None)
    for name, veto in gate.details["vetoes"].items():
        numbers = (readable(veto[key]) for key in ("candidate", "against", "loss", "margin"))
        table.add_row(VETOES[name], *numbers, "yes" if veto["worse"] else "no")
    console.print("", table)
    _line(console, "the gate", f"{gate.reason}; it takes more draws where one does not decide")


def print_seen(console: Console, found: Mapping[str, Any]) -> None:
    """Print the versions that have seen each image, and those of which that is not known."""
    total = found["versions"] - len(found["not_known"])
    for name, versions in found["images"].items():
        parts = [f"{uri} ({', '.join(splits)})" for uri, splits in versions.items()]
        none = f"none of {total} versions has this file or its pixels"
        print_lines(console, f"{name}: {', '.join(parts) or none}")
    lines = [
        *(
            f"bngan cannot tell what {uri} has seen: {why}"
            for uri, why in found["not_known"].items()
        ),
        *(f"bngan cannot tell what the base of {uri} has seen" for uri in found["base_not_known"]),
    ]
    for line in lines:
        console.print(f"[yellow]{escape(line)}[/]", highlight=False, soft_wrap=True)


def print_states(console: Console, states: Sequence[RunState]) -> None:
    """Two lines for each run: what became of it, and of its stages."""
    for state in states:
        facts = f"{state.started}, {state.seconds:,.0f} s, {state.process}"
        _line(console, state.run_id[:8], f"{state.experiment} {state.state}: {facts}")
        _line(console, "", ", ".join(f"{name} {what}" for name, what in state.stages.items()))
    if not states:
        console.print("no runs")


def print_status(console: Console, states: Sequence[RunState], sizes: Mapping[str, int]) -> None:
    """The states of runs, and the size of their workspace by kind."""
    print_states(console, states)
    parts = ", ".join(f"{_KINDS.get(kind, kind)} {megabytes(n)}" for kind, n in sizes.items())
    _line(console, "workspace", f"{megabytes(sum(sizes.values()))}: {parts}")


def megabytes(size: int) -> str:
    """Bytes as text, in millions."""
    return f"{size / 1e6:,.1f} MB"


def print_items(
    console: Console, items: Sequence[Item], others: Sequence[Item], deleted: bool, which: str
) -> None:
    """A line for each folder or version that may go or is gone, or goes by name only; and the sum.

    ``which`` says in words which they are; if it is empty, no run refers to them.
    """
    for item in others:
        print_lines(console, f"{megabytes(item.bytes):>13}  {item.path}  stays, {item.reason}")
    for item in items:
        days = (datetime.now(UTC) - datetime.fromisoformat(item.written)).days
        why = f"  {days} days old, {item.reason}" if which else ""
        print_lines(console, f"{megabytes(item.bytes):>13}  {item.path}{why}")
    versions = sum(item.path.startswith(REGISTERED) for item in items)
    counts = f"{len(items) - versions} folders" + (f", {versions} versions" if versions else "")
    done = "removed" if deleted else f"{which or 'no run refers to'}; --delete removes them"
    print_lines(console, f"{counts}, {megabytes(sum(item.bytes for item in items))}: {done}")
    if others:
        print_lines(console, "What stays goes by name only: bngan gc --delete FOLDER...")


def print_versions(console: Console, versions: Sequence[Mapping[str, Any]]) -> None:
    """Two or three lines for each registered version: what it is, why, and its classes."""
    for version in versions:
        named, fid = ", ".join(version["aliases"]) or "no alias", version["fid"]
        score = "" if fid is None else f", FID {readable(fid)} by {version['protocol']}"
        _line(console, f"{version['name']} {version['version']}", f"{named}{score}")
        _line(console, "", version["reason"] or "")
        if version["classes"]:
            _line(console, "", f"by class: {version['classes']}")
    if not versions:
        console.print("no models")


def print_lines(console: Console, *lines: str) -> None:
    """Print each line as it is: no markup, and no characters that a terminal obeys."""
    for line in lines:
        console.print(escape(line), highlight=False, soft_wrap=True)


def _line(console: Console, name: str, text: object) -> None:
    console.print(f"[bold]{name:<12}[/] {escape(str(text))}", highlight=False, soft_wrap=True)
