"""The section of a report that describes the data."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

from bngan.data.dataset import SPLITS
from pipeline.data.inventory import leakage_warning

_CLASSES = 100
"""Up to so many are listed in the report."""


def as_html(found: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    """Of ``contents``, beside ``dataset.json``: a table of classes, and what is not used."""
    told = found["duplicates"]
    parts = [f"<p>{told['repeated']:,} images have exactly the pixels of another one.</p>"]
    if warning := leakage_warning(told, data["counts"]):
        parts.append(f'<p class="note">{warning}.</p>')
    parts.append(_class_table(found, data["classes"]))
    parts.append(_list(found["skipped"], "images cannot be used and are left out"))
    parts.append(_list(found["ignored"], "files are no images, or not where images are looked for"))
    return "\n".join(filter(None, parts))


def _class_table(found: Mapping[str, Any], classes: Sequence[str]) -> str:
    if not classes:
        return ""
    counts = [found["class_counts"][split] for split in SPLITS]
    rows = [(name, *numbers) for name, *numbers in zip(classes, *counts, strict=True)][:_CLASSES]
    if any(found["unlabelled"].values()):
        rows.append(("without a class", *(found["unlabelled"][split] for split in SPLITS)))
    cells = "".join(
        f"<tr><td>{html.escape(name)}</td>"
        + "".join(f"<td>{number:,}</td>" for number in numbers)
        + "</tr>\n"
        for name, *numbers in rows
    )
    heads = "".join(f"<th>{head}</th>" for head in ("Class", *SPLITS))
    more = f"<p>And {len(classes) - _CLASSES:,} more.</p>" if len(classes) > _CLASSES else ""
    return f'<div class="wide"><table>\n<tr>{heads}</tr>\n{cells}</table></div>{more}'


def _list(lines: Mapping[str, Any], what: str) -> str:
    if not lines["count"]:
        return f"<p>0 {what}.</p>"
    items = "".join(f"<li>{html.escape(line)}</li>\n" for line in lines["first"])
    more = lines["count"] - len(lines["first"])
    rest = f"<li>and {more:,} more</li>\n" if more else ""
    return (
        f"<details><summary>{lines['count']:,} {what}</summary><ul>\n{items}{rest}</ul></details>"
    )
