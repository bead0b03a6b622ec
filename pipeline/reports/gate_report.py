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
<h2>FID of both generators</h2>
<div class="wide">{{ table(["", "FID"], [
  ["This version", gate.candidate],
  ["Champion version {}".format(gate.champion_version), gate.champion],
  ["Difference", gate.difference],
  ["Upper bound of the difference, {:.1%}".format(gate.level), gate.upper_bound],
]) }}</div>
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
{% if opinions %}
<h2>Second opinions</h2>
<div class="wide">{{ table(["", "Loss", "Margin", "Worse"], opinions) }}</div>
<p><small>A loss is the champion's advantage. It counts if it exceeds the margin beyond
chance.</small></p>
{% endif %}
{% endblock %}
"""
_OPINIONS = {
    "kid": "KID",
    "coverage": "Coverage",
    "authenticity": "Authenticity",
    "batch_norm_gap": "Batch-norm gap",
}


def render(registration: Mapping[str, Any]) -> str:
    """Return the HTML of ``registration.json``."""
    seen = registration["gate"].get("left_out", {})
    opinions = registration["gate"].get("second_opinions", {})
    return render_html(
        _PAGE,
        **registration,
        title=f"{registration['name']} version {registration['version']}: the gate",
        seen=[(name, "not known" if n is None else n) for name, n in seen.items()],
        opinions=[
            (_OPINIONS[name], loss["loss"], loss["margin"], "yes" if loss["worse"] else "no")
            for name, loss in opinions.items()
        ],
    )
