"""Order, plan and execution of the five stages. State lives in MLflow and in verified folders.

A stage is a hit if a FINISHED run with its fingerprint exists and its outputs verify against their
manifest. Every other stage runs, and the decision has the reason.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from bngan.serialization.manifest import atomic_folder, read_manifest
from pipeline.cluster.working_dir import require_unchanged_code
from pipeline.config.loader import to_yaml
from pipeline.config.parser import flatten
from pipeline.config.schema import Config
from pipeline.core.errors import ServerUnavailableError, UserError, root_cause_line
from pipeline.core.lock import exclusive_lock
from pipeline.core.uris import redact
from pipeline.storage.stores import record_use
from pipeline.storage.upkeep import in_use
from pipeline.storage.workspace import Workspace
from pipeline.tracking.async_tracker import AsyncTracker
from pipeline.tracking.runs import invocation, reap, run_lifecycle
from pipeline.tracking.tracker import PIPELINE, USES, Tracker, open_store
from pipeline.workflow.fingerprint import (
    Fingerprint,
    fingerprint,
    outputs_name,
    recorded_fingerprint,
    stage_tags,
)
from pipeline.workflow.measure import with_measure
from pipeline.workflow.results import Decision, Display, RunResult, StageFailed, StageResult
from pipeline.workflow.split_law import with_split_law
from pipeline.workflow.stage import Stage, StageContext, StageEvents, Summary
from pipeline.workflow.stages import evaluate, prepare, reference, register, train

STAGES = (prepare.STAGE, reference.STAGE, train.STAGE, evaluate.STAGE, register.STAGE)
"""The stages, in the order in which they run."""
_PAUSE_S = 5.0
"""Seconds before a stage is tried again; they grow by as many with each try."""


def plan(config: Config) -> list[Decision]:
    """Return for every stage: hit or run, and why. Write nothing but an empty MLflow store."""
    storage = Workspace(config.workspace)
    storage.check_writable()
    tracker = Tracker(storage.local, config.name)
    config = with_split_law(config, tracker.client)
    decisions, folders = list[Decision](), dict[str, Path]()
    for stage in STAGES:
        if waiting := [name for name in stage.inputs if name not in folders]:
            decisions.append(Decision(stage.name, False, f"on what {waiting[0]} gives"))
            continue
        if stage is reference.STAGE:
            config, _ = with_measure(config, folders[prepare.STAGE.name], tracker.client)
        decision = _decide(stage, config, folders, tracker)
        decisions.append(decision)
        if decision.hit and decision.fingerprint:
            folders[stage.name] = _folder(config, stage, decision.fingerprint)
    return decisions


@dataclass(frozen=True)
class Options:
    """Options of a run.

    Attributes:
        start: the first stage that may run; earlier stages must be up to date.
        until: the last stage.
        force: stages that run although nothing has changed.
        allow_mismatch: whether to continue a training that other code or versions began.
    """

    start: str = STAGES[0].name
    until: str = STAGES[-1].name
    force: tuple[str, ...] = ()
    allow_mismatch: bool = False

    def __post_init__(self) -> None:
        known = [stage.name for stage in STAGES]
        for name in (self.start, self.until, *self.force):
            if name not in known:
                raise UserError(f"there is no stage {name}: {', '.join(known)}")
        if known.index(self.start) > known.index(self.until):
            raise UserError(f"from {self.start} to {self.until} there is no stage")
        reached = known[known.index(self.start) : known.index(self.until) + 1]
        if idle := [name for name in self.force if name not in reached]:
            raise UserError(
                f"--force {idle[0]}, but the run goes from {self.start} to {self.until}"
            )


_EVERYTHING = Options()


def run(config: Config, display: Display, options: Options = _EVERYTHING) -> RunResult:
    """Bring the stages of ``options`` up to date, by default all.

    Runs in MLflow are closed as FINISHED, as FAILED, or as KILLED after Ctrl-C or SIGTERM. The next
    run in the workspace closes runs whose process died.

    Raises:
        StageFailed: if a stage raised an exception.
    """
    require_unchanged_code()  # from here on
    storage = Workspace(config.workspace)
    storage.check_writable()
    open_store(storage.local, writes=True)
    with in_use(storage), AsyncTracker(storage.local, config.name, display.message) as tracker:
        for dead in reap(storage.local):
            display.message(f"run {dead.run_id[:8]} of {dead.process} died: closed as KILLED")
        config = with_split_law(config, tracker.client)
        with invocation(tracker, config.name, {"bngan.kind": PIPELINE}) as parent:
            result = RunResult(parent, {}, {}, {})
            current = _Run(config, tracker, result, display, options)
            tracker.params(parent, flatten(asdict(config)))
            tracker.artifact(parent, "config.yaml", to_yaml(config).encode())
            for stage in STAGES:
                if stage is reference.STAGE:
                    current = current.with_measure()
                current.advance(stage)
                if numbers := stage.run_metrics(result.summaries[stage.name]):
                    tracker.metrics(parent, numbers)
                if stage.name == options.until:
                    break
    return result


@dataclass(frozen=True)
class _Run:
    """A run under way; ``result`` is filled in as it advances."""

    config: Config
    tracker: Tracker
    result: RunResult
    display: Display
    options: Options

    def with_measure(self) -> "_Run":
        """Return the run with the kind of features that the model's champion has."""
        prepared = self.result.folders[prepare.STAGE.name]
        config, line = with_measure(self.config, prepared, self.tracker.client)
        if line:
            self.display.message(line)
        return replace(self, config=config)

    def advance(self, stage: Stage) -> None:
        """Find or make the outputs of one stage, and enter the outcome into ``result``."""
        started = time.monotonic()
        outcome = self.result.stages[stage.name] = StageResult("failed", 0.0, "")
        try:
            decision = self._decide(stage)
            outcome.reason = decision.reason
            self.display.stage_started(decision)
            assert decision.fingerprint is not None  # noqa: S101 (tells the type checker)
            folder = _folder(self.config, stage, decision.fingerprint)
            if not decision.hit:
                decision = self._persist(stage, decision, folder)
            summary = decision.summary or Summary()
            outcome.status = "cached" if decision.hit else "ran"
            outcome.note = str(summary.get("note", ""))
            self.result.folders[stage.name] = folder
            self.result.summaries[stage.name] = summary
            uses = {stage.name: folder.name, **stage.uses(summary)}  # bngan gc keeps these folders
            for name, used in uses.items():
                self._record(name, used)
            tags = {f"{USES}{name}": used for name, used in uses.items()}
            self.tracker.tags(self.result.run_id, tags)
        except (KeyboardInterrupt, SystemExit):
            outcome.status = "interrupted"
            raise
        except Exception as error:
            outcome.reason = redact(f"{type(error).__name__}: {error}")
            raise StageFailed(self.result, error) from error
        finally:
            outcome.seconds = time.monotonic() - started
            self.tracker.tags(self.result.run_id, {f"stage.{stage.name}": outcome.status})
            self.display.stage_ended(stage.name, outcome)

    def _decide(self, stage: Stage) -> Decision:
        decision = _decide(stage, self.config, self.result.folders, self.tracker)
        names = [each.name for each in STAGES]
        if stage.name in self.options.force:
            return replace(decision, hit=False, reason="forced", summary=None)
        if not decision.hit and names.index(stage.name) < names.index(self.options.start):
            raise UserError(
                f"{stage.name} is not up to date ({decision.reason}), and the run was to begin with "
                f"{self.options.start}"
            )
        return decision

    def _persist(self, stage: Stage, decision: Decision, folder: Path) -> Decision:
        """Run a stage under its lock, unless another process has run it meanwhile."""
        lock = Workspace(self.config.workspace).local / "locks" / f"{stage.name}-{folder.name}"
        with exclusive_lock(lock, f"{stage.name} of this configuration"):
            if (again := self._decide(stage)).hit:
                return again
            require_unchanged_code()  # the fingerprint is of the files
            assert decision.fingerprint is not None  # noqa: S101 (tells the type checker)
            return replace(decision, summary=self._attempts(stage, decision.fingerprint, folder))

    def _attempts(self, stage: Stage, current: Fingerprint, folder: Path) -> Summary:
        """Run a stage as often as its ``retries`` allow."""
        for attempt in range(1, stage.retries + 1):
            try:
                return self._execute(stage, current, folder)
            except Exception as error:
                if isinstance(error, UserError) and not isinstance(error, ServerUnavailableError):
                    raise
                reason = root_cause_line(error)
                self.display.message(f"attempt {attempt} failed, trying again: {reason}")
                time.sleep(_PAUSE_S * attempt)
        return self._execute(stage, current, folder)

    def _record(self, kind: str, name: str) -> None:
        """Record that the store uses a folder: other stores on this workspace do not know its runs."""
        folder = f"training/{name}" if kind == "training" else f"stages/{kind}/{name}"
        storage = Workspace(self.config.workspace)
        record_use(storage, folder, self.tracker.store, self.tracker.uri)

    def _tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags of a stage's run; a training that they name is used from now on."""
        if name := tags.get("training"):
            self._record("training", name)
        self.tracker.tags(run_id, tags)

    def _execute(self, stage: Stage, current: Fingerprint, folder: Path) -> Summary:
        """Run a stage; its outputs appear as ``folder`` only when all are written."""
        tags, summary = stage_tags(stage.name, current), Summary()
        storage = Workspace(self.config.workspace)
        self._record(stage.name, folder.name)
        run_id = self.tracker.start(stage.name, tags, self.result.run_id)
        events = StageEvents(
            partial(self.display.progress, stage.name),
            self.display.message,
            partial(self.tracker.metrics, run_id),
            partial(self._tag, run_id),
            partial(self.tracker.artifact, run_id),
        )
        with run_lifecycle(self.tracker, run_id):
            self.tracker.params(run_id, current.config)
            for source in STAGES:
                if source.dataset and source.name in stage.inputs:
                    name = source.dataset(self.config, self.result.summaries[source.name])
                    self.tracker.dataset(run_id, name, current.inputs[source.name], stage.name)
            with atomic_folder(folder, summary) as draft:
                context = StageContext(
                    config=self.config,
                    inputs={name: self.result.folders[name] for name in stage.inputs},
                    input_digests=current.inputs,
                    output=draft,
                    storage=storage,
                    run_id=run_id,
                    fingerprint=current.value,
                    events=events,
                    allow_mismatch=self.options.allow_mismatch,
                )
                summary |= stage.run(context)
            storage.publish(outputs_name(stage, current))
        return summary


def _decide(stage: Stage, config: Config, folders: dict[str, Path], tracker: Tracker) -> Decision:
    current = fingerprint(stage, config, folders)
    if known := tracker.finished(stage.name, current.value):
        storage, folder = Workspace(config.workspace), _folder(config, stage, current)
        if problem := storage.damage(outputs_name(stage, current)):
            return Decision(stage.name, False, problem, current)
        try:
            summary = stage.refresh(storage.local, read_manifest(folder)["summary"])
        except LookupError as gone:
            return Decision(stage.name, False, str(gone), current)
        reason = f"unchanged since run {known.info.run_id[:8]}"
        return Decision(stage.name, True, reason, current, summary)
    earlier = tracker.latest(stage.name)
    before = recorded_fingerprint(earlier) if earlier else None
    reason = current.difference(before) if before else "first run"
    return Decision(stage.name, False, reason, current)


def _folder(config: Config, stage: Stage, current: Fingerprint) -> Path:
    return Workspace(config.workspace).local / outputs_name(stage, current)
