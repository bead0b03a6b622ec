"""The interface of a stage: a function from inputs and configuration to files."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config.schema import Config
from pipeline.storage.workspace import Workspace

Summary = dict[str, Any]
"""A stage's result in JSON values; ``note`` is a line for the user."""


@dataclass(frozen=True)
class StageEvents:
    """Functions that take the reports of a running stage.

    Attributes:
        progress: takes units of work done, units in total, and a note.
        message: takes a line for the user.
        metrics: takes numbers at a point of training, and the point in images.
        tags: takes tags that help to find the run.
        artifact: takes name and content of a file, such as ``samples/000040000.png``.
    """

    progress: Callable[[int, int, str], None]
    message: Callable[[str], None]
    metrics: Callable[[Mapping[str, float], int], None]
    tags: Callable[[Mapping[str, str]], None]
    artifact: Callable[[str, bytes], None]


@dataclass(frozen=True)
class StageContext:
    """The arguments of a stage.

    Attributes:
        config: the whole configuration; a stage reads only the keys that it declares.
        inputs: output folders of the stages that it declares, by name.
        input_digests: digests of the inputs, by name.
        output: an empty folder; its content at the end of the stage is the result.
        storage: the workspace, for state that outlives one attempt, such as training checkpoints.
        run_id: the MLflow run of this stage.
        events: receives progress, messages, metrics and pictures.
        allow_mismatch: whether to continue work that other code or other versions began.
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


@dataclass(frozen=True)
class Stage:
    """A step of the workflow.

    Attributes:
        run: does the work and returns a summary (JSON values).
        config: configuration keys that the stage depends on, sections or single values.
        inputs: patterns of the files that the stage reads, by the stage that wrote them.
        libraries: distributions whose versions count as code.
        modules: modules that the stage hands on without importing them.
        external: returns the identity of data from outside the workspace, if the stage reads any.
        refresh: updates an earlier run's summary to the present state outside the workspace; raises
            ``LookupError`` with the reason if a product of the run there is gone.
        retries: how often the stage is tried again after an error from outside.
        dataset: returns the name of the dataset that the stage writes, from its summary; MLflow
            lists the dataset as an input of the stages that read it.
        run_metrics: returns numbers of the summary that describe the whole run.
        uses: returns names of folders outside ``stages`` that the summary refers to; cleanup keeps
            these folders.
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
