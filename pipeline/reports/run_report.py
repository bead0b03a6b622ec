"""The report of a run: one HTML file that needs nothing else."""

import html
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from string import Template
from typing import Any

from bngan import __version__
from bngan.metrics.features import ExtractorInfo
from pipeline.config.loader import to_yaml
from pipeline.config.schema import Config
from pipeline.reports.data_section import as_html
from pipeline.reports.page import HEAD, image, readable
from pipeline.reports.tables import adaptation, data_summary, score_rows, warnings
from pipeline.storage.artifacts import SAMPLE_GRID

Pictures = dict[str, bytes]
"""PNGs by file name."""
_PAGE = Template(
    HEAD
    + """.wide { overflow-x: auto; }
figure { margin: 1rem 0; }
img { max-width: 100%; height: auto; display: block; }
img.samples { image-rendering: pixelated; width: 36rem; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 1rem; }
.plots img { width: 100%; }
pre { overflow-x: auto; padding: .8rem; background: #8881; border-radius: .4rem; font-size: .85rem; }
.note { border-left: .3rem solid #d97706; padding-left: .8rem; }
figcaption, small { color: #808080; }
li { overflow-wrap: anywhere; }
</style></head><body>
<h1>$title</h1>
<h2>Scores</h2>
$notes
<div class="wide"><table>
<tr><th>Score</th><th>This generator</th><th>95 % interval</th><th>Real against real</th></tr>
$rows</table></div>
<p>$protocol</p>
<p><small>FID∞: extrapolated to infinitely many images. KID: of features at the extractor's own scale.
Class divergence: KL of the classes that generated images are taken for from those real ones are.
Authenticity: share of images that are no copies of training images. C_T: standard deviations by which
generated images are farther from the training images than test images are; below -3 they are copies.
</small></p>
<h2>Samples</h2>
$samples
<h2>Training</h2>
<p>$training</p>
<div class="plots">$plots</div>
<h2>Batch norm</h2>
<p>$batch_norm</p>
<h2>Data</h2>
<p>$data</p>
$contents
<h2>Configuration</h2>
<pre>$config</pre>
<p><small>$versions</small></p>
</body></html>
"""
)
_CAPTIONS = {
    SAMPLE_GRID: "Generated images 0 to 63 of seed 0.",
    "classes.png": "A row for each class.",
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
    """HTML of a run's scores, as ``evaluate`` records them, with its pictures.

    ``seconds`` is what the evaluation took.
    """
    rows = score_rows(record)
    return _PAGE.substitute(
        title=html.escape(config.name),
        rows="".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>\n"
            for row in rows
        ),
        notes="".join(f'<p class="note">{html.escape(note)}</p>' for note in warnings(record)),
        protocol=html.escape(_protocol(record)),
        samples="".join(
            f"<figure>{image(pictures[name], caption, 'samples')}"
            f"<figcaption>{caption}</figcaption></figure>"
            for name, caption in _CAPTIONS.items()
            if name in pictures
        ),
        plots="".join(
            image(content, name.removesuffix(".png"), "plot")
            for name, content in pictures.items()
            if name not in _CAPTIONS
        ),
        training=html.escape(f"{_training(history, seconds)}{adaptation(record)}"),
        batch_norm=html.escape(_batch_norm(config, record)),
        data=html.escape(data_summary(config, record)),
        contents=as_html(record["contents"], record["data"]),
        config=html.escape(to_yaml(config)),
        versions=", ".join(
            [f"bngan {__version__}", *(f"{n} {version(n)}" for n in ("torch", "ray", "mlflow"))]
        ),
    )


def _protocol(record: Mapping[str, Any]) -> str:
    protocol, seeds = record["protocol"], record["seeds"]
    others = ", ".join(readable(fid) for fid in list(seeds.values())[1:])
    return (
        f"Protocol {protocol['name']}: {protocol['count']:,} generated against "
        f"{protocol['count']:,} real images of the {protocol['split']} split, evaluation seed "
        f"{protocol['seeds'][0]}. With other seeds the FID is {others}. "
        f"Features: {ExtractorInfo(**record['extractor']).describe()}. "
        f"Real against real: mean and standard deviation over random draws of "
        f"{record['floor']['count']:,.0f} images. As many images of the very same distribution would "
        f"get a FID of {readable(record['bias'])}."
    )


def _training(history: Sequence[Mapping[str, float]], seconds: float) -> str:
    last = history[-1]
    scores = sum(point.get("score_seconds", 0.0) for point in history)
    return (
        f"{last['images']:,.0f} images in {last['seconds']:,.0f} s of training steps, "
        f"{last['images'] / last['seconds']:,.0f} a second; {scores:,.0f} s of scores along the way, "
        f"{seconds:,.0f} s of evaluation."
    )


def _batch_norm(config: Config, record: Mapping[str, Any]) -> str:
    found = record["batch_norm"]
    if not config.model.generator.batch_normalised:
        return "The generator has no batch norm."
    if config.keeps_statistics:
        return "Normalised by the statistics of the base, in training as here: no batch matters."
    told = (
        f"Scores are those of the calibrated statistics. Normalised by the statistics of each batch of "
        f"{found['group']}, as in training, the same generator has a FID of "
        f"{readable(found['fid_batch_statistics'])}, a gap of {readable(found['gap'])} ± "
        f"{readable(found['gap_se'])} (means over the evaluation seeds, standard error)."
    )
    sensitivity = found["batch_mate_sensitivity"]
    if sensitivity is None:
        return told
    return (
        f"{told} In training the rest of a batch decided {sensitivity:.1%} of an image's variance at "
        "the end (batch-mate sensitivity)."
    )
