"""What a run costs beside the bare training loop: Ray, MLflow, scores, checkpoints, records.

``python -m tests.benchmarks.tax [MNIST] [--minutes 5]`` trains by ``configs/mnist.yaml`` on one core,
on embedded digits or on a folder of MNIST's parquet files: for half of the time ``Trainer.fit`` alone,
then for the whole time inside ``bngan run``, then for the other half alone. A run's images per second
are those from its first record to its last, with the last score; more rows say where the rest goes.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import torch.multiprocessing as multiprocessing
from rich.console import Console

from pipeline.cli.display import ConsoleDisplay
from pipeline.config.loader import load_config
from pipeline.config.schema import Config
from pipeline.core.environment import set_defaults, workers_defaults
from pipeline.tracking.tracker import existing_client
from pipeline.training.factory import build_trainer, trainer_settings
from pipeline.workflow import runner as workflow
from tests.benchmarks.rates import Row, table

CONFIG = Path(__file__).parents[2] / "configs" / "mnist.yaml"
_CADENCE = 70_000
"""Images between two scores, as the configuration has it, or once in a shorter run."""
_BREATH = 2_000


def _config(data: str, workspace: str, *overrides: str) -> Config:
    given = [f"data.path={data}", f"workspace={workspace}", "evaluate.protocol=fid100_test"]
    return load_config(CONFIG, [*given, "train.threads_per_worker=1", *overrides])


def bring(config: Config, until: str) -> workflow.RunResult:
    """Bring an experiment's stages up to date, without a word."""
    display = ConsoleDisplay(Console(quiet=True))
    return workflow.run(config, display, workflow.Options(until=until))


def _fit(settings: dict[str, Any], seconds: float, results: Any) -> None:
    """Images per second of the trainer alone, after it is warm."""
    torch.set_num_threads(settings["train"]["threads_per_worker"])
    trainer, data = build_trainer(settings, "cpu")
    trainer.fit(data, _BREATH)
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        trainer.fit(data, trainer.images_seen + _BREATH)
    results.put((trainer.images_seen - _BREATH) / (time.perf_counter() - started))


def bare(settings: dict[str, Any], seconds: float) -> float:
    """The same in a process of its own, as a worker has one."""
    context = multiprocessing.get_context("spawn")
    results = context.SimpleQueue()
    process = context.Process(target=_fit, args=(settings, seconds, results))
    with patch.dict(os.environ, workers_defaults()):
        process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"the bare loop has failed: {process.exitcode}")
    return float(results.get())


def told_at(workspace: str, run_id: str, name: str) -> list[float]:
    """When the training of a run told each value of a metric, in seconds since 1970."""
    client = existing_client(Path(workspace))
    condition = f"tags.mlflow.parentRunId = '{run_id}' and tags.stage = 'train'"
    (run,) = client.search_runs([client.get_run(run_id).info.experiment_id], condition)
    return [m.timestamp / 1000 for m in client.get_metric_history(run.info.run_id, name)]


def course(config: Config) -> dict[str, float]:
    """Of a training from its first record to its last: images, and seconds of all, steps, scores."""
    result = bring(config, "train")
    told = told_at(config.workspace, result.run_id, "seconds")
    records = json.loads((result.folders["train"] / "history.json").read_text())
    return {
        "images": records[-1]["images"] - records[0]["images"],
        "wall": max(told) - min(told),
        "steps": records[-1]["seconds"] - records[0]["seconds"],
        "scores": sum(record.get("score_seconds", 0.0) for record in records[1:]),
    }


def rows(data: Path | None = None, minutes: float = 2.0) -> list[Row]:
    """The rates, and where the difference comes from."""
    set_defaults()
    with tempfile.TemporaryDirectory(prefix="bngan-") as workspace:
        given = str(data) if data else "embedded:digits", workspace
        folders = bring(_config(*given), "reference").folders
        prepared, reference = (str(folders[name]) for name in ("prepare", "reference"))
        settings = trainer_settings(_config(*given), prepared, reference)
        before = bare(settings, 30 * minutes)
        images = int(before * 60 * minutes)
        cadence = images // max(round(images / _CADENCE), 1)
        seen = course(_config(*given, f"train.images={images}", f"train.score_every={cadence}"))
        alone = statistics.mean([before, bare(settings, 30 * minutes)])
    what = f"bngan run, {'MNIST' if data else 'digits'}, DCGAN, {minutes:g} min"
    wall, steps, scores = seen["wall"], seen["steps"], seen["scores"]
    return [
        Row(what, seen["images"] / wall, "images/s", "the trainer alone", alone, least=0.95),
        Row("of the time in it scores", 100 * scores / wall, "%"),
        Row("checkpoints, records", 100 * (wall - steps - scores) / wall, "%"),
        Row("steps", seen["images"] / steps, "images/s", "the trainer alone", alone),
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mnist", nargs="?", type=Path, help="folder with MNIST as parquet files")
    parser.add_argument("--minutes", type=float, default=5.0)
    options = parser.parse_args()
    print(table(rows(options.mnist, options.minutes)))


if __name__ == "__main__":
    main()
