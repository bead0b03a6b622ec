"""The report of a registration: an HTML file on the gate's decision and its numbers."""

from collections.abc import Mapping
from typing import Any

from pipeline.reports.page import render_html

_PAGE = """{% extends "page" %}
{% from "parts" import table %}
{% block style %}
.champion { border-left: .3rem solid #16a34a; padding-left: .8rem; }
.challenger { border-left: .3rem solid #d97706; padding-left: .8rem; }
{% endblock %}
{% block body %}
<p class="{{ alias }}">Version {{ version }} of {{ name }} is {{ alias }}: {{ reason }}.</p>
{% if gate.draws is defined %}
<h2>Distances of both generators</h2>
<div class="wide">{{ table(
  ["", "This version", "Champion version {}".format(gate.champion_version), "Difference",
   "Upper bound of the difference, {:.1%}".format(gate.level), "Must be below"], spaces) }}</div>
<p>{{ gate.images }} generated images in {{ gate.draws }} draws, against {{ gate.real_images }} real
images. Both generators get the same fresh latents.</p>
{% endif %}
{% if gate.left_out is defined %}
<h2>Real images that a generator has seen</h2>
{% if none not in gate.left_out.values() %}
<p>They count for neither generator. {{ gate.real_images }} images are left.</p>
{% endif %}
{{ table(["", "Images"], seen) }}
{% endif %}
{% if vetoes %}
<h2>Vetoes</h2>
<div class="wide">{{ table(["", "This version", "Against", "Loss", "Margin", "p", "Worse"],
  vetoes) }}</div>
<p><small>p is the chance of a loss at least as large if the true loss is the margin. All
vetoes together refuse a version wrongly at most one time in twenty.</small></p>
{% endif %}
{% endblock %}
"""
VETOES = {
    "kid": "KID beside the champion's",
    "coverage": "Coverage beside the champion's",
    "authenticity": "Authenticity beside real images'",
    "copies": "Copies of training images",
    "batch_norm_gap": "Batch-norm gap beside the champion's",
}
"""Labels of vetoes by name."""


def render(registration: Mapping[str, Any]) -> str:
    """Return the HTML of ``registration.json``."""
    gate = registration["gate"]
    return render_html(
        _PAGE,
        **registration,
        title=f"{registration['name']} version {registration['version']}: the gate",
        seen=[(n, "not known" if c is None else c) for n, c in gate.get("left_out", {}).items()],
        spaces=space_rows(gate) if "second" in gate else [],
        vetoes=[
            (
                VETOES[name],
                *(veto[key] for key in ("candidate", "against", "loss", "margin", "p_value")),
                "yes" if veto["worse"] else "no",
            )
            for name, veto in gate.get("vetoes", {}).items()
        ],
    )


def space_rows(gate: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Return a row for each space: its values, and what the upper bound must be below."""
    second = gate["second"]
    rows = [(second["label"], second, 0.0 if gate["metric"] == "second" else second["margin"])]
    if gate["metric"] == "fid":
        rows.insert(0, ("FID", gate, 0.0))
    keys = ("candidate", "champion", "difference", "upper_bound")
    return [(name, *(values[key] for key in keys), limit) for name, values, limit in rows]
