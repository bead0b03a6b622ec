"""Rows of a study's tables, in JSON values."""

import json
import math
from collections.abc import Mapping
from typing import Any

from pipeline.studies.design import task_name
from pipeline.studies.effects import Effect, Robustness
from pipeline.studies.endpoints import Result, final_score


def finite(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with None in place of infinity and NaN, which JSON does not know."""

    def replace(value: Any) -> Any:
        if isinstance(value, list):
            return [replace(each) for each in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return {key: replace(value) for key, value in values.items()}


def effect_row(row: Effect | Robustness) -> dict[str, Any]:
    """Return an effect in JSON values."""
    return finite(row._asdict() | {"task": task_name(row.task)})


def trial_row(result: Result) -> dict[str, Any]:
    """Return a trial as a row of the table of all trials."""
    trial, record, _ = result
    return {
        "task": task_name(trial.task),
        "arm": trial.arm,
        "seed": trial.seed,
        "tuning": trial.tuning,
        "treatment": trial.treatment,
        **{key: str(value) for key, value in trial.point},
        "overrides": " ".join(trial.overrides),
        "failed": record["failed"],
        "score": final_score(record),
        "best_images": record["best_images"],
        "cpu_seconds": record["cpu_seconds"],
        **{f"final_{name}": float(value) for name, value in record["final"].items()},
        "history": json.dumps(record["history"]),
    }
