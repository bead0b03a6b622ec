"""Run a study: reuse trainings that exist, and store each result at once."""

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, get_args

from bngan.serialization.manifest import digest
from pipeline.cluster import launch as cluster
from pipeline.config.loader import load_config
from pipeline.config.schema import Config
from pipeline.core.lock import exclusive_lock, make_private_dir
from pipeline.storage.workspace import Workspace
from pipeline.studies.design import (
    Measure,
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
from pipeline.studies.records import effect_row, finite, trial_row
from pipeline.studies.report import render, sentences, table
from pipeline.studies.trial import Record, identity, run_trial, settings
from pipeline.tracking.async_tracker import AsyncTracker
from pipeline.tracking.runs import heartbeat, run_lifecycle
from pipeline.workflow import runner as workflow
from pipeline.workflow.fingerprint import code_below
from pipeline.workflow.results import Display

_LIBRARIES = ("numpy", "scikit-learn", "scipy", "torch")
Configurations = Callable[[Trial], Config]
"""Function from a trial to the configuration of its training."""
STUDY = "study"
"""The kind of run that a study opens, as its tag ``bngan.kind``."""


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
        UserError: if the configuration of a trial is wrong, or another process runs the study.
    """
    storage = Workspace(study.workspace)
    storage.check_writable()
    configurations = cache(settings)  # slow to make, and needed several times
    _foresee(study, configurations, display)
    with exclusive_lock(
        make_private_dir(storage.local) / "locks" / f"study-{study.name}", f"study {study.name}"
    ):
        return _bring_up_to_date(study, storage, configurations, display)


def _bring_up_to_date(
    study: Study, storage: Workspace, configurations: Configurations, display: Display
) -> Findings:
    folders = {task: _prepared(task, study, display) for task in study.tasks if is_file(task)}
    with AsyncTracker(storage.local, study.name, display.message) as tracker:
        run_id = tracker.start(study.name, {"bngan.kind": STUDY})
        with run_lifecycle(tracker, run_id), heartbeat(tracker, run_id):
            run = _Run(study, storage, tracker, display, run_id, folders, configurations)
            run.bring(tuning_trials(study))
            chosen = _every_point(study)
            if study.tune:
                chosen = {key: [point] for key, point in chosen_points(study, run.results).items()}
            run.bring(main_trials(study, chosen))
            return run.findings()


def _foresee(study: Study, configurations: Configurations, display: Display) -> None:
    """Raise if a trial's configuration is wrong; report comparisons with too few pairs."""
    for trial in tuning_trials(study):
        configurations(trial)
    # The best point is not known yet; any single point is enough to count pairs.
    met = points(study)[:1] if study.tune else points(study)
    trials = main_trials(study, {(task, arm): met for task in study.tasks for arm in study.arms})
    empty: Record = {}
    results = [Result(trial, empty, identity(trial, configurations(trial))) for trial in trials]
    for line in scarce(study, results):
        display.message(line)


def _every_point(study: Study) -> dict[tuple[str, str], Sequence[dict[str, Any]]]:
    return {(task, arm): points(study) for task in study.tasks for arm in study.arms}


def _prepared(task: str, study: Study, display: Display) -> dict[str, str]:
    """Return the keys of an experiment's data and reference folders, made now if missing."""
    common = [text for text in study.common if not text.startswith("treatment=")]
    config = load_config(Path(task), [*common, f"workspace={study.workspace}"])
    done = workflow.run(config, display, workflow.Options(until="reference"))
    storage = Workspace(study.workspace)
    return {name: storage.key(done.folders[name]) for name in ("prepare", "reference")}


class _Run:
    """A study under way."""

    def __init__(
        self,
        study: Study,
        storage: Workspace,
        tracker: AsyncTracker,
        display: Display,
        run_id: str,
        folders: Mapping[str, Mapping[str, str]],
        configurations: Configurations,
    ) -> None:
        self.study, self.storage, self.tracker = study, storage, tracker
        self.display, self.run_id, self.folders = display, run_id, folders
        self.configurations = configurations
        self.results: list[Result] = []
        self.trained = self.found = 0
        self.code = digest(code_below("pipeline.studies.trial", libraries=_LIBRARIES))

    @property
    def folder(self) -> Path:
        return self.storage.local / "studies" / self.study.name

    def bring(self, trials: Sequence[Trial]) -> None:
        """Find or make the results of trials; trials with the same training share one result."""
        asked: dict[str, list[Trial]] = {}
        for trial in trials:
            asked.setdefault(self._training(trial), []).append(trial)
        missing = {}
        for name, same in asked.items():
            try:
                record = json.loads(self.storage.read(_file(name)))
            except FileNotFoundError:
                missing[name] = same
                continue
            self.results += [Result(trial, record, name) for trial in same]
            self.found += 1
        if missing:
            self._train(missing)
        self._write()

    def _train(self, missing: Mapping[str, Sequence[Trial]]) -> None:
        ray_files, names = self.folder / "ray", list(missing)
        firsts = [same[0] for same in missing.values()]
        done = 0

        def keep(index: int, record: Record) -> None:
            nonlocal done
            done += 1
            self.storage.write(_file(names[index]), json.dumps(record).encode())
            for trial in missing[names[index]]:
                self._enter(Result(trial, record, names[index]))
            self.trained += 1
            if self.trained % 10 == 0:
                self._write()
            self.display.progress("study", done, len(names), _brief(firsts[index], record))

        self.display.progress("study", 0, len(names), "starting Ray")
        try:
            cluster.run_trials(
                partial(_trained, self.folders, self.storage),
                [(trial, self.configurations(trial)) for trial in firsts],
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

    def _write(self) -> None:
        """Write the table of all results so far."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows = [trial_row(result) for result in self.results]
        self.folder.mkdir(parents=True, exist_ok=True)
        keys = dict.fromkeys(key for row in rows for key in row)
        columns = {key: [row.get(key) for row in rows] for key in keys}
        pq.write_table(pa.table(columns), self.folder / "trials.parquet")
        self.storage.upload(self.storage_name("trials.parquet"))

    def storage_name(self, file: str) -> str:
        """Return the key of a file in the study's folder."""
        return f"studies/{self.study.name}/{file}"

    def findings(self) -> Findings:
        """Write effects and report, and return the findings."""
        study = self.study
        declared = declared_effects(study, self.results)
        every = [e for m in get_args(Measure) for e in effects(study, self.results, m)]
        lines, rows = sentences(self.results, declared, study.control), table(study, self.results)
        page = render(study, self.results)
        contents = {
            "effects.json": json.dumps(
                {
                    "declared": [effect_row(e) for e in declared],
                    "each_for_itself": [effect_row(e) for e in every],
                    "robustness": [effect_row(r) for r in robustness(study, self.results)],
                },
                indent=2,
            ),
            "report.html": page,
        }
        for name, text in contents.items():
            self.storage.write(self.storage_name(name), text.encode())
            self.tracker.artifact(self.run_id, name, text.encode())
        parquet = (self.folder / "trials.parquet").read_bytes()
        self.tracker.artifact(self.run_id, "trials.parquet", parquet)
        rows = [finite(row) for row in rows]
        return Findings(self.run_id, self.folder, lines, rows, self.trained, self.found)


def _trained(
    folders: Mapping[str, Mapping[str, str]], storage: Workspace, task: tuple[Trial, Config]
) -> Record:
    """Run a trial on a worker. The worker's folder is its own, so relative paths do not work."""
    trial, config = task
    return run_trial(trial, config, storage, folders.get(trial.task, {}))


def _file(training: str) -> str:
    return f"studies/trials/{training}.json"


def _brief(trial: Trial, record: Record) -> str:
    return f"{task_name(trial.task)} {trial.arm} seed {trial.seed}: {final_score(record):.3g}"
