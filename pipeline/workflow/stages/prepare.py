"""prepare: convert images from any source to three splits of memory-mappable uint8 arrays."""

import json
import shutil
import warnings
from collections.abc import Collection, Mapping
from dataclasses import fields
from importlib.metadata import version
from typing import Any

import numpy as np

from bngan.data.dataset import SPLITS, Split
from bngan.data.embedded import EMBEDDED
from bngan.data.folder import folder_signature
from bngan.data.hub import pinned
from bngan.data.images import png_bytes
from bngan.data.layout import SourceSplit
from bngan.data.source import Source
from bngan.data.sources import is_symbolic
from bngan.numerics.rng import Stream, generator
from bngan.serialization.problem import one_line
from pipeline.config.schema import FEWEST, Config, DataConfig
from pipeline.core.errors import UserError
from pipeline.data.classes import class_numbers, codes, known_labels, unknown_labels
from pipeline.data.conversion import Part, PixelFormat, SplitWriter, image_shape, write_splits
from pipeline.data.inventory import (
    Digests,
    contents,
    leakage_warning,
    listing,
    understood,
    untrained,
    unused_images,
)
from pipeline.data.pixel_counts import PixelCounts, conversions
from pipeline.data.raw import opened
from pipeline.data.volume import array_bytes, described_volume, size_problem
from pipeline.storage.artifacts import CONTENTS, DATASET
from pipeline.workflow.stage import Stage, StageContext, Summary

_ELSEWHERE = ("flip", "max_download_gb", "max_image_size")
"""Keys that do not change the arrays: the train stage mirrors images."""


def run(context: StageContext) -> Summary:
    """Write ``<split>_images.npy``, ``<split>_labels.npy``, ``dataset.json`` and ``contents.json``."""
    data = context.config.data
    wanted = PixelFormat(data.image_size, data.channels, data.fit, data.white)
    with opened(data.path, data.max_download_gb, data.read_options) as sources:
        labels = {split: known_labels(s, data.unlabelled) for split, s in sources.items()}
        classes, numbers = class_numbers(sources["train"], labels["train"], data.classes)
        coded = {split: codes(labels[split], numbers) for split in sources}
        parts = _split(sources, data, coded)
        shape = image_shape(parts["train"], wanted, data.path)
        _require_room(context, shape, {split: len(part.order) for split, part in parts.items()})
        writers = {
            split: SplitWriter(context.output, split, part, shape) for split, part in parts.items()
        }
        total = sum(len(writer.order) for writer in writers.values())
        with warnings.catch_warnings(action="ignore"):  # Pillow's, about odd files
            for done, _ in enumerate(write_splits(writers, wanted), 1):
                if done % 500 == 0:
                    unusable = sum(len(writer.skipped) for writer in writers.values())
                    context.events.progress(done, total, f"{unusable} skipped")
    skipped = [line for writer in writers.values() for line in writer.skipped]
    ignored = _ignored(sources)
    for name, lines in {"skipped.txt": skipped, "ignored.txt": ignored}.items():
        if lines:
            context.events.artifact(name, "".join(f"{line}\n" for line in lines).encode())
    counts = PixelCounts.total(writer.levels for writer in writers.values())
    for doubt in counts.doubts(data.channels, data.white):
        context.events.message(doubt)
    if len(skipped) > data.max_skipped * total:
        raise UserError(
            f"data.path: {len(skipped):,} of {total:,} images cannot be used, more than "
            f"data.max_skipped={data.max_skipped} allows; skipped.txt of the run lists them:\n"
            f"{listing(skipped)}"
        )
    test = _test_split(sources)
    if test and (unknown := unknown_labels(labels["train"], labels[test])):
        context.events.message(unknown)
    if unused := unused_images(sources["train"].ignored):
        context.events.message(unused)
    used = {sources["train"].origin: "train"} | ({sources[test].origin: "test"} if test else {})
    return _summarise(context, classes, writers, skipped, ignored, used)


def _require_room(
    context: StageContext, shape: tuple[int, int, int], counts: Mapping[Split, int]
) -> None:
    """Raise ``UserError`` if the arrays are larger than was asked for, or than the disk has room."""
    if problem := size_problem(shape, counts, context.config.data.max_image_size):
        raise UserError(problem)
    free = shutil.disk_usage(context.output).free
    if free < array_bytes(shape, counts):
        raise UserError(
            f"workspace: {free / 1e9:,.2f} GB are free at {context.output}, and "
            f"{described_volume(shape, counts)}"
        )


def _ignored(sources: dict[SourceSplit, Source]) -> list[str]:
    ignored = dict(sources["train"].ignored)
    if {"test", "validation"} <= sources.keys():
        rows = len(sources["validation"])
        ignored["split validation"] = f"{rows:,} images, and there is a test split to test on"
    return sorted(one_line(f"{name}: {why}") for name, why in ignored.items())


def _split(
    sources: dict[SourceSplit, Source], data: DataConfig, coded: dict[SourceSplit, np.ndarray]
) -> dict[Split, Part]:
    """Return random, seeded splits; test is the source's test split, if any, or a share of train.

    data.classes and data.limit apply afterwards, so that they move no image to another split.
    """
    train, held_out_source = sources["train"], _test_split(sources)
    order = generator(data.split_seed, Stream.SPLIT, 0).permutation(len(train))
    select, held_out = data.held_out(len(train), held_out_source is not None)
    if held_out_source is not None:
        test = sources[held_out_source]
        drawn = generator(data.split_seed, Stream.SPLIT, 1).permutation(len(test))
        test_part = Part(test, drawn, coded[held_out_source])
    else:
        test_part = Part(train, order[:held_out], coded["train"])
    parts: dict[Split, Part] = {
        "train": Part(train, order[held_out + select :], coded["train"]),
        "select": Part(train, order[held_out : held_out + select], coded["train"]),
        "test": test_part,
    }
    if data.classes is not None:
        parts = {split: part.labelled() for split, part in parts.items()}
    if data.limit is not None:
        kept = parts["train"].order[: data.limit]
        if len(kept) < data.limit:
            raise UserError(
                f"data.limit: {data.limit} images, and there are {len(kept)} to train on"
            )
        parts["train"] = parts["train"]._replace(order=kept)
    for split, part in parts.items():
        if len(part.order) < FEWEST:
            raise UserError(
                f"data.path: {len(part.order)} images are left for the {split} split of "
                f"{data.path}, and fewer than {FEWEST} cannot be worked with"
            )
    return parts


def _test_split(sources: Collection[SourceSplit]) -> SourceSplit | None:
    """Return the split of the data that is tested on; None takes a share of the training split."""
    return next((split for split in ("test", "validation") if split in sources), None)


def _summarise(
    context: StageContext,
    classes: list[str],
    writers: dict[Split, SplitWriter],
    skipped: list[str],
    ignored: list[str],
    used: dict[str, str],
) -> Summary:
    output, commit, shape = context.output, writers["train"].source.commit, writers["train"].shape
    labels = {split: writer.numbers for split, writer in writers.items()}
    digests: Digests = {s: np.frombuffer(writers[s].digests, np.uint64) for s in SPLITS}
    counts = {split: len(labels[split]) for split in SPLITS}
    dataset: dict[str, Any] = {"image_shape": shape, "classes": classes, "counts": counts}
    (output / DATASET).write_text(json.dumps(dataset, indent=2), encoding="utf-8")
    pixels = PixelCounts.total(writer.levels for writer in writers.values()).record(shape[2])
    inventory = contents(labels, classes, digests, skipped, ignored, commit, used, pixels)
    (output / CONTENTS).write_text(json.dumps(inventory, indent=2), encoding="utf-8")
    images = np.load(output / "train_images.npy", mmap_mode="r")[:64]
    context.events.artifact("samples/real.png", png_bytes(images))
    for warning in (
        leakage_warning(inventory["duplicates"], counts),
        untrained(inventory, classes),
    ):
        if warning:
            context.events.message(warning)
    height, width, channels = shape
    sums = np.sum(list(inventory["class_counts"].values()), axis=0).tolist()
    totals = dict(zip(classes, sums, strict=True))
    note = (
        f"{understood(totals, inventory['splits'])}; {counts['train']:,} images to train on, "
        f"{counts['select']:,} to select and {counts['test']:,} to test with, "
        f"{height}x{width}x{channels}, "
        f"{len(skipped):,} skipped, {len(ignored):,} other files, "
        f"{inventory['duplicates']['repeated']:,} duplicates"
        + "".join(f", {line}" for line in conversions(pixels))
        + (f", commit {commit}" if commit else "")
    )
    summary = {"skipped": len(skipped), "duplicates": inventory["duplicates"], "commit": commit}
    return {**dataset, **summary, "note": note}


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
