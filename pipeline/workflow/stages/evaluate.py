"""evaluate: the final scores of the exported generator, pictures, and the report."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bngan.batchnorm.layer import group_size
from bngan.data.dataset import SPLITS, ImageSplit
from bngan.data.images import png_bytes
from bngan.diagnostics.batchnorm_telemetry import gamma_values
from bngan.generation.latents import telemetry_batch
from bngan.generation.sampler import WEIGHTS, Sampler
from bngan.generation.weight_diff import weight_difference
from bngan.metrics.evaluation import Reference, evaluation
from bngan.metrics.features import Features
from bngan.metrics.fid import frechet_distance
from bngan.metrics.neighbours import nearest
from bngan.metrics.pretrained import file_hash
from bngan.metrics.protocol import EVALUATION_SEEDS
from pipeline.data.digests import ImageDigests
from pipeline.evaluation.overlap import Overlap
from pipeline.evaluation.scoring import generated_features, load_reference
from pipeline.reports.page import readable
from pipeline.reports.plots import gamma_histogram, training_curves
from pipeline.reports.run_report import CLASS_GRID, CLASS_ROWS, Pictures, render
from pipeline.storage import artifacts
from pipeline.workflow.stage import Stage, StageContext, Summary
from pipeline.workflow.stages.data_digests import data_digests

_GRID_COUNT, _ROW_COUNT = 64, 10
"""Images in the grid of samples, and in a row of the other pictures."""
_SEED = EVALUATION_SEEDS[0]


def run(context: StageContext) -> Summary:
    """Write ``scores.json``, ``report.html`` and the pictures in it."""
    started, output = time.monotonic(), context.output
    reference = load_reference(context.inputs["reference"])
    train = Features.load(context.inputs["reference"] / artifacts.TRAIN_FEATURES)
    fakes = {seed: _generated(context, reference, seed) for seed in EVALUATION_SEEDS}
    context.events.progress(0, 1, "scores and their intervals")
    record = evaluation(reference, fakes, train.features)
    history = json.loads((context.inputs["train"] / artifacts.HISTORY).read_text(encoding="utf-8"))
    record["batch_norm"] = _batch_norm(context, reference, record["seeds"], history)
    if context.config.adapt.base:
        record["adapted"] = _adapted(context, reference)
    for key, name in {"data": artifacts.DATASET, "contents": artifacts.CONTENTS}.items():
        record[key] = json.loads((context.inputs["prepare"] / name).read_text(encoding="utf-8"))
    (output / artifacts.SCORES).write_text(json.dumps(record, indent=2), encoding="utf-8")
    pictures = _pictures(context, reference, train, history)
    took = time.monotonic() - started
    (output / artifacts.REPORT).write_text(
        render(context.config, record, history, pictures, took), encoding="utf-8"
    )
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
        context.storage,
    )


def _batch_norm(
    context: StageContext,
    reference: Reference,
    fids: Mapping[str, float],
    history: Sequence[dict[str, float]],
) -> dict[str, Any]:
    """Return the change of FID with batch statistics, and the last batch-mate sensitivity.

    ``fids``: FID with stored statistics, by evaluation seed. The spread over seeds gives the gap's
    error; the jackknife would take images that share their statistics for independent ones.
    """
    train = context.config.train
    if not context.config.model.generator.batch_normalised or context.config.keeps_statistics:
        return {}
    group = group_size(train.batch_size, train.norm_batch)
    fakes = (_generated(context, reference, seed, group) for seed in EVALUATION_SEEDS)
    by_batch = [frechet_distance(fake.features, reference.real.features) for fake in fakes]
    gaps = np.subtract(by_batch, list(fids.values()))
    measured = [point for point in history if "batch_mate_sensitivity" in point]
    return {
        "group": group,
        "fid_batch_statistics": float(np.mean(by_batch)),
        "gap": float(gaps.mean()),
        "gap_se": float(gaps.std(ddof=1) / np.sqrt(len(gaps))),
        "batch_mate_sensitivity": measured[-1]["batch_mate_sensitivity"] if measured else None,
    }


def _adapted(context: StageContext, reference: Reference) -> dict[str, Any]:
    """Return facts about the base.

    Those are its name, the hash of its weights, the weights that differ from it, and the number of
    the reference's images that it was trained on.
    """
    base = context.inputs["reference"] / artifacts.BASE_GENERATOR
    digests = data_digests(context)
    of_base = replace(digests, splits=dict.fromkeys(SPLITS, ImageDigests.none()))
    overlap = Overlap.of(reference, digests, {"base": of_base})
    samplers = (Sampler.load(folder) for folder in (context.inputs["train"], base))
    return {
        "base": str(context.config.adapt.base),
        "generator": file_hash(base / WEIGHTS),
        "differs": weight_difference(*samplers),
        "seen": overlap.counts["base"],
    }


def _pictures(
    context: StageContext,
    reference: Reference,
    train: Features,
    history: Sequence[dict[str, float]],
) -> Pictures:
    """Return PNGs by file name."""
    sampler = Sampler.load(context.inputs["train"])
    grid = sampler.images(_SEED, range(_GRID_COUNT))
    pictures = {
        artifacts.SAMPLE_GRID: png_bytes(grid),
        "interpolation.png": png_bytes(
            sampler.interpolations(_SEED, _ROW_COUNT // 2, _ROW_COUNT), _ROW_COUNT
        ),
    }
    if sampler.model.conditional:
        classes = np.repeat(np.arange(min(sampler.spec.classes, CLASS_ROWS)), _ROW_COUNT)
        images = sampler.images(_SEED, range(len(classes)), labels=classes.tolist())
        pictures[CLASS_GRID] = png_bytes(images, _ROW_COUNT)
    _, closest = nearest(reference.extractor(grid[:_ROW_COUNT]).features, train.features)
    originals = ImageSplit.load(context.inputs["prepare"], "train").images[closest]
    pictures["neighbours.png"] = png_bytes(
        np.concatenate([grid[:_ROW_COUNT], originals]), _ROW_COUNT
    )
    pictures |= training_curves(history)
    frequencies = sampler.spec.class_frequencies if sampler.model.conditional else ()
    inputs = telemetry_batch(0, _GRID_COUNT, sampler.model.latent_dim, frequencies)
    if gammas := gamma_values(sampler.generator, inputs):
        pictures["gammas.png"] = gamma_histogram({n: g.numpy() for n, g in gammas.items()})
    return pictures


STAGE = Stage(
    "evaluate",
    run,
    config=(
        *("name", "extractor", "evaluate", "train.batch_size", "train.norm_batch"),
        *("adapt.base", "adapt.method"),
    ),
    inputs={
        "prepare": (
            "train_images.npy",
            artifacts.DATASET,
            artifacts.CONTENTS,
            artifacts.DIGESTS,
        ),
        "reference": (
            artifacts.EXTRACTOR_FILES,
            artifacts.EXTRACTOR_CLASSES,
            artifacts.REAL_FEATURES,
            artifacts.REFERENCE,
            artifacts.TRAIN_FEATURES,
            f"{artifacts.BASE_GENERATOR}/*",
            artifacts.BASE_DIGESTS,
        ),
        "train": (artifacts.GENERATOR_FILES, artifacts.HISTORY),
    },
    run_metrics=lambda summary: summary["scores"],
)
