"""The section of a report that describes the data."""

from collections.abc import Mapping
from typing import Any

from bngan.data.class_names import numbered_name
from bngan.data.dataset import SPLITS
from pipeline.data.inventory import leakage_warning, untested
from pipeline.data.near_duplicates import near_line, near_warning
from pipeline.data.pixel_counts import conversions, stored_levels
from pipeline.reports.page import render_html

_CLASSES = 100
"""Most classes that the report lists."""
_SECTION = """
{% from "parts" import table %}
{% macro listed(lines, what) %}
{% set more = lines.count - lines.first | length %}
{% if lines.count %}
<details><summary>{{ lines.count }} {{ what }}</summary><ul>
{% for line in lines.first %}<li>{{ line }}</li>
{% endfor %}
{% if more %}<li>and {{ more }} more</li>{% endif %}
</ul></details>
{% else %}
<p>0 {{ what }}.</p>
{% endif %}
{% endmacro %}
<p>{{ contents.duplicates.repeated }} images have exactly the pixels of another one.</p>
{% if near %}<p>{{ near }}.</p>{% endif %}
{% for line in notes %}<p class="note">{{ line }}.</p>
{% endfor %}
{% for line in pixels %}<p>{{ line }}.</p>
{% endfor %}
{% if rows %}<div class="wide">{{ table(heads, rows) }}</div>{% endif %}
{% if unlisted > 0 %}<p>And {{ unlisted }} more.</p>{% endif %}
{{ listed(contents.skipped, "images cannot be used and are left out") }}
{{ listed(contents.ignored, "files are no images, or not where images are looked for") }}
"""


def as_html(contents: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    """Return the HTML of ``contents`` and ``dataset.json``: a class table, and unused files."""
    # Inventories of earlier versions lack the two.
    pixels, near = contents.get("pixels", {}), contents.get("near_duplicates", {})
    counts = data["counts"]
    notes = (
        leakage_warning(contents["duplicates"], counts),
        near_warning(near, counts),
        untested(contents, data["classes"]),
    )
    return render_html(
        _SECTION,
        contents=contents,
        near=near_line(near, counts),
        notes=[line for line in notes if line],
        pixels=[line for line in (*conversions(pixels), stored_levels(pixels)) if line],
        heads=("Class", *SPLITS),
        rows=_class_rows(contents, data["classes"]),
        unlisted=len(data["classes"]) - _CLASSES,
    )


def _class_rows(contents: Mapping[str, Any], classes: list[str]) -> list[tuple[Any, ...]]:
    counts, unlabelled = contents["class_counts"], contents["unlabelled"]
    columns = (counts[split] for split in SPLITS)
    names = (numbered_name(number, name) for number, name in enumerate(classes))
    rows = list(zip(names, *columns, strict=True))[:_CLASSES]
    if classes and any(unlabelled.values()):
        rows.append(("without a class", *(unlabelled[split] for split in SPLITS)))
    return rows
