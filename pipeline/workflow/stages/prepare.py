"""prepare: convert images from any source to three splits of memory-mappable uint8 arrays."""

import hashlib
import json
import warnings
from collections.abc import Iterator
from dataclasses import fields
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap

from bngan.data.dataset import SPLITS, UNLABELLED, Split
from bngan.data.decoding import convert, decode
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
from pipeline.data.inventory import Digests, contents, leakage_warning, listing
from pipeline.data.raw import opened
from pipeline.storage.artifacts import CONTENTS, DATASET
from pipeline.workflow.stage import Stage, StageContext, Summary

_PEEK = 100
"""Number of images that decide the size, and whether all images are grey."""
_CHUNK = 1000
_ELSEWHERE = ("flip", "max_download_gb")
"""Keys that do not change the arrays: the train stage mirrors images."""


def run(context: StageContext) -> Summary:
    """Write ``<split>_images.npy``, ``<split>_labels.npy``, ``dataset.json`` and ``contents.json``."""
    data = context.config.data
    columns = data.image_column, data.label_column
    with opened(data.path, data.max_download_gb, *columns) as sources:
        classes, numbers = class_numbers(sources["train"], data.classes)
        parts = _split(sources, data, numbers)
        shape = _image_shape(*parts["train"], data)
        writers = {
            split: _Writer(context.output, split, *part, shape, numbers)
            for split, part in parts.items()
        }
        total = sum(len(writer.order) for writer in writers.values())
        written = chain.from_iterable(writer.write(data) for writer in writers.values())
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
) -> dict[Split, tuple[Source, np.ndarray]]:
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
    parts: dict[Split, tuple[Source, np.ndarray]] = {
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


def _labelled(
    source: Source, order: np.ndarray, numbers: dict[Any, int]
) -> tuple[Source, np.ndarray]:
    labels = hashable_labels(source.labels())
    return source, np.array([i for i in order if labels[i] in numbers], dtype=np.int64)


def _image_shape(source: Source, order: np.ndarray, data: DataConfig) -> tuple[int, int, int]:
    """Return the shape (H, W, C) of the prepared images."""
    looked_at, reasons = set[tuple[str, tuple[int, int]]](), list[str]()
    for name, content in source.files(order[:_PEEK]):
        try:
            image = decode(content)
            looked_at.add((image.mode, image.size))
        except ValueError as error:
            reasons.append(f"{name}: {error}")
    if not looked_at:
        raise UserError(
            f"data.path: none of the first {len(reasons)} images of {data.path} can be used:\n"
            f"{listing(reasons)}"
        )
    channels = data.channels or (1 if {mode for mode, _ in looked_at} == {"L"} else 3)
    if data.image_size:
        return data.image_size, data.image_size, channels
    sizes = sorted({size for _, size in looked_at})
    if min(sizes[0]) < 4:
        raise UserError("data.image_size: images under 4 pixels have to be enlarged: set it")
    if len(sizes) > 1:
        (w0, h0), (w1, h1) = sizes[0], sizes[-1]
        raise UserError(
            f"data.image_size is not set, but images come in several sizes, from {w0}x{h0} to {w1}x{h1}"
        )
    return sizes[0][1], sizes[0][0], channels


class _Writer:
    """Decodes one split into its arrays, and keeps the unusable names and hashes of pixels."""

    def __init__(
        self,
        folder: Path,
        split: Split,
        source: Source,
        order: np.ndarray,
        shape: tuple[int, int, int],
        numbers: dict[Any, int],
    ) -> None:
        self.source, self.order, self.shape = source, order, shape
        self.images, self.labels = folder / f"{split}_images.npy", folder / f"{split}_labels.npy"
        stored = hashable_labels(source.labels())
        coded = [numbers.get(stored[i], UNLABELLED) for i in order]
        self.numbers = np.array(coded, dtype=np.int64)
        self.skipped: list[str] = []
        self.digests = bytearray()

    def write(self, data: DataConfig) -> Iterator[None]:
        """Write the arrays, and yield after every image."""
        array = open_memmap(self.images, "w+", np.uint8, (len(self.order), *self.shape))
        kept: list[int] = []
        for position, (name, content) in enumerate(self.source.files(self.order)):
            try:
                pixels = convert(decode(content), self.shape[2], data.image_size, data.fit)
                if pixels.shape != self.shape:
                    raise ValueError(
                        f"size {pixels.shape[1]}x{pixels.shape[0]}; set data.image_size"
                    )
                array[len(kept)] = pixels
                kept.append(position)
                self.digests += hashlib.blake2b(pixels.tobytes(), digest_size=8).digest()
            except ValueError as error:
                self.skipped.append(f"{name}: {error}")
            yield
        array.flush()
        if len(kept) < len(self.order):
            _shorten(self.images, len(kept))
        self.numbers = self.numbers[kept]
        np.save(self.labels, self.numbers)


def _shorten(path: Path, count: int) -> None:
    """Keep the first ``count`` images of a file, which need not fit into memory."""
    whole, part = np.load(path, mmap_mode="r"), path.with_suffix(".part")
    kept = open_memmap(part, "w+", np.uint8, (count, *whole.shape[1:]))
    for start in range(0, count, _CHUNK):
        kept[start : start + _CHUNK] = whole[start : min(start + _CHUNK, count)]
    kept.flush()
    part.replace(path)


def _summarise(
    context: StageContext,
    shape: tuple[int, int, int],
    classes: list[str],
    writers: dict[Split, _Writer],
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
