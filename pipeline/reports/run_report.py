"""The report of a run: one self-contained HTML file."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from bngan import __version__
from bngan.data.class_names import numbered_name
from bngan.metrics.agreement import Agreement
from bngan.metrics.features import ExtractorInfo
from pipeline.config.loader import to_yaml
from pipeline.config.schema import Config
from pipeline.reports.data_section import as_html
from pipeline.reports.in_words import in_words
from pipeline.reports.page import readable, render_html
from pipeline.reports.tables import adaptation, data_summary, score_rows, warnings
from pipeline.storage.artifacts import SAMPLE_GRID

Pictures = dict[str, bytes]
"""PNGs by file name."""
CLASS_GRID, CLASS_ROWS = "classes.png", 64
"""Name of the picture with a row for each class, and most rows of it."""
_PAGE = """{% extends "page" %}
{% from "parts" import image, table %}
{% block style %}
figure { margin: 1rem 0; }
img { max-width: 100%; display: block; }
figure img { image-rendering: pixelated; width: 36rem; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 1rem; }
.plots img { width: 100%; }
pre { overflow-x: auto; padding: .8rem; background: #8881; border-radius: .4rem; font-size: .85rem; }
.note { border-left: .3rem solid #d97706; padding-left: .8rem; }
figcaption { color: #808080; }
li { overflow-wrap: anywhere; }
.rows { display: grid; grid-template-columns: minmax(4rem, max-content) minmax(0, 36rem);
  gap: .5rem; }
.rows ol { display: flex; flex-direction: column; list-style: none; margin: 0; padding: 0; }
.rows li { flex: 1 1 0; min-height: 0; align-content: center; line-height: 1.1; white-space: nowrap;
  overflow: hidden; text-overflow: ellipsis; }
{% endblock %}
{% block body %}
{% set protocol, norm, last = record.protocol, record.batch_norm, history[-1] %}
<h2>Scores</h2>
{% for line in words %}<p>{{ line }}</p>
{% endfor %}
{% for note in notes %}<p class="note">{{ note }}</p>{% endfor %}
<div class="wide">
{{ table(["Score", "This generator", "95 % interval", "Real against real"], rows) }}
</div>
<p>Protocol {{ protocol.name }}: {{ protocol.count }} generated against {{ protocol.count }} real
images of the {{ protocol.split }} split, evaluation seed {{ protocol.seeds[0] }}. With other seeds
the FID is {{ other_fids }}. Features: {{ features }}. Real against real: mean and standard deviation
over random draws of {{ record.floor.count }} images. As many images of the very same distribution
would get a FID of {{ record.bias }}.{% if agreement %} {{ agreement }}.{% endif %}</p>
<p><small>FID∞: extrapolated to infinitely many images. KID: of features at the extractor's own
scale. MIND: transport along 1,000 directions; it depends on the number of images, and has no floor
where there are too few real ones. Class divergence: KL of the classes that generated images are
taken for from those real ones are. Authenticity: share of images that are no copies of training
images. C_T: standard deviations by which generated images are farther from the training images than
test images are; below -3 they are copies.</small></p>
<h2>Samples</h2>
{% for name, caption in captions.items() if name in pictures %}
<figure>
{% if name == class_grid %}
<div class="rows"><ol>
{% for class in classes %}<li>{{ class }}</li>
{% endfor %}
</ol>{{ image(pictures[name], caption) }}</div>
{% else %}
{{ image(pictures[name], caption) }}
{% endif %}
<figcaption>{{ caption }}</figcaption></figure>
{% endfor %}
<h2>Training</h2>
<p>{{ last.images }} images in {{ last.seconds | round }} s of training steps,
{{ (last.images / last.seconds) | round }} a second;
{{ history | map(attribute="score_seconds", default=0) | sum | round }} s of scores along the way,
{{ seconds | round }} s of evaluation.{{ adapted }}</p>
<div class="plots">
{% for name, png in pictures.items() if name not in captions %}
{{ image(png, name.removesuffix(".png")) }}
{% endfor %}
</div>
<h2>Batch norm</h2>
<p>
{% if not config.model.generator.batch_normalised %}
The generator has no batch norm.
{% elif config.keeps_statistics %}
Normalised by the statistics of the base, in training as here: no batch matters.
{% else %}
Scores are those of the calibrated statistics. Normalised by the statistics of each batch of
{{ norm.group }}, as in training, the same generator has a FID of {{ norm.fid_batch_statistics }}, a
gap of {{ norm.gap }} ± {{ norm.gap_se }} (means over the evaluation seeds, standard error).
{% if norm.batch_mate_sensitivity is not none %}
In training the rest of a batch decided {{ "{:.1%}".format(norm.batch_mate_sensitivity) }} of an
image's variance at the end (batch-mate sensitivity).
{% endif %}
{% endif %}
</p>
<h2>Data</h2>
<p>{{ data }}</p>
{{ contents | safe }}
<h2>Configuration</h2>
<pre>{{ yaml }}</pre>
<p><small>{{ versions }}</small></p>
{% endblock %}
"""
_CAPTIONS = {
    SAMPLE_GRID: "Generated images 0 to 63 of seed 0.",
    CLASS_GRID: "A row for each class, the first 64 of them at most.",
    "interpolation.png": "Each row from one latent to another.",
    "neighbours.png": "Above: generated images; below: the training images nearest to them.",
}


def render(
    config: Config,
    record: Mapping[str, Any],
    history: Sequence[Mapping[str, float]],
    pictures: Pictures,
    seconds: float,
) -> str:
    """Return the HTML of a run's scores, as ``evaluate`` records them, with its pictures.

    ``seconds`` is the duration of the evaluation.
    """
    agreement = record.get("agreement")  # absent from records of earlier versions
    versions = [f"{name} {version(name)}" for name in ("torch", "ray", "mlflow")]
    return render_html(
        _PAGE,
        title=config.name,
        config=config,
        yaml=to_yaml(config),
        record=record,
        rows=score_rows(record),
        words=in_words(record),
        notes=warnings(record),
        agreement=Agreement(**agreement).describe() if agreement else "",
        other_fids=", ".join(map(readable, list(record["seeds"].values())[1:])),
        features=ExtractorInfo(**record["extractor"]).describe(),
        pictures=pictures,
        captions=_CAPTIONS,
        class_grid=CLASS_GRID,
        classes=list(map(numbered_name, range(CLASS_ROWS), record["data"]["classes"])),
        history=history,
        seconds=seconds,
        adapted=adaptation(record),
        data=data_summary(config, record),
        contents=as_html(record["contents"], record["data"]),
        versions=", ".join([f"bngan {__version__}", *versions]),
    )
