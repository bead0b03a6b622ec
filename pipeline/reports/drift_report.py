"""The report of a scheduled evaluation: one HTML file that tells the model from the data."""

import html
from collections.abc import Mapping, Sequence
from string import Template
from typing import Any

import numpy as np

from bngan.metrics.features import ExtractorInfo
from pipeline.reports.page import HEAD, readable

_PAGE = Template(
    HEAD
    + """svg { width: 100%; max-width: 40rem; height: auto; }
.ok { border-left: .3rem solid #16a34a; padding-left: .8rem; }
.alarm { border-left: .3rem solid #d97706; padding-left: .8rem; }
small { color: #808080; }
</style></head><body>
<h1>$title</h1>
<p class="$verdict">$headline</p>
<h2>The model</h2>
<p>$model</p>
<h2>The data</h2>
$data
<p><small>$protocol</small></p>
</body></html>
"""
)
_DATA = Template("""<p>$told</p>
$chance
<p><small>Grey: distances between random halves of old and new images together, which chance alone
makes. Line: old against new, with its 95 % interval.</small></p>
<table><tr><th>$count images each</th><th>Distance</th></tr>
<tr><td>Old real images against new ones</td><td>$distance</td></tr>
<tr><td>Generated images against old ones</td><td>$fid_old</td></tr>
<tr><td>Generated images against new ones</td><td>$fid_new</td></tr></table>
$classes""")
_WIDTH, _HEIGHT, _BINS = 400, 80, 40


def explain(record: Mapping[str, Any]) -> str:
    """The verdict in a line: what became of the model's score, what of the data."""
    return "; ".join(filter(None, [_model(record["score"]), _data(record["data"])]))


def render(record: Mapping[str, Any]) -> str:
    """HTML of the record of a partition, as ``pipeline.drift`` makes it."""
    score, data, protocol = record["score"], record["data"], record["protocol"]
    changed = (
        "The latents, the real images and the extractor are those of its registration: what has "
        "changed is code, a library, hardware, or the stored version itself."
        if score["changed"]
        else "Whatever is different below comes from the data."
    )
    return _PAGE.substitute(
        title=html.escape(f"{record['schedule']} {record['partition']}"),
        verdict=record["drift"],
        headline=html.escape(
            f"{record['model']} version {record['model_version']}: "
            f"{record['drift']}. {record['reason']}."
        ),
        model=html.escape(
            _sentence(f"{_model(score)}; 95 % interval {_span(score['interval'])}. {changed}")
        ),
        data="<p>No new images to compare with.</p>" if data is None else _compared(data),
        protocol=html.escape(
            f"Protocol {protocol['name']}: {protocol['count']:,} generated against as many real "
            f"images. Features: {ExtractorInfo(**record['extractor']).describe()}."
        ),
    )


def _model(score: Mapping[str, Any]) -> str:
    value, recorded = readable(score["fid"]), score["recorded"]
    if not score["changed"]:
        return f"model unchanged, FID {value} as registered"
    before = "none" if recorded is None else readable(recorded)
    return f"model changed, FID {value} where {before} was registered"


def _data(data: Mapping[str, Any] | None) -> str:
    if data is None:
        return ""
    return (
        f"data {'drifted' if data['drifted'] else 'unchanged'}, distance {readable(data['distance'])} "
        f"({_span(data['interval'])}) where chance makes {readable(data['expected'])}, "
        f"p {readable(data['p_value'])}"
    )


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _span(interval: Sequence[float]) -> str:
    return f"{readable(interval[0])} to {readable(interval[1])}"


def _compared(data: Mapping[str, Any]) -> str:
    skipped = f", {data['skipped']} unreadable ones left out" if data["skipped"] else ""
    least = readable(data["tolerance"] * data["variance"])
    told = (
        f"{_data(data)}. An alarm is a p-value of {data['level']} at most and a distance that exceeds "
        f"what chance makes by {least}, {data['tolerance']:g} of the old features' total variance. "
        f"New images: {data['path']}{skipped}."
    )
    return _DATA.substitute(
        told=html.escape(_sentence(told)),
        chance=_histogram(data),
        count=f"{data['count']:,}",
        **{key: readable(data[key]) for key in ("distance", "fid_old", "fid_new")},
        classes=_classes(*data["classes"]),
    )


def _histogram(data: Mapping[str, Any]) -> str:
    """SVG of what chance makes, and of what was found."""
    low, high = data["interval"]
    least, most = min(*data["chance"], low), max(*data["chance"], high)
    scale = _WIDTH / ((most - least) or 1.0)
    counts, edges = np.histogram(data["chance"], _BINS, (least, most))
    bars = "".join(
        f'<rect x="{(left - least) * scale:.1f}" y="{_HEIGHT * (1 - count / counts.max()):.1f}" '
        f'width="{_WIDTH / _BINS:.1f}" height="{_HEIGHT * count / counts.max():.1f}"/>'
        for count, left in zip(counts, edges, strict=False)
        if count
    )
    x, start, end = ((value - least) * scale for value in (data["distance"], low, high))
    return (
        f'<svg viewBox="-2 0 {_WIDTH + 4} {_HEIGHT + 2}" role="img" aria-label="chance and distance">'
        f'<g fill="#808080">{bars}</g><g stroke="#d97706" stroke-width="2">'
        f'<path d="M{x:.1f} 0V{_HEIGHT}M{start:.1f} {_HEIGHT / 2}H{end:.1f}"/></g></svg>'
    )


def _classes(old: Sequence[float], new: Sequence[float]) -> str:
    if not old:
        return ""
    rows = "".join(
        f"<tr><td>{number}</td><td>{before:.1%}</td><td>{after:.1%}</td></tr>"
        for number, (before, after) in enumerate(zip(old, new, strict=True))
    )
    return f"<table><tr><th>Taken for class</th><th>old</th><th>new</th></tr>{rows}</table>"
