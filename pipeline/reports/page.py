"""How every HTML page of this project begins: it needs nothing else, in light and dark, on a phone."""

import base64
import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>$title</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<style>
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 0 auto; padding: 1rem; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .3rem .9rem; text-align: right; border-bottom: 1px solid #8884; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
"""
"""Up to where a page adds styles of its own; ``$title`` is its title."""


def image(png: bytes, alt: str, css_class: str = "") -> str:
    """Return an ``<img>`` element that contains the picture."""
    encoded = base64.b64encode(png).decode()
    return (
        f'<img class="{css_class}" alt="{html.escape(alt)}" src="data:image/png;base64,{encoded}">'
    )


def readable(score: float) -> str:
    """Two decimals, but three significant digits below 1, and none of whole or of large numbers."""
    if abs(score) >= 1000 or float(score).is_integer():
        return f"{score:,.0f}"
    return f"{score:.2f}" if abs(score) >= 1 else f"{score:.3g}"


def html_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """HTML; columns without any value are left out."""
    shown = [key for key in (rows[0] if rows else {}) if any(row[key] is not None for row in rows)]
    head = "".join(f"<th>{key.replace('_', ' ')}</th>" for key in shown)
    cells = "".join(
        "<tr>" + "".join(f"<td>{html.escape(_cell(row[key]))}</td>" for key in shown) + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><tr>{head}</tr>{cells}</table></div>'


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return " to ".join(_cell(each) for each in value)
    if isinstance(value, float):
        return "∞" if math.isinf(value) else readable(value)
    return str(value)
