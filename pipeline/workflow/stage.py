"""What a stage is: a function from inputs and configuration to files, and what it may call."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pipeline.config.schema import Config
from pipeline.storage.workspace import Workspace

Summary = dict[str, Any]
"""A stage's result in JSON values; ``note`` is what a person is told."""


class StageEvents(Protocol):
    """What a running stage can tell the world. Implementations log, draw, or ignore it."""

    def progress(self, done: int, total: int, note: str = "") -> None:
        """``done`` of ``total`` units of work are done."""

    def message(self, text: str) -> None:
        """A line that a person should read."""

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Numbers at a point of training, ``step`` in images."""

    def tag(self, name: str, value: str) -> None:
        """Something to find the run by."""

    def artifact(self, name: str, content: bytes) -> None:
        """A file worth keeping with the run, such as ``samples/000040000.png``."""


@dataclass(frozen=True)
class StageContext:
    """What a stage is given.

    Attributes:
        config: the whole configuration; a stage reads only what it declares.
        inputs: output folders of the stages it declares, by name.
        input_digests: what is in them, as digests.
        output: an empty folder; what is in it when the stage returns is its result.
        storage: the workspace, for state that outlives one attempt, such as training checkpoints.
        run_id: the MLflow run of this stage.
        events: progress, messages, metrics and pictures.
        allow_mismatch: go on with what other code or other versions have begun.
    """

    config: Config
    inputs: Mapping[str, Path]
    input_digests: Mapping[str, str]
    output: Path
    storage: Workspace
    run_id: str
    fingerprint: str
    events: StageEvents
    allow_mismatch: bool = False

    @property
    def workspace(self) -> Path:
        """The workspace's folder on this machine."""
        return self.storage.local


@dataclass(frozen=True)
class Stage:
    """A step of the workflow.

    Attributes:
        run: does the work and returns a summary (JSON values).
        config: configuration keys it depends on, sections or single values.
        inputs: patterns of the files it reads, by the stage that wrote them.
        libraries: distributions whose version counts as code.
        modules: modules that it hands on without importing them.
        external: identity of what it reads from outside the workspace, if anything.
        refresh: the summary of an earlier run brought up to date with what is outside the workspace;
            raises ``LookupError`` with the reason if what the run made there is gone.
        retries: how often it is tried again if something outside fails it.
        dataset: name of the dataset that it writes, from its summary; MLflow lists it as an input of
            the stages that read it.
        run_metrics: numbers in its summary that describe the whole run.
        uses: names of folders outside ``stages`` that its summary refers to; cleanup keeps them.
    """

    name: str
    run: Callable[[StageContext], Summary]
    config: tuple[str, ...]
    inputs: Mapping[str, tuple[str, ...]]
    libraries: tuple[str, ...] = ("numpy", "torch")
    modules: tuple[str, ...] = ()
    external: Callable[[Config], str] | None = None
    refresh: Callable[[Path, Summary], Summary] = lambda workspace, summary: summary
    retries: int = 0
    dataset: Callable[[Config, Summary], str] | None = None
    run_metrics: Callable[[Summary], Mapping[str, float]] = lambda summary: {}
    uses: Callable[[Summary], Mapping[str, str]] = lambda summary: {}
