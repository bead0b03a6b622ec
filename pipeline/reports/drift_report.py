"""The report of a scheduled evaluation: an HTML file on the model and, separately, the data."""

from collections.abc import Mapping
from typing import Any

from bngan.data.class_names import numbered_name, numbers_as_names
from bngan.metrics.features import ExtractorInfo
from pipeline.reports.page import as_text, readable, render_html
from pipeline.reports.plots import GREY, figure

_PAGE = """{% extends "page" %}
{% from "parts" import image, table %}
{% block style %}
img { width: 100%; max-width: 40rem; }
.ok { border-left: .3rem solid #16a34a; padding-left: .8rem; }
.alarm { border-left: .3rem solid #d97706; padding-left: .8rem; }
{% endblock %}
{% block body %}
<p class="{{ drift }}">{{ model }} version {{ model_version }}: {{ drift }}. {{ reason }}.</p>
<h2>The model</h2>
<p>{{ model_verdict }}; 95 % interval {{ score.interval }}.
{% if score.changed %}
The latents, the real images and the extractor are those of its registration: what has changed is
code, a library, hardware, or the stored version itself.
{% else %}
Whatever is different below comes from the data.
{% endif %}
</p>
<h2>The data</h2>
{% if data %}
<p>{{ data_verdict }}. An alarm is a p-value of {{ data.level }} at most and a distance that exceeds
what chance makes by {{ data.tolerance * data.variance }}, {{ data.tolerance }} of the old
features' total variance. New images: {{ data.path
}}{% if data.skipped %}, {{ data.skipped }} unreadable ones left out{% endif %}.</p>
{{ image(histogram, "chance and distance") }}
<p><small>Grey: distances between random halves of old and new images together, which chance alone
makes. Line: old against new, with its 95 % interval.</small></p>
{{ table(["{:,} images each".format(data.count), "Distance"], [
  ["Old real images against new ones", data.distance],
  ["Generated images against old ones", data.fid_old],
  ["Generated images against new ones", data.fid_new],
]) }}
{% if shares %}{{ table(["Taken for class", "old", "new"], shares) }}{% endif %}
{% if unlisted > 0 %}<p>And {{ unlisted }} more, whose shares differ less.</p>{% endif %}
{% else %}
<p>No new images to compare with.</p>
{% endif %}
<p><small>Protocol {{ protocol.name }}: {{ protocol.count }} generated against as many real images.
Features: {{ features }}.</small></p>
{% endblock %}
"""
_ALARM = "#d97706"
_CLASSES = 100
"""Most classes that the report lists."""


def explain(record: Mapping[str, Any]) -> str:
    """Return the verdict in a line: on the model's score, and on the data."""
    return "; ".join(filter(None, [_model(record["score"]), _data(record["data"])]))


def render(record: Mapping[str, Any]) -> str:
    """Return the HTML of a partition's record, as ``pipeline.monitoring.drift`` makes it."""
    data = record["data"]
    shares = list(zip(*data["classes"], strict=True)) if data else []
    names = record["extractor"].get("class_names", [])
    names = names if len(names) == len(shares) else numbers_as_names(len(shares))
    changed = sorted(range(len(shares)), key=lambda n: -abs(shares[n][1] - shares[n][0]))[:_CLASSES]
    return render_html(
        _PAGE,
        **record,
        title=f"{record['schedule']} {record['partition']}",
        model_verdict=_sentence(_model(record["score"])),
        data_verdict=_sentence(_data(data)),
        histogram=data and _histogram(data),
        shares=[
            (numbered_name(n, names[n]), *(f"{share:.1%}" for share in shares[n]))
            for n in sorted(changed)
        ],
        unlisted=len(shares) - _CLASSES,
        features=ExtractorInfo(**record["extractor"]).describe(),
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
        f"({as_text(data['interval'])}) where chance makes {readable(data['expected'])}, "
        f"p {readable(data['p_value'])}"
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _histogram(data: Mapping[str, Any]) -> bytes:
    """Return a PNG of the distances that chance makes, and of the measured distance."""
    low, high = data["interval"]
    span = min(*data["chance"], low), max(*data["chance"], high)
    axes, finish = figure("Old against new images", "distance", (8, 2.5))
    axes.hist(data["chance"], bins=40, range=span, color=GREY)
    axes.axvline(data["distance"], color=_ALARM)
    axes.hlines(0.5, low, high, color=_ALARM, transform=axes.get_xaxis_transform())
    return finish()
