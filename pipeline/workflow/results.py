"""What a run decides about its stages, what comes of them, and how a person hears of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from pipeline.workflow.fingerprint import Fingerprint
from pipeline.workflow.stage import Summary

Status = Literal["ran", "cached", "failed", "interrupted"]


@dataclass
class Decision:
    """What will happen to a stage, and why.

    ``fingerprint`` is None while inputs are not there; ``summary`` is that of a hit.
    """

    stage: str
    hit: bool
    reason: str
    fingerprint: Fingerprint | None = None
    summary: Summary | None = None


@dataclass
class StageResult:
    """What happened to a stage."""

    status: Status
    seconds: float
    reason: str
    note: str = ""


@dataclass
class RunResult:
    """What ``run`` did; ``summaries`` are the stages' own."""

    run_id: str
    stages: dict[str, StageResult]
    summaries: dict[str, Summary]
    folders: dict[str, Path]


class StageFailed(Exception):
    """A stage raised ``cause``; ``result`` tells how far the run came."""

    def __init__(self, result: RunResult, cause: Exception) -> None:
        super().__init__(str(cause))
        self.result, self.cause = result, cause


class Display(Protocol):
    """How a person follows a run."""

    def stage_started(self, decision: Decision) -> None:
        """A stage is about to run, or is a hit."""

    def stage_ended(self, stage: str, result: StageResult) -> None:
        """A stage is over."""

    def message(self, text: str) -> None:
        """A line that a person should read."""

    def progress(self, stage: str, done: int, total: int, note: str) -> None:
        """``done`` of ``total`` units of a stage's work are done."""
