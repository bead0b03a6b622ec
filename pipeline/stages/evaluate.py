"""evaluate: the final scores of the exported generator, pictures, and the report."""

import json
from dataclasses import asdict

import numpy as np

from bngan.images import png_bytes
from bngan.metrics.features import Extractor, Features
from bngan.metrics.protocol import EVALUATION_SEED, Protocol, score
from bngan.sampling import Sampler
from pipeline import cluster
from pipeline.plots import training_curves
from pipeline.report import readable, render
from pipeline.stage import Stage, StageContext, Summary

GRID = 64


def run(context: StageContext) -> Summary:
    """Write ``scores.json``, ``grid.png``, ``curves.png`` and ``report.html``."""
    reference, output = context.inputs["reference"], context.output
    protocol = Protocol.parse(context.config.evaluate.protocol)
    device = cluster.local_device(context.config.train.accelerator)
    sampler = Sampler.load(context.inputs["train"]).to(device)
    extractor = Extractor.load(reference).to(device)
    real = np.load(reference / "features_real.npy")
    scores = score(_features(context, sampler, extractor, protocol.count), real)
    record = {
        "scores": scores,
        "floor": json.loads((reference / "floor.json").read_text()),
        "protocol": {**asdict(protocol), "seed": EVALUATION_SEED},
        "extractor": asdict(extractor.info),
    }
    (output / "scores.json").write_text(json.dumps(record, indent=2))
    history = json.loads((context.inputs["train"] / "history.json").read_text())
    grid = png_bytes(sampler.images(EVALUATION_SEED, range(GRID)))
    curves = training_curves(history)
    (output / "grid.png").write_bytes(grid)
    (output / "curves.png").write_bytes(curves)
    (output / "report.html").write_text(render(context.config, record, history, grid, curves))
    context.events.metrics(scores, 0)
    for name in ("grid.png", "curves.png", "report.html", "scores.json"):
        context.events.artifact(name, (output / name).read_bytes())
    return {**record, "note": f"FID {readable(scores['fid'])} by {protocol.name}"}


def _features(
    context: StageContext, sampler: Sampler, extractor: Extractor, count: int
) -> Features:
    """Features of ``count`` generated images, a batch of images at a time."""
    parts: list[Features] = []
    done = 0
    for images in sampler.batches(EVALUATION_SEED, range(count)):
        parts.append(extractor(images))
        done += len(images)
        context.events.progress(done, count, "samples")
    return Features(*(np.concatenate(column) for column in zip(*parts, strict=True)))


STAGE = Stage(
    "evaluate",
    run,
    config=("evaluate", "name"),
    inputs={
        "reference": ("extractor.*", "features_real.npy", "floor.json"),
        "train": ("generator.*", "history.json"),
    },
)
