"""prepare: convert images from any source to three splits of memory-mappable uint8 arrays."""

import json
import warnings
from dataclasses import fields
from importlib.metadata import version
from itertools import chain
from typing import Any

import numpy as np

from bngan.data.dataset import SPLITS, Split
from bngan.data.embedded import EMBEDDED
from bngan.data.folder import folder_signature
from bngan.data.hub import pinned
from bngan.data.images import png_bytes
from bngan.data.sources import Source, is_symbolic
from bngan.numerics.rng import Stream, generator
from bngan.serialization.problem import one_line
from pipeline.config.schema import FEWEST, Config, DataConfig
from pipeline.core.errors import UserError
from pipeline.data.classes import class_numbers, hashable_labels
from pipeline.data.conversion import Part, PixelFormat, SplitWriter, image_shape
from pipeline.data.inventory import Digests, contents, leakage_warning, listing
from pipeline.data.raw import opened
from pipeline.storage.artifacts import CONTENTS, DATASET
from pipeline.workflow.stage import Stage, StageContext, Summary

_ELSEWHERE = ("flip", "max_download_gb")
"""Keys that do not change the arrays: the train stage mirrors images."""


def run(context: StageContext) -> Summary:
    """Write ``<split>_images.npy``, ``<split>_labels.npy``, ``dataset.json`` and ``contents.json``."""
    data = context.config.data
    columns = data.image_column, data.label_column
    wanted = PixelFormat(data.image_size, data.channels, data.fit)
    with opened(data.path, data.max_download_gb, *columns) as sources:
        classes, numbers = class_numbers(sources["train"], data.classes)
        parts = _split(sources, data, numbers)
        shape = image_shape(parts["train"], wanted, data.path)
        writers = {
            split: SplitWriter(context.output, split, part, shape, numbers)
            for split, part in parts.items()
        }
        total = sum(len(writer.order) for writer in writers.values())
        written = chain.from_iterable(writer.write(wanted) for writer in writers.values())
        with warnings.catch_warnings(action="ignore"):  # Pillow's, about odd files
            for done, _ in enumerate(written, 1):
                if done % 500 == 0:
                    count = sum(len(writer.skipped) for writer in writers.values())
                    context.events.progress(done, total, f"{count} skipped")
    skipped = [line for writer in writers.values() for line in writer.skipped]
    ignored = sorted(one_line(line) for line in _unused(sources))
    for name, lines in {"skipped.txt": skipped, "ignored.txt": ignored}.items():
        if lines:
            context.events.artifact(name, "".join(f"{line}\n" for line in lines).encode())
    if len(skipped) > data.max_skipped * total:
        raise UserError(
            f"data.path: {len(skipped):,} of {total:,} images cannot be used, more than "
            f"data.max_skipped={data.max_skipped} allows; skipped.txt of the run lists them:\n"
            f"{listing(skipped)}"
        )
    return _summarise(context, shape, classes, writers, skipped, ignored)


def _unused(sources: dict[str, Source]) -> list[str]:
    unused = sources["train"].ignored
    if sources.get("test") and sources.get("validation"):
        rows = len(sources["validation"])
        return [*unused, f"split validation: {rows:,} images, and there is a test split to test on"]
    return unused


def _split(
    sources: dict[str, Source], data: DataConfig, numbers: dict[Any, int]
) -> dict[Split, Part]:
    """Return random, seeded splits; test is the source's test split, if any, or a share of train.

    data.classes and data.limit apply afterwards, so that they move no image to another split.
    """
    train, test = sources["train"], sources.get("test") or sources.get("validation")
    order = generator(data.split_seed, Stream.SPLIT, 0).permutation(len(train))
    select, held_out = round(len(train) * data.select), round(len(train) * data.test)
    if test is not None:
        held_out = 0
        test_part = test, generator(data.split_seed, Stream.SPLIT, 1).permutation(len(test))
    else:
        test_part = train, order[:held_out]
    parts: dict[Split, Part] = {
        "train": (train, order[held_out + select :]),
        "select": (train, order[held_out : held_out + select]),
        "test": test_part,
    }
    if data.classes is not None:
        parts = {split: _labelled(*part, numbers) for split, part in parts.items()}
    if data.limit is not None:
        kept = parts["train"][1][: data.limit]
        if len(kept) < data.limit:
            raise UserError(
                f"data.limit: {data.limit} images, and there are {len(kept)} to train on"
            )
        parts["train"] = train, kept
    for split, (_, chosen) in parts.items():
        if len(chosen) < FEWEST:
            raise UserError(
                f"data.path: {len(chosen)} images are left for the {split} split of {data.path}, "
                f"and fewer than {FEWEST} cannot be worked with"
            )
    return parts


def _labelled(source: Source, order: np.ndarray, numbers: dict[Any, int]) -> Part:
    labels = hashable_labels(source.labels())
    return source, np.array([i for i in order if labels[i] in numbers], dtype=np.int64)


def _summarise(
    context: StageContext,
    shape: tuple[int, int, int],
    classes: list[str],
    writers: dict[Split, SplitWriter],
    skipped: list[str],
    ignored: list[str],
) -> Summary:
    output, commit = context.output, writers["train"].source.commit
    labels = {split: writer.numbers for split, writer in writers.items()}
    digests: Digests = {s: np.frombuffer(writers[s].digests, np.uint64) for s in SPLITS}
    counts = {split: len(labels[split]) for split in SPLITS}
    dataset = {"image_shape": shape, "classes": classes, "counts": counts}
    (output / DATASET).write_text(json.dumps(dataset, indent=2))
    inventory = contents(labels, classes, digests, skipped, ignored, commit)
    (output / CONTENTS).write_text(json.dumps(inventory, indent=2))
    images = np.load(output / "train_images.npy", mmap_mode="r")[:64]
    context.events.artifact("samples/real.png", png_bytes(images))
    if warning := leakage_warning(inventory["duplicates"], counts):
        context.events.message(warning)
    height, width, channels = shape
    note = (
        f"{counts['train']:,} images to train on, {counts['select']:,} to select and "
        f"{counts['test']:,} to test with, {height}x{width}x{channels}, "
        f"{len(classes) or 'no'} classes, {len(skipped):,} skipped, {len(ignored):,} other files, "
        f"{inventory['duplicates']['repeated']:,} duplicates"
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
