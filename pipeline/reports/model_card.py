"""The card of a registered version: its description in Markdown, for readers of the registry."""

import re
from collections.abc import Mapping
from typing import Any

from bngan.data.class_names import list_classes
from bngan.metrics.features import ExtractorInfo
from pipeline.config.schema import Config
from pipeline.reports.in_words import in_words
from pipeline.reports.tables import adaptation, data_summary, score_rows, warnings

_CLASSES = 30
"""Most classes that the card lists: MLflow keeps 5,000 characters of it."""
_PUNCTUATION, _ESCAPED = re.compile(r"[]\\`*_[<>#|&~!$:]"), r"\\\g<0>"
"""Characters of names that Markdown or HTML could read as markup, and what stands for one."""


def card(config: Config, record: Mapping[str, Any], run_id: str) -> str:
    """Return a version's Markdown from its record of scores; run ``run_id`` has the grid."""
    rows = "\n".join(f"| {' | '.join(row)} |" for row in score_rows(record))
    model, train = config.model, config.train
    extractor = ExtractorInfo(**record["extractor"]).describe()
    notes = "".join(f"> {note}\n\n" for note in [" ".join(in_words(record)), *warnings(record)])
    kind = f"{model.network}{' by class' if model.conditional else ''}"
    game = f"{train.loss} loss, penalty {train.penalty}"
    if config.adapt.base and config.adapt.method == "supervised":
        game = "supervised"
    trained = (
        f"{kind}, generator norm {model.generator.norm}, {game}, batch {train.batch_size}, "
        f"{train.images:,} images, seed {config.seed}."
    )
    parameters = "`seed`, `truncation`, `label`, `class_name`, `format`"
    classes = ""
    if model.conditional:
        listed = list_classes(record["data"]["classes"], most=_CLASSES)
        classes = f"**Classes.** {_PUNCTUATION.sub(_ESCAPED, listed)}.\n\n"
    return f"""![Generated images](get-artifact?path=grid.png&run_uuid={run_id})

{notes}| score | this generator | 95 % interval | real against real |
| --- | --- | --- | --- |
{rows}

Measured by {record["protocol"]["name"]}, {extractor}.

**Data.** {data_summary(config, record)}

**Training.** {trained}{adaptation(record)}

{classes}**Use.** `bngan sample models:/{config.register.model}@champion`; parameters {parameters}.
"""
