"""evaluate: the final scores of the exported generator, pictures, and the report."""

import json
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from bngan.data import ImageSplit
from bngan.images import png_bytes
from bngan.latents import telemetry_batch
from bngan.metrics.evaluation import Reference, evaluation
from bngan.metrics.features import Features
from bngan.metrics.neighbours import nearest
from bngan.metrics.protocol import EVALUATION_SEEDS, score
from bngan.sampling import Sampler
from bngan.telemetry import scales
from pipeline.plots import gamma_histogram, training_curves
from pipeline.report import Pictures, readable, render
from pipeline.scoring import generated_features
from pipeline.stage import Stage, StageContext, Summary
from pipeline.stages.reference import TRAIN

GRID, ROW = 64, 10
"""Images in the grid of samples, and in a row of the other pictures."""
_SEED = EVALUATION_SEEDS[0]


def run(context: StageContext) -> Summary:
    """Write ``scores.json``, ``report.html`` and the pictures in it."""
    started, output = time.monotonic(), context.output
    reference = Reference.load(context.inputs["reference"])
    train = Features.load(context.inputs["reference"] / TRAIN)
    fakes = {seed: _generated(context, reference, seed) for seed in EVALUATION_SEEDS}
    context.events.progress(0, 1, "scores and their intervals")
    record = evaluation(reference, fakes, train.features)
    history = json.loads((context.inputs["train"] / "history.json").read_text())
    record["batch_norm"] = _batch_norm(context, reference, record["scores"]["fid"], history)
    record["data"] = json.loads((context.inputs["prepare"] / "dataset.json").read_text())
    (output / "scores.json").write_text(json.dumps(record, indent=2))
    pictures = _pictures(context, reference, train, history)
    took = time.monotonic() - started
    (output / "report.html").write_text(render(context.config, record, history, pictures, took))
    for name, content in pictures.items():
        (output / name).write_bytes(content)
    for path in sorted(output.iterdir()):
        context.events.artifact(path.name, path.read_bytes())
    context.events.metrics(record["scores"], 0)
    note = f"FID {readable(record['scores']['fid'])} by {reference.protocol.name}"
    return {**record, "note": note}


def _generated(
    context: StageContext, reference: Reference, seed: int, group: int | None = None
) -> Features:
    return generated_features(
        context.inputs["train"],
        context.inputs["reference"],
        seed,
        reference.protocol.count,
        context.config.train.accelerator,
        lambda done, total: context.events.progress(done, total, f"samples, seed {seed}"),
        group,
    )


def _batch_norm(
    context: StageContext, reference: Reference, fid: float, history: Sequence[dict[str, float]]
) -> dict[str, Any]:
    """What the kind of statistics changes: the score by those of each batch, and what was told."""
    train = context.config.train
    if not context.config.model.generator.batch_normalised:
        return {}
    group = train.batch_size if train.norm_batch == "global" else int(train.norm_batch)
    by_batch = score(_generated(context, reference, _SEED, group), reference.real)["fid"]
    told = [point for point in history if "batch_mate_sensitivity" in point]
    return {
        "group": group,
        "fid_batch_statistics": by_batch,
        "gap": by_batch - fid,
        "batch_mate_sensitivity": told[-1]["batch_mate_sensitivity"] if told else None,
    }


def _pictures(
    context: StageContext,
    reference: Reference,
    train: Features,
    history: Sequence[dict[str, float]],
) -> Pictures:
    """PNGs by file name."""
    sampler = Sampler.load(context.inputs["train"])
    grid = sampler.images(_SEED, range(GRID))
    found = {
        "grid.png": png_bytes(grid),
        "interpolation.png": png_bytes(sampler.interpolations(_SEED, ROW // 2, ROW), ROW),
    }
    if sampler.model.conditional:
        classes = np.repeat(np.arange(min(sampler.spec.classes, GRID)), ROW)
        images = sampler.images(_SEED, range(len(classes)), labels=classes.tolist())
        found["classes.png"] = png_bytes(images, ROW)
    _, closest = nearest(reference.extractor(grid[:ROW]).features, train.features)
    originals = ImageSplit.load(context.inputs["prepare"], "train").images[closest]
    found["neighbours.png"] = png_bytes(np.concatenate([grid[:ROW], originals]), ROW)
    found |= training_curves(history)
    frequencies = sampler.spec.class_frequencies if sampler.model.conditional else ()
    inputs = telemetry_batch(0, GRID, sampler.model.latent_dim, frequencies)
    if gammas := scales(sampler.generator, inputs):
        found["gammas.png"] = gamma_histogram({n: g.numpy() for n, g in gammas.items()})
    return found


STAGE = Stage(
    "evaluate",
    run,
    config=("name", "extractor", "evaluate", "train.batch_size", "train.norm_batch"),
    inputs={
        "prepare": ("train_images.npy", "dataset.json"),
        "reference": ("extractor.*", "real.npz", "reference.json", TRAIN),
        "train": ("generator.*", "history.json"),
    },
)
