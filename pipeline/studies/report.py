"""The findings of a study: sentences, a table of arms, and a self-contained HTML file."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.reports.page import render_html
from pipeline.studies import plots
from pipeline.studies.design import Measure, Study, task_name
from pipeline.studies.effects import Effect, Robustness, declared_effects, effects, robustness
from pipeline.studies.endpoints import (
    Result,
    collapsed,
    endpoint,
    final_score,
    quantile,
    quartiles,
    results_of,
    thresholds,
)

_PAGE = """{% extends "page" %}
{% from "parts" import image, table %}
{% block style %}img { width: 100%; }{% endblock %}
{% block body %}
<p>{{ study.arms | length }} arms on {{ study.tasks | length }} tasks, {{ study.seeds }} seeds that
all share{% if study.tune %}, each at its best point of {{ study.axes | join(", ") }}{% endif %}.
The study declared its measure before: {{ measure }}; lower is better.</p>
<h2>Effects</h2>
<ul>{% for sentence in sentences %}<li>{{ sentence }}</li>{% endfor %}</ul>
<p><small>Medians of ratios to {{ study.control }}, pair by pair of trials from the same seed; in
brackets their intervals by the sign test, which assumes nothing about distributions. These
intervals hold together with 95 % confidence.</small></p>
{% for task in tasks %}
<h2>{{ task.name }}</h2>
<div class="wide">{{ table(*task.arms) }}</div>
{% for alt, png in task.plots.items() %}{{ image(png, alt) }}{% endfor %}
<h3>All measures</h3>
<div class="wide">{{ table(*task.measures) }}</div>
<p><small>Ratios to the control; intervals of 95 % each.</small></p>
{% if task.robustness %}
<h3>Which configurations work</h3>
<div class="wide">{{ table(*task.robustness) }}</div>
<p><small>Final score at most the threshold; after Gulrajani et al. 2017, 5.1.</small></p>
{% endif %}
{% endfor %}
{% endblock %}
"""
_MEASURES: dict[Measure, str] = {
    "final": "the final score",
    "area": "the score averaged over the training",
    "images_to": "images to the threshold",
    "seconds_to": "CPU-seconds to the threshold",
}
_NAMES = {"fid": "FID", "bad_share": "share of bad points", "divergence": "KL to uniform"}
_SIGNALS = (
    "classes_hit",
    "modes",
    "good_share",
    "generalisation_gap",
    "reconstruction_test",
    "reconstruction_train",
    "score_by_running_statistics",
    "score_by_batch_statistics",
    "logit_gap",
    "gradient_norm_g",
    "spectral_norm_g",
    "batch_mate_sensitivity",
)


def sentences(results: Sequence[Result], effects: Sequence[Effect], control: str) -> list[str]:
    """Return a sentence for each effect."""
    names = {r.trial.task: _NAMES[r.record["measure"]] for r in results}
    return [_sentence(effect, names[effect.task], control) for effect in effects]


def _sentence(effect: Effect, score: str, control: str) -> str:
    quantity = {
        "final": score,
        "area": f"{score} averaged over the training",
        "images_to": f"images to a {score} of {effect.threshold:.3g}",
        "seconds_to": f"CPU-seconds to a {score} of {effect.threshold:.3g}",
    }[effect.measure]
    numbers, pairs = [effect.ratio, effect.low, effect.high], f"{effect.pairs} pairs"
    start = f"{task_name(effect.task)}, {effect.arm}:"
    if effect.verdict == "better":
        numbers = [math.inf if n == 0 else 1 / n for n in (effect.ratio, effect.high, effect.low)]
    ratio, low, high = (_ratio(number) for number in numbers)
    if effect.verdict == "no difference shown":
        shown = f"no difference from {control} shown in {quantity}"
        return f"{start} {shown}, {ratio} × [{low}, {high}], {pairs}"
    needs = effect.measure.endswith("_to")
    fewer, more = ("fewer", "more") if needs else ("lower", "higher")
    direction = fewer if effect.verdict == "better" else more
    return f"{start} {ratio} × {direction} {quantity} than {control} [{low}, {high}], {pairs}"


def _ratio(value: float) -> str:
    return "∞" if math.isinf(value) else f"{value:.3g}"


def table(study: Study, results: Sequence[Result]) -> list[dict[str, Any]]:
    """Return a row for each task and arm, in JSON values."""
    limits, rows = thresholds(study, results), []
    for task in study.tasks:
        controls = results_of(results, task, study.control)
        control = quantile([final_score(r.record) for r in controls], 0.5)
        for arm in study.arms:
            if chosen := results_of(results, task, arm):
                rows.append(_row(chosen, control, limits[task]))
    return rows


def _row(chosen: Sequence[Result], control: float, limit: float) -> dict[str, Any]:
    """Return the row of an arm's results; ``control`` is the control's median final score."""
    scores = [final_score(r.record) for r in chosen]
    low, median, high = quartiles(scores)
    images = [endpoint(r.record, "images_to", limit) for r in chosen]
    seconds = [endpoint(r.record, "seconds_to", limit) for r in chosen]
    return {
        "task": task_name(chosen[0].trial.task),
        "arm": chosen[0].trial.arm,
        "point": _points(chosen),
        "trials": len(chosen),
        "collapsed": sum(collapsed(r.record, control) for r in chosen),
        "median": median,
        "quartiles": [low, high],
        "worst": max(scores),
        "threshold": limit,
        "reached": sum(map(math.isfinite, images)),
        "images_to": quantile(images, 0.5),
        "seconds_to": quantile(seconds, 0.5),
        "cpu_seconds": quantile([r.record["cpu_seconds"] for r in chosen], 0.5),
        **_signals(chosen),
    }


def _signals(chosen: Sequence[Result]) -> dict[str, float | None]:
    """Return medians over trials: of final scores, and of signals at the end of training."""
    ends = [{**(r.record["history"] or [{}])[-1], **r.record["final"]} for r in chosen]
    values = {name: [end[name] for end in ends if name in end] for name in _SIGNALS}
    return {name: quantile(each, 0.5) if each else None for name, each in values.items()}


def _points(chosen: Sequence[Result]) -> str:
    several = {r.trial.point for r in chosen}
    if len(several) != 1:
        return f"{len(several)} points"
    return ", ".join(f"{key}={value}" for key, value in next(iter(several)))


def finite(values: Any) -> Any:
    """Return the values with None in place of infinity and NaN, which JSON does not know."""
    return json.loads(json.dumps(values), parse_constant=lambda _: None)


def effect_row(row: Effect | Robustness) -> dict[str, Any]:
    """Return an effect as an entry of ``effects.json``."""
    return row._asdict() | {"task": task_name(row.task)}


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


def render(study: Study, results: Sequence[Result]) -> str:
    """Return the report's HTML."""
    return render_html(
        _PAGE,
        title=study.name,
        study=study,
        measure=_MEASURES[study.endpoint],
        sentences=sentences(results, declared_effects(study, results), study.control),
        tasks=[_task(study, results, task) for task in study.tasks],
    )


def _task(study: Study, results: Sequence[Result], task: str) -> dict[str, Any]:
    """Return a task's tables and pictures."""
    pictures = {"Scores over images": plots.curves(study, results, task)}
    if axis := plots.swept_axis(study):
        pictures[f"Scores over {axis}"] = plots.sweep(study, results, task, axis)
    counts = [each._asdict() for each in robustness(study, results) if each.task == task]
    return {
        "name": task_name(task),
        "arms": _columns([row for row in table(study, results) if row["task"] == task_name(task)]),
        "plots": pictures,
        "measures": _columns(_all_measures(study, results, task)),
        "robustness": _columns(counts) if counts and study.axes and not study.tune else None,
    }


def _columns(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[Any]]]:
    """Return heads and rows of an HTML table of one task, without columns that have no value."""
    names = [
        name
        for name in (rows[0] if rows else {})
        if name != "task" and any(row[name] is not None for row in rows)
    ]
    return [name.replace("_", " ") for name in names], [[row[n] for n in names] for row in rows]


def _all_measures(study: Study, results: Sequence[Result], task: str) -> list[dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    for measure, words in _MEASURES.items():
        for effect in (e for e in effects(study, results, measure) if e.task == task):
            cell = f"{_ratio(effect.ratio)} [{_ratio(effect.low)}, {_ratio(effect.high)}]"
            rows.setdefault(effect.arm, {"arm": effect.arm})[words] = cell
    return list(rows.values())
