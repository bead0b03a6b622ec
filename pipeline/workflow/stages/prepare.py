"""prepare: convert images from any source to three splits of memory-mappable uint8 arrays."""

import json
from collections.abc import Mapping
from dataclasses import fields
from importlib.metadata import version
from typing import Any

import numpy as np

from bngan.data.dataset import SPLITS, Split
from bngan.data.embedded import EMBEDDED
from bngan.data.folder import folder_signature
from bngan.data.hub import pinned
from bngan.data.images import png_bytes
from bngan.data.source import Source
from bngan.data.sources import is_symbolic
from bngan.data.split_names import SourceSplit
from bngan.serialization.problem import one_line
from pipeline.config.schema import Config, DataConfig
from pipeline.core.errors import UserError
from pipeline.data.classes import class_numbers, codes, known_labels
from pipeline.data.conversion import ImagePool
from pipeline.data.digests import DataDigests, ImageDigests
from pipeline.data.doubts import doubts, untrained
from pipeline.data.inventory import contents, leakage_warning, listing, understood, untested
from pipeline.data.near_duplicates import near_counts, near_duplicates, near_warning, pairs
from pipeline.data.pixel_counts import PixelCounts, conversions
from pipeline.data.raw import RawImages, opened
from pipeline.storage.artifacts import CONTENTS, DATASET, DIGESTS
from pipeline.workflow.stage import Stage, StageContext, Summary
from pipeline.workflow.stages.assignment import converted, require_enough

_ELSEWHERE = ("flip", "max_download_gb", "max_image_size")
"""Keys that do not change the arrays: the train stage mirrors images."""


def run(context: StageContext) -> Summary:
    """Write images and labels of the splits, their digests, ``dataset.json`` and ``contents.json``."""
    data = context.config.data
    with opened(data.path, data.max_download_gb, data.read_options) as sources:
        labels = {split: known_labels(s, data.unlabelled) for split, s in sources.items()}
        names, numbers = class_numbers(
            sources["train"], labels["train"], data.classes, data.unlabelled
        )
        classes = {split: codes(labels[split], numbers) for split in sources}
        raw = RawImages(sources, classes)
        orders, pools = converted(context, raw)
    ignored = _ignored(sources)
    skipped = [line for pool in pools.values() for line in pool.skipped]
    listed = sorted(one_line(f"{name}: {why}") for name, why in ignored.items())
    for name, lines in {"skipped.txt": skipped, "ignored.txt": listed}.items():
        if lines:
            context.events.artifact(name, "".join(f"{line}\n" for line in lines).encode())
    counts = PixelCounts.total(pool.levels for pool in pools.values())
    _tell(context, *counts.doubts(data.channels, data.white), *doubts(raw, labels, ignored))
    total = sum(len(pool.chosen) for pool in pools.values())
    if len(skipped) > data.max_skipped * total:
        raise UserError(
            f"data.path: {len(skipped):,} of {total:,} images cannot be used, more than "
            f"data.max_skipped={data.max_skipped} allows; skipped.txt of the run lists them:\n"
            f"{listing(skipped)}"
        )
    for split, order in orders.items():
        require_enough(data, split, len(order))
    digests = {split: _write(context, raw, pools, split, orders[split]) for split in SPLITS}
    DataDigests(digests, data.fit, data.white).save(context.output / DIGESTS)
    for pool in pools.values():
        pool.file.unlink()
    shape, commit = pools["train"].shape, sources["train"].commit
    pixels = counts.record(shape[2])
    written = {split: raw.classes[raw.source_of(split)][orders[split]] for split in SPLITS}
    inventory = contents(written, names, digests, skipped, listed, commit, raw.origins, pixels)
    inventory["near_duplicates"] = _near_duplicates(context, digests)
    return _summarise(context, shape, names, inventory)


def _tell(context: StageContext, *warnings: str) -> None:
    """Send each warning that is not empty."""
    for warning in filter(None, warnings):
        context.events.message(warning)


def _write(
    context: StageContext,
    raw: RawImages,
    pools: Mapping[SourceSplit, ImagePool],
    split: Split,
    order: np.ndarray,
) -> ImageDigests:
    """Write the arrays of a split; return the digests of its images."""
    source = raw.source_of(split)
    np.save(context.output / f"{split}_labels.npy", raw.classes[source][order])
    return pools[source].write(context.output / f"{split}_images.npy", order)


def _near_duplicates(
    context: StageContext, digests: Mapping[Split, ImageDigests]
) -> dict[str, int]:
    """Count images that have a near-duplicate in train; show the first ones in a picture."""
    files = {split: context.output / f"{split}_images.npy" for split in SPLITS}
    images = {split: np.load(file, mmap_mode="r") for split, file in files.items()}
    found = near_duplicates(images, digests)
    if len(shown := pairs(images, found)):
        context.events.artifact("near_duplicates.png", png_bytes(shown, columns=8))
    return near_counts(found)


def _ignored(sources: dict[SourceSplit, Source]) -> dict[str, str]:
    ignored = dict(sources["train"].ignored)
    if {"test", "validation"} <= sources.keys():
        rows = len(sources["validation"])
        ignored["split validation"] = f"{rows:,} images, and there is a test split to test on"
    return ignored


def _summarise(
    context: StageContext,
    shape: tuple[int, int, int],
    classes: list[str],
    inventory: dict[str, Any],
) -> Summary:
    """Write the two JSON files and a picture; return what the stage made, in a line and in numbers."""
    output, by_class = context.output, inventory["class_counts"]
    counts = {split: sum(by_class[split]) + inventory["unlabelled"][split] for split in SPLITS}
    dataset: dict[str, Any] = {"image_shape": shape, "classes": classes, "counts": counts}
    for name, record in {DATASET: dataset, CONTENTS: inventory}.items():
        (output / name).write_text(json.dumps(record, indent=2), encoding="utf-8")
    images = np.load(output / "train_images.npy", mmap_mode="r")[:64]
    context.events.artifact("samples/real.png", png_bytes(images))
    leaks = leakage_warning(inventory["duplicates"], counts)
    near = near_warning(inventory["near_duplicates"], counts)
    _tell(context, untrained(inventory, classes), untested(inventory, classes), leaks, near)
    totals = dict(zip(classes, np.sum(list(by_class.values()), axis=0).tolist(), strict=True))
    skipped, repeated = inventory["skipped"]["count"], inventory["duplicates"]["repeated"]
    unlabelled = sum(inventory["unlabelled"].values())
    parts = [
        f"{counts['train']:,} images to train on",
        f"{counts['select']:,} to select and {counts['test']:,} to test with",
        "x".join(map(str, shape)),
        f"{skipped:,} skipped",
        f"{inventory['ignored']['count']:,} other files",
        f"{repeated:,} duplicates",
        *([f"{unlabelled:,} without a class"] if classes and unlabelled else []),
        *conversions(inventory["pixels"]),
        *([f"commit {inventory['commit']}"] if inventory["commit"] else []),
    ]
    note = f"{understood(totals, inventory['splits'])}; {', '.join(parts)}"
    shown = {"duplicates": inventory["duplicates"], "commit": inventory["commit"], "note": note}
    return {**dataset, "skipped": skipped, **shown}


def _identity(config: Config) -> str:
    """Return an identity that changes with the raw data; for the Hub, it is the name alone."""
    path = config.data.path
    if path in EMBEDDED:
        return f"scikit-learn {version('scikit-learn')}"
    return path if is_symbolic(path) else folder_signature(path)


STAGE = Stage(
    "prepare",
    run,
    config=tuple(f"data.{key.name}" for key in fields(DataConfig) if key.name not in _ELSEWHERE),
    inputs={},
    libraries=("datasets", "numpy", "pillow"),
    external=_identity,
    dataset=lambda config, summary: pinned(config.data.path, summary["commit"]),
)
