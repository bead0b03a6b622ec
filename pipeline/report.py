"""The report of a run: one HTML file that needs nothing else."""

import base64
import html
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from string import Template
from typing import Any

from bngan import __version__
from bngan.metrics.features import ExtractorInfo
from pipeline.config import Config, to_yaml

_PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>$name</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .3rem .9rem; text-align: right; border-bottom: 1px solid #8884; }
th:first-child, td:first-child { text-align: left; }
img { max-width: 100%; height: auto; }
img.samples { image-rendering: pixelated; }
img.plot { background: white; border-radius: .4rem; }
pre { overflow-x: auto; padding: .8rem; background: #8881; border-radius: .4rem; font-size: .85rem; }
.note { color: #b35900; }
</style></head><body>
<h1>$name</h1>
<h2>Scores</h2>
<table><tr><th>Score</th><th>This generator</th><th>Real against real</th></tr>$rows</table>
<p>$protocol</p>$notes
<h2>Samples</h2>
<img class="samples" alt="Generated images" src="data:image/png;base64,$grid">
<h2>Training</h2>
<p>$training</p>
<img class="plot" alt="Training curves" src="data:image/png;base64,$curves">
<h2>Configuration</h2>
<pre>$config</pre>
<p>$versions</p>
</body></html>
""")

LABELS = {"fid": "FID (lower is better)", "inception_score": "Inception Score (higher is better)"}


def render(
    config: Config,
    record: Mapping[str, Any],
    history: Sequence[Mapping[str, float]],
    grid: bytes,
    curves: bytes,
) -> str:
    """HTML of a run's scores, as ``evaluate`` records them, with PNGs of samples and curves."""
    protocol, extractor, last = record["protocol"], record["extractor"], history[-1]
    return _PAGE.substitute(
        name=html.escape(config.name),
        rows="".join(
            "<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>"
            for row in score_rows(record)
        ),
        protocol=html.escape(
            f"Protocol {protocol['name']}: {protocol['count']:,} generated against "
            f"{protocol['count']:,} real images of the {protocol['split']} split, evaluation seed "
            f"{protocol['seed']}. Features: {ExtractorInfo(**extractor).describe()}. "
            f"Real against real: mean and standard deviation over random draws of "
            f"{record['floor']['count']:,.0f} images."
        ),
        notes="".join(f'<p class="note">{html.escape(note)}</p>' for note in warnings(record)),
        training=f"{last['images']:,.0f} images, {last['seconds']:,.0f} s of training steps.",
        grid=base64.b64encode(grid).decode(),
        curves=base64.b64encode(curves).decode(),
        config=html.escape(to_yaml(config)),
        versions=", ".join(
            [f"bngan {__version__}", *(f"{n} {version(n)}" for n in ("torch", "ray", "mlflow"))]
        ),
    )


def readable(score: float) -> str:
    """Two decimals, or three significant digits below 1, where two decimals would hide the score."""
    return f"{score:.2f}" if abs(score) >= 1 else f"{score:.3g}"


def warnings(record: Mapping[str, Any]) -> list[str]:
    """What a reader must know before trusting the scores."""
    notes = []
    if record["extractor"]["kind"] == "random":
        notes.append(
            "The data has no labels, so features come from an untrained network: compare scores "
            "within this dataset only, and trust your eyes more."
        )
    if record["floor"]["count"] < record["protocol"]["count"]:
        notes.append(
            "Too few unseen real images for a floor at the score's own size: with fewer images the "
            "floor comes out higher."
        )
    return notes


def score_rows(record: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """For each score there is: its label, the generator's value, and what real images score."""
    scores, floor = record["scores"], record["floor"]
    return [
        (
            label,
            readable(scores[name]),
            f"{readable(floor[name])} ± {readable(floor[f'{name}_spread'])}",
        )
        for name, label in LABELS.items()
        if name in scores
    ]
