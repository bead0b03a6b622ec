"""The card of a registered version: its description in Markdown, for readers of the registry."""

import shlex
from collections.abc import Mapping
from typing import Any

from bngan.data.class_names import list_classes
from bngan.metrics.features import ExtractorInfo
from pipeline.config.schema import Config
from pipeline.reports.in_words import in_words
from pipeline.reports.markdown import code, plain
from pipeline.reports.tables import adaptation, data_summary, score_rows, warnings

_CLASSES = 30
"""Most classes that the card lists: MLflow keeps 5,000 characters of it."""


def card(config: Config, record: Mapping[str, Any], run_id: str) -> str:
    """Return a version's Markdown from its record of scores; run ``run_id`` has the grid."""
    rows = "\n".join(f"| {' | '.join(map(plain, row))} |" for row in score_rows(record))
    model, train = config.model, config.train
    extractor = ExtractorInfo(**record["extractor"]).describe()
    notes = "".join(
        f"> {plain(note)}\n\n" for note in [" ".join(in_words(record)), *warnings(record)]
    )
    kind = f"{model.network}{' by class' if model.conditional else ''}"
    game = f"{train.loss} loss, penalty {train.penalty}"
    if config.adapt.base and config.adapt.method == "supervised":
        game = "supervised"
    trained = (
        f"{kind}, generator norm {model.generator.norm}, {game}, batch {train.batch_size}, "
        f"{train.images:,} images, seed {config.seed}."
    )
    use = shlex.join(("bngan", "sample", f"models:/{config.register.model}@champion"))
    parameters = "`seed`, `truncation`, `label`, `class_name`, `format`"
    classes = ""
    if model.conditional:
        listed = list_classes(record["data"]["classes"], most=_CLASSES)
        classes = f"**Classes.** {plain(listed)}.\n\n"
    return f"""![Generated images](get-artifact?path=grid.png&run_uuid={run_id})

{notes}| score | this generator | 95 % interval | real against real |
| --- | --- | --- | --- |
{rows}

Measured by {plain(record["protocol"]["name"])}, {plain(extractor)}.

**Data.** {plain(data_summary(config, record))}

**Training.** {plain(trained + adaptation(record))}

{classes}**Use.** {code(use)}; parameters {parameters}.
"""
