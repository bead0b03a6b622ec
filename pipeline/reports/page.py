"""Self-contained HTML pages: their Jinja environment, frame, tables and pictures."""

import base64
import math
from functools import cache
from typing import TYPE_CHECKING, Any

from bngan.serialization.problem import visible

if TYPE_CHECKING:
    from jinja2 import Environment

_TEMPLATES = {
    "page": """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ title }}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<style>
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 0 auto; padding: 1rem; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .3rem .9rem; text-align: right; border-bottom: 1px solid #8884; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
.wide { overflow-x: auto; }
img { height: auto; }
small { color: #808080; }
{% block style %}{% endblock %}
</style></head><body>
<h1>{{ title }}</h1>
{% block body %}{% endblock %}
</body></html>
""",
    "parts": """
{% macro image(png, alt) %}
<img alt="{{ alt }}" src="data:image/png;base64,{{ png | base64 }}">
{% endmacro %}
{% macro table(heads, rows) %}
<table>
<tr>{% for head in heads %}<th>{{ head }}</th>{% endfor %}</tr>
{% for row in rows %}
<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</table>
{% endmacro %}
""",
}
"""Templates that others extend or import. Each page's own template is in the module that fills it,
since job submission and the fingerprints of stages take Python modules only."""


def render_html(template: str, **values: Any) -> str:
    """Return a page or a part of one: ``template`` with values, which Jinja escapes.

    Raises:
        jinja2.UndefinedError: if the template names a value that is missing.
    """
    return _environment().from_string(template).render(values)


@cache
def _environment() -> "Environment":
    # Imported here, so that other commands start without it.
    from jinja2 import DictLoader, Environment, StrictUndefined

    environment = Environment(
        loader=DictLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=as_text,
        trim_blocks=True,
    )
    environment.filters["base64"] = lambda content: base64.b64encode(content).decode()
    return environment


def readable(score: float) -> str:
    """Return a score as text.

    It has two decimals, three significant digits below 1, and no decimals if whole or from 1,000.
    """
    if abs(score) >= 1000 or float(score).is_integer():
        return f"{score:,.0f}"
    return f"{score:.2f}" if abs(score) >= 1 else f"{score:.3g}"


def as_text(value: Any) -> Any:
    """Return a value as pages show it: numbers rounded, a list as an interval, None as nothing.

    Text keeps its lines; other characters that a page would obey, such as marks of the direction of
    writing, are shown. Markup, which has been text before, stays.
    """
    if value is None:
        return ""
    if isinstance(value, list):
        return " to ".join(map(as_text, value))
    if isinstance(value, int | float):
        return "∞" if math.isinf(value) else readable(value)
    if isinstance(value, str) and not hasattr(value, "__html__"):
        return visible(value, keep="\n")
    return value
