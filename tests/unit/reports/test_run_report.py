"""The report of a run."""

import copy
import re
from pathlib import Path
from typing import Any

from pipeline.config.loader import load_config
from pipeline.config.schema import Config
from pipeline.reports.run_report import render
from tests.unit.reports.markup import HOSTILE, Markup, safe
from tests.unit.reports.records import run_record

DIGITS = Path(__file__).parents[3] / "configs" / "digits.yaml"
HISTORY = [
    {"images": 4000, "seconds": 0.4},
    {"images": 8000, "seconds": 0.9987, "score_seconds": 1234.5678},
]
PICTURES = {"grid.png": b"1", "classes.png": b"2", "losses.png": b"3"}


def page(record: dict[str, Any], config: Config | None = None) -> Markup:
    return safe(render(config or load_config(DIGITS), record, HISTORY, PICTURES, 12.7))


def test_scores_training_and_data_are_in_words_and_tables() -> None:
    found = page(run_record())
    assert "FID ↓ 874.06 785.70 to 962.42 52.60 ± 16.43 Recall ↑ 0.186" in found.text
    assert (
        "1,350 generated against 1,350 real images of the test split, evaluation seed 0."
        in found.text
    )
    assert "With other seeds the FID is 891.78, 1,898. Features: classifier 1fbf21be" in found.text
    assert "over random draws of 1,350 images" in found.text
    assert "8,000 images in 1 s of training steps, 8,010 a second; 1,235 s of scores" in found.text
    assert "13 s of evaluation." in found.text
    assert "each batch of 64, as in training, the same generator has a FID of 879.12" in found.text
    assert "a gap of -8.71 ± 7.27 (means" in found.text
    assert "decided 3.8% of an image's variance" in found.text
    assert "Class train select test 0 cat 1,000 300 300 1 dog 79 59 59" in found.text
    assert "Generated images 0 to 63 of seed 0." in found.text
    assert "Each row from one latent to another." not in found.text  # there is no such picture


def test_batch_norm_is_told_of_where_batches_matter_only() -> None:
    without = load_config(DIGITS, ["model.generator.norm=none"])
    adapted = load_config(DIGITS)
    adapted.adapt.base, adapted.adapt.method = "models:/m/1", "supervised"
    cases = {"The generator has no batch norm.": without, "by the statistics of the base": adapted}
    for words, config in cases.items():
        found = page(run_record(batch_norm={}), config)
        assert words in found.text
        assert "calibrated statistics" not in found.text


def test_the_rows_of_classes_have_names() -> None:
    names = ["cat", "10"] + [f"kind {number}" for number in range(998)]
    record = copy.deepcopy(run_record())
    record["data"]["classes"] = names
    counts = {split: [1] * 1000 for split in ("train", "select", "test")}
    record["contents"]["class_counts"] = counts
    text = render(load_config(DIGITS), record, HISTORY, PICTURES, 12.7)
    rows = re.search(r'<div class="rows"><ol>(.*?)</ol>\s*<img', text, re.DOTALL)
    assert rows is not None
    listed = re.findall("<li>(.*?)</li>", rows[1])
    assert listed == ["0 cat", "1 &#34;10&#34;"] + [f"{n + 2} kind {n}" for n in range(62)]
    found = safe(text)
    assert '1 "10" 1 1 1' in found.text
    assert "And 900 more." in found.text


def test_names_and_messages_are_text() -> None:
    record = copy.deepcopy(run_record())
    record["data"]["classes"] = [HOSTILE, "dog"]
    record["contents"]["skipped"] = {"count": 30, "first": [HOSTILE] * 20}
    record["contents"]["ignored"] = {"count": 1, "first": [HOSTILE]}
    record["adapted"] = {"base": HOSTILE, "differs": "gamma"}
    config = load_config(DIGITS)
    config.name = config.data.path = HOSTILE
    found = page(record, config)
    # The name in title, heading and YAML; the class; files; the base; the path, and in YAML.
    assert found.text.count(HOSTILE) == 3 + 21 + 1 + 2
    # The name of a class is cut, in the table and beside the picture of classes.
    assert found.text.count(HOSTILE[:39] + "…") == 2
    assert "and 10 more" in found.text
