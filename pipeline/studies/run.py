"""Run a study: reuse trainings that exist, and store each result at once."""

import io
import json
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, get_args

from bngan.serialization.manifest import digest
from pipeline.cluster import launch as cluster
from pipeline.cluster.address import require_cluster
from pipeline.cluster.working_dir import require_unchanged_code
from pipeline.config.loader import load_config
from pipeline.config.schema import Config
from pipeline.core.lock import exclusive_lock, make_private_dir
from pipeline.storage.upkeep import in_use
from pipeline.storage.workspace import Workspace
from pipeline.studies.design import (
    Measure,
    Point,
    Study,
    Trial,
    is_file,
    main_trials,
    points,
    task_name,
    tuning_trials,
)
from pipeline.studies.effects import declared_effects, effects, robustness, scarce
from pipeline.studies.endpoints import Result, chosen_points, final_score
from pipeline.studies.report import effect_row, finite, render, sentences, table, trial_row
from pipeline.studies.trial import Record, identity, run_trial, settings
from pipeline.tracking.async_tracker import AsyncTracker
from pipeline.tracking.runs import invocation, run_lifecycle
from pipeline.tracking.tracker import open_store
from pipeline.workflow import runner as workflow
from pipeline.workflow.fingerprint import code_below
from pipeline.workflow.results import Display

_LIBRARIES = ("numpy", "scikit-learn", "scipy", "torch")


@dataclass
class Findings:
    """The findings of a study.

    Attributes:
        folder: folder with ``report.html``, ``trials.parquet`` and ``effects.json``.
        sentences: a sentence for each arm and task.
        rows: rows of the table of arms.
        trained: number of trainings in this run.
        found: number of trainings that existed before.
    """

    run_id: str
    folder: Path
    sentences: list[str]
    rows: list[dict[str, Any]]
    trained: int
    found: int


def run_study(study: Study, display: Display) -> Findings:
    """Run the missing trials of a study, and return the findings of all trials.

    Raises:
        UserError: if the configuration of a trial is wrong, another process runs the study, or no
            cluster answers at RAY_ADDRESS.
    """
    require_cluster()
    require_unchanged_code()
    storage = Workspace(study.workspace)
    storage.check_writable()
    open_store(storage.local, writes=True)
    configurations = cache(settings)  # slow to make, and needed several times
    _foresee(study, configurations, display)
    lock = make_private_dir(storage.local) / "locks" / f"study-{study.name}"
    with exclusive_lock(lock, f"study {study.name}"), in_use(storage):
        folders = {task: _prepared(task, study, display) for task in study.tasks if is_file(task)}
        with (
            AsyncTracker(storage.local, study.name, display.message) as tracker,
            invocation(tracker, study.name, {"bngan.kind": "study"}) as run_id,
        ):
            run = _Run(study, storage, tracker, display, run_id, folders, configurations)
            run.bring(tuning_trials(study))
            chosen = _for_all_arms(study, points(study))
            if study.tune:
                best = chosen_points(study, run.results)
                chosen = {key: [point] for key, point in best.items()}
            run.bring(main_trials(study, chosen))
            return run.findings()


def _foresee(study: Study, configurations: Callable[[Trial], Config], display: Display) -> None:
    """Raise if a trial's configuration is wrong; report comparisons with too few pairs."""
    for trial in tuning_trials(study):
        configurations(trial)
    # The best point is not known yet; any single point is enough to count pairs.
    met = points(study)[:1] if study.tune else points(study)
    trials = main_trials(study, _for_all_arms(study, met))
    results = [Result(trial, {}, identity(trial, configurations(trial))) for trial in trials]
    for line in scarce(study, results):
        display.message(line)


def _for_all_arms(study: Study, met: list[Point]) -> dict[tuple[str, str], list[Point]]:
    return dict.fromkeys(product(study.tasks, study.arms), met)


def _prepared(task: str, study: Study, display: Display) -> dict[str, str]:
    """Return the keys of an experiment's data and reference folders, made now if missing."""
    common = [text for text in study.common if not text.startswith("treatment=")]
    config = load_config(Path(task), [*common, f"workspace={study.workspace}"])
    done = workflow.run(config, display, workflow.Options(until="reference"))
    storage = Workspace(study.workspace)
    return {name: storage.key(done.folders[name]) for name in ("prepare", "reference")}


@dataclass
class _Run:
    """A study under way."""

    study: Study
    storage: Workspace
    tracker: AsyncTracker
    display: Display
    run_id: str
    folders: Mapping[str, Mapping[str, str]]
    configurations: Callable[[Trial], Config]
    results: list[Result] = field(default_factory=list)
    trained: int = 0
    found: int = 0

    def __post_init__(self) -> None:
        self.code = digest(code_below("pipeline.studies.trial", libraries=_LIBRARIES))
        self.folder = self.storage.local / "studies" / self.study.name

    def bring(self, trials: Sequence[Trial]) -> None:
        """Find or make the results of trials; trials with the same training share one result."""
        missing = defaultdict(list)
        for trial in trials:
            missing[self._training(trial)].append(trial)
        for name in list(missing):
            with suppress(FileNotFoundError):
                record = json.loads(self.storage.read(_file(name)))
                self.results += [Result(trial, record, name) for trial in missing.pop(name)]
                self.found += 1
        if missing:
            self._train(missing)

    def _train(self, missing: dict[str, list[Trial]]) -> None:
        """Train the first of the trials of each name, and move them all to the results."""
        ray_files, names = self.folder / "ray", list(missing)
        firsts = [same[0] for same in missing.values()]
        # Workers run in folders of their own, where relative paths do not work.
        work = [
            (t, self.configurations(t), self.storage, self.folders.get(t.task, {})) for t in firsts
        ]

        def keep(index: int, record: Record) -> None:
            name, trial = names[index], firsts[index]
            self.storage.write(_file(name), json.dumps(record).encode())
            for same in missing.pop(name):
                self._enter(Result(same, record, name))
            self.trained += 1
            if self.trained % 10 == 0 or not missing:
                self._write("trials.parquet", self._table())
            brief = f"{task_name(trial.task)} {trial.arm} seed {trial.seed}"
            brief += f": {final_score(record):.3g}"
            self.display.progress("study", len(names) - len(missing), len(names), brief)

        self.display.progress("study", 0, len(names), "starting Ray")
        try:
            cluster.run_trials(
                lambda arguments: run_trial(*arguments),
                work,
                name=uuid.uuid4().hex[:12],
                storage=self.storage.for_ray(ray_files),
                at_once=self.study.at_once,
                on_result=keep,
            )
        finally:
            self.storage.remove(self.storage.key(ray_files))

    def _enter(self, result: Result) -> None:
        """Add a new result, and record it as a run."""
        self.results.append(result)
        trial, record, _ = result
        tags = {"task": task_name(trial.task), "arm": trial.arm, "failed": record["failed"] or ""}
        run_id = self.tracker.start(f"{trial.arm} {trial.seed}", tags, self.run_id)
        with run_lifecycle(self.tracker, run_id):
            known = {"seed": trial.seed, "tuning": trial.tuning, "treatment": trial.treatment}
            self.tracker.params(run_id, known | dict(trial.point))
            for point in record["history"]:
                values = {name: value for name, value in point.items() if name != "images"}
                self.tracker.metrics(run_id, values, int(point["images"]))
            self.tracker.metrics(run_id, {f"final_{k}": v for k, v in record["final"].items()})

    def _training(self, trial: Trial) -> str:
        """Return the name of a trial's training, a hash of everything that shapes it."""
        where = {"code": self.code, "data": self.folders.get(trial.task)}
        known = identity(trial, self.configurations(trial))
        return f"{known}-{digest(where)[:12]}"

    def _table(self) -> bytes:
        """Return the table of all results so far, as a Parquet file."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows = [trial_row(result) for result in self.results]
        keys = dict.fromkeys(key for row in rows for key in row)
        columns = {key: [row.get(key) for row in rows] for key in keys}
        pq.write_table(pa.table(columns), file := io.BytesIO())
        return file.getvalue()

    def _write(self, name: str, content: bytes) -> None:
        """Write a file into the study's folder."""
        self.storage.write(f"studies/{self.study.name}/{name}", content)

    def findings(self) -> Findings:
        """Write the table, effects and report, and return the findings."""
        study, results = self.study, self.results
        declared = declared_effects(study, results)
        every = [e for m in get_args(Measure) for e in effects(study, results, m)]
        shown = {
            "declared": [effect_row(e) for e in declared],
            "each_for_itself": [effect_row(e) for e in every],
            "robustness": [effect_row(r) for r in robustness(study, results)],
        }
        contents = {
            "trials.parquet": self._table(),
            "effects.json": json.dumps(finite(shown), indent=2).encode(),
            "report.html": render(study, results).encode(),
        }
        for name, content in contents.items():
            self._write(name, content)
            self.tracker.artifact(self.run_id, name, content)
        lines, rows = sentences(results, declared, study.control), finite(table(study, results))
        return Findings(self.run_id, self.folder, lines, rows, self.trained, self.found)


def _file(training: str) -> str:
    return f"studies/trials/{training}.json"
