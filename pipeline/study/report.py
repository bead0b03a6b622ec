"""What a study shows: sentences, a table of arms, and one HTML file that needs nothing else."""

import base64
import html
import io
import math
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from pipeline.page import HEAD
from pipeline.report import readable
from pipeline.study.design import Study
from pipeline.study.outcome import Effect, Result, collapsed, endpoint, final_score

_PAGE = Template(
    HEAD
    + """.wide { overflow-x: auto; }
img { width: 100%; height: auto; }
small { color: #808080; }
</style></head><body>
<h1>$title</h1>
<p>$design</p>
<h2>Effects</h2>
<ul>$sentences</ul>
<p><small>Medians of ratios to $control, seed by seed; in brackets their intervals by the sign test,
which assumes nothing about distributions. All intervals of this page hold together with 95 %
confidence.
</small></p>
$tasks
</body></html>
"""
)
_TASK = Template("""<h2>$task</h2>
<div class="wide"><table><tr>$head</tr>$rows</table></div>
<img src="data:image/png;base64,$plot" alt="Scores of $task over images">
""")
_WORDS = {
    "final": "the score",
    "images_to": "the images to a score of {threshold:g}",
    "seconds_to": "the CPU-seconds to a score of {threshold:g}",
    "area": "the score, averaged over the training,",
}
_GREY = "#808080"


def sentences(study: Study, found: Sequence[Effect]) -> list[str]:
    """One for each effect."""
    return [_sentence(study, effect) for effect in found]


def _sentence(study: Study, effect: Effect) -> str:
    asked = study.endpoint
    what = _WORDS[asked.measure].format(threshold=asked.threshold or 0)
    span = f"[{_ratio(effect.low)}, {_ratio(effect.high)}]"
    return (
        f"{Path(effect.task).stem}, {effect.arm}: {what} is {_ratio(effect.ratio)} × that of "
        f"{study.control} {span}, {effect.pairs} pairs: {effect.verdict}"
    )


def _ratio(value: float) -> str:
    return "∞" if math.isinf(value) else f"{value:.3g}"


def table(study: Study, results: Sequence[Result]) -> list[dict[str, Any]]:
    """A row for each task and arm, in JSON values."""
    rows = []
    for task in study.tasks:
        control = _median(study, results, task, study.control)
        for arm in study.arms:
            chosen = _of(results, task, arm)
            if not chosen:
                continue
            scores = np.array([final_score(r.record) for r in chosen])
            quartiles = [_quantile(scores, q) for q in (0.25, 0.5, 0.75)]
            ends = np.array([endpoint(r.record, study.endpoint) for r in chosen])
            seconds = [r.record["cpu_seconds"] for r in chosen]
            rows.append(
                {
                    "task": Path(task).stem,
                    "arm": arm,
                    "point": _points(chosen),
                    "trials": len(chosen),
                    "collapsed": sum(collapsed(r.record, control) for r in chosen),
                    "median": quartiles[1],
                    "quartiles": [quartiles[0], quartiles[2]],
                    "worst": float(scores.max()),
                    "endpoint": _quantile(ends, 0.5),
                    "reached": int(np.isfinite(ends).sum()),
                    "cpu_seconds": float(np.median(seconds)),
                    **_signals(chosen),
                }
            )
    return rows


_SIGNALS = {
    "generalisation_gap": "final",
    "batch_norm_gap": "final",
    "modes": "final",
    "good_share": "final",
    "logit_gap": "history",
    "gradient_norm_g": "history",
    "batch_mate_sensitivity": "history",
}


def _signals(chosen: Sequence[Result]) -> dict[str, float | None]:
    """Medians over trials: of final scores, and of signals at the end of training."""
    found: dict[str, float | None] = {}
    for name, where in _SIGNALS.items():
        sources = [
            r.record["final"] if where == "final" else (r.record["history"] or [{}])[-1]
            for r in chosen
        ]
        values = [source[name] for source in sources if name in source]
        found[name] = float(np.median(values)) if values else None
    return found


def _of(results: Sequence[Result], task: str, arm: str) -> list[Result]:
    return [r for r in results if (r.trial.task, r.trial.arm) == (task, arm) and not r.trial.tuning]


def _median(study: Study, results: Sequence[Result], task: str, arm: str) -> float:
    scores = [final_score(r.record) for r in _of(results, task, arm)]
    return _quantile(np.array(scores), 0.5) if scores else math.inf


def _quantile(values: np.ndarray, q: float) -> float:
    """Without interpolation: values may be infinite."""
    return float(np.quantile(values, q, method="inverted_cdf"))


def _points(chosen: Sequence[Result]) -> str:
    several = {r.trial.point for r in chosen}
    if len(several) != 1:
        return f"{len(several)} points"
    return ", ".join(f"{key}={value}" for key, value in next(iter(several)))


def render(study: Study, results: Sequence[Result], found: Sequence[Effect]) -> str:
    """The report's HTML."""
    rows = table(study, results)
    parts = []
    for task in study.tasks:
        own = [row for row in rows if row["task"] == Path(task).stem]
        shown = [key for key in (own[0] if own else {}) if any(row[key] is not None for row in own)]
        shown.remove("task")
        cells = "".join(
            "<tr>" + "".join(f"<td>{html.escape(_cell(row[key]))}</td>" for key in shown) + "</tr>"
            for row in own
        )
        head = "".join(f"<th>{key.replace('_', ' ')}</th>" for key in shown)
        plot = base64.b64encode(_plot(study, results, task)).decode()
        parts.append(_TASK.substitute(task=Path(task).stem, head=head, rows=cells, plot=plot))
    tuned = f", each at its best point of {', '.join(study.axes)}" if study.tune else ""
    asked = study.endpoint
    design = (
        f"{len(study.arms)} arms on {len(study.tasks)} tasks, {study.seeds} seeds that all share"
        f"{tuned}. Declared before: effects are told of "
        f"{_WORDS[asked.measure].format(threshold=asked.threshold or 0)}; lower is better."
    )
    return _PAGE.substitute(
        title=html.escape(study.name),
        design=html.escape(design),
        control=html.escape(study.control),
        sentences="".join(f"<li>{html.escape(text)}</li>" for text in sentences(study, found)),
        tasks="".join(parts),
    )


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return " to ".join(_cell(each) for each in value)
    if isinstance(value, float):
        return "∞" if math.isinf(value) else readable(value)
    return str(value)


def _plot(study: Study, results: Sequence[Result], task: str) -> bytes:
    """PNG: the score over images, median and quartiles of each arm."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    for arm in study.arms:
        chosen = [r for r in _of(results, task, arm) if r.record["history"]]
        lines = [[p[r.record["measure"]] for p in r.record["history"]] for r in chosen]
        if not lines:
            continue
        images = max((r.record["history"] for r in chosen), key=len)
        width = len(images)
        padded = np.array([line + [math.inf] * (width - len(line)) for line in lines])
        low, middle, high = (
            np.quantile(padded, q, axis=0, method="inverted_cdf") for q in (0.25, 0.5, 0.75)
        )
        x = [point["images"] for point in images]
        (line,) = axes.plot(x, middle, label=arm)
        axes.fill_between(x, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    axes.set_yscale("log")
    axes.set_title("Score on the way: median and quartiles over seeds", color=_GREY)
    axes.set_xlabel("images seen", color=_GREY)
    axes.tick_params(colors=_GREY, which="both")
    for spine in axes.spines.values():
        spine.set_color(_GREY)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, labelcolor=_GREY)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, transparent=True)
    return buffer.getvalue()
