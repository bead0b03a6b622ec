"""Decisions about stages, their results, and the interface that displays a run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from pipeline.workflow.fingerprint import Fingerprint
from pipeline.workflow.stage import Summary

Status = Literal["ran", "cached", "failed", "interrupted"]


@dataclass
class Decision:
    """The decision to run a stage or to reuse its outputs (a hit), with the reason.

    ``fingerprint`` is None while inputs are missing; ``summary`` is that of a hit.
    """

    stage: str
    hit: bool
    reason: str
    fingerprint: Fingerprint | None = None
    summary: Summary | None = None


@dataclass
class StageResult:
    """The result of a stage in one run."""

    status: Status
    seconds: float
    reason: str
    note: str = ""


@dataclass
class RunResult:
    """The result of ``run``; each stage made its own entry of ``summaries``."""

    run_id: str
    stages: dict[str, StageResult]
    summaries: dict[str, Summary]
    folders: dict[str, Path]


class StageFailed(Exception):
    """A stage raised ``cause``; ``result`` has the stages of the run so far."""

    def __init__(self, result: RunResult, cause: Exception) -> None:
        super().__init__(str(cause))
        self.result, self.cause = result, cause


class Display(Protocol):
    """The interface that shows a run to the user."""

    def stage_started(self, decision: Decision) -> None:
        """Show that a stage will run now, or is a hit."""

    def stage_ended(self, stage: str, result: StageResult) -> None:
        """Show that a stage is over."""

    def message(self, text: str) -> None:
        """Show a line to the user."""

    def progress(self, stage: str, done: int, total: int, note: str) -> None:
        """Show that ``done`` of ``total`` units of a stage's work are done."""
