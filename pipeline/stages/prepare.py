"""prepare: images from anywhere become three splits of uint8 arrays that can be memory-mapped."""

import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap

from bngan.data import SPLITS, UNLABELLED, Split
from bngan.embedded import EMBEDDED
from bngan.images import png_bytes
from bngan.manifest import digest
from bngan.randomness import Stream, generator
from bngan.sources import Source, convert, decode, is_symbolic, open_source
from pipeline.config import Config, DataConfig
from pipeline.errors import UserError
from pipeline.stage import Stage, StageContext, Summary
from pipeline.validation import FEWEST

_PEEK = 100
"""Images looked at to find out the size and whether all are grey."""


def run(context: StageContext) -> Summary:
    """Write ``<split>_images.npy``, ``<split>_labels.npy`` and ``dataset.json``."""
    data = context.config.data
    with tempfile.TemporaryDirectory(prefix="bngan-") as cache:
        try:
            sources = open_source(data.path, Path(cache), data.image_column, data.label_column)
        except ValueError as error:
            raise UserError(f"data.path: {error}") from error
        classes, numbers = _classes(sources["train"], data.classes)
        parts = _split(sources, data, numbers)
        shape = _image_shape(*parts["train"], data)
        total, done = sum(len(order) for _, order in parts.values()), 0
        skipped: list[str] = []
        for split, (source, order) in parts.items():
            writer = _Writer(context.output, split, source, order, shape, numbers)
            for _ in writer.write(data):
                done += 1
                if done % 500 == 0:
                    context.events.progress(done, total, f"{len(skipped)} skipped")
            skipped += writer.skipped
    if len(skipped) > data.max_skipped * total:
        raise UserError(
            f"data.path: {len(skipped)} of {total} images cannot be used, more than "
            f"data.max_skipped={data.max_skipped} allows; the first: {skipped[0]}"
        )
    return _summarise(context, shape, classes, skipped)


def _split(
    sources: dict[str, Source], data: DataConfig, numbers: dict[Any, int]
) -> dict[Split, tuple[Source, np.ndarray]]:
    """Random, seeded parts: the source's own test split where it has one, shares of train else.

    Chosen from afterwards, so that an image is in the same split whatever else is wanted.
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
        parts["train"] = train, _limited(parts["train"][1], data.limit)
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
    labels = _hashable(source.labels())
    return source, np.array([i for i in order if labels[i] in numbers], dtype=np.int64)


def _limited(order: np.ndarray, limit: int) -> np.ndarray:
    if len(order) < limit:
        raise UserError(f"data.limit: {limit} images, and there are {len(order)} to train on")
    return order[:limit]


def _classes(source: Source, wanted: list[int] | None) -> tuple[list[str], dict[Any, int]]:
    """Class names, and the class number of every label that the training source has.

    Of the classes ``wanted``, by their numbers in the source, if not of all.
    """
    names, numbers = _all_classes(source)
    if wanted is None:
        return names, numbers
    if not names:
        raise UserError("data.classes: these images have no labels to choose by")
    if unknown := [number for number in wanted if not 0 <= number < len(names)]:
        raise UserError(
            f"data.classes: there is no class {unknown[0]}: classes are 0 to {len(names) - 1}"
        )
    place = {number: position for position, number in enumerate(wanted)}
    chosen = {label: place[number] for label, number in numbers.items() if number in place}
    return [names[number] for number in wanted], chosen


def _all_classes(source: Source) -> tuple[list[str], dict[Any, int]]:
    present = {label for label in _hashable(source.labels()) if label not in (None, UNLABELLED)}
    names = source.class_names()
    if names is not None and present:
        return names, {number: number for number in range(len(names))}
    values = sorted(present, key=lambda value: (str(type(value)), value))
    return [str(value) for value in values], {value: i for i, value in enumerate(values)}


def _hashable(labels: list[Any]) -> list[Any]:
    if any(isinstance(label, list | dict) for label in labels):
        raise UserError(
            "data.label_column: a label must be one value, not a list: name another column"
        )
    return labels


def _image_shape(source: Source, order: np.ndarray, data: DataConfig) -> tuple[int, int, int]:
    """(H, W, C) of the prepared images."""
    looked_at = []
    for _, content in source.files(order[:_PEEK]):
        try:
            looked_at.append(decode(content))
        except ValueError:
            continue
    if not looked_at:
        raise UserError(f"data.path: none of the first {_PEEK} images of {data.path} can be read")
    channels = data.channels or (1 if all(image.mode == "L" for image in looked_at) else 3)
    if data.image_size:
        return data.image_size, data.image_size, channels
    sizes = sorted({image.size for image in looked_at})
    if min(sizes[0]) < 4:
        raise UserError("data.image_size: images under 4 pixels have to be enlarged: set it")
    if len(sizes) > 1:
        (w0, h0), (w1, h1) = sizes[0], sizes[-1]
        raise UserError(
            f"data.image_size is not set, but images come in several sizes, from {w0}x{h0} to {w1}x{h1}"
        )
    return sizes[0][1], sizes[0][0], channels


class _Writer:
    """Decodes one split into its arrays."""

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
        stored = _hashable(source.labels())
        coded = [numbers.get(stored[i], UNLABELLED) for i in order]
        self.numbers = np.array(coded, dtype=np.int64)
        self.skipped: list[str] = []

    def write(self, data: DataConfig) -> Iterator[None]:
        """Yield after every image."""
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
            except ValueError as error:
                self.skipped.append(f"{name}: {error}")
            yield
        array.flush()
        if len(kept) < len(self.order):
            np.save(self.images, np.array(array[: len(kept)]))
        np.save(self.labels, self.numbers[kept])


def _summarise(
    context: StageContext, shape: tuple[int, int, int], classes: list[str], skipped: list[str]
) -> Summary:
    output = context.output
    counts = {split: len(np.load(output / f"{split}_labels.npy")) for split in SPLITS}
    dataset = {"image_shape": shape, "classes": classes, "counts": counts}
    (output / "dataset.json").write_text(json.dumps(dataset, indent=2))
    (output / "skipped.txt").write_text("".join(f"{line}\n" for line in skipped))
    images = np.load(output / "train_images.npy", mmap_mode="r")[:64]
    context.events.artifact("samples/real.png", png_bytes(images))
    height, width, channels = shape
    note = (
        f"{counts['train']:,} images to train on, {counts['select']:,} to select and "
        f"{counts['test']:,} to test with, {height}x{width}x{channels}, "
        f"{len(classes) or 'no'} classes, {len(skipped)} skipped"
    )
    return {**dataset, "skipped": len(skipped), "note": note}


def _identity(config: Config) -> str:
    """Changes when the raw data may have: names, sizes and times of files, not their content."""
    path = config.data.path
    if path in EMBEDDED:
        return f"scikit-learn {version('scikit-learn')}"
    if is_symbolic(path):
        return path
    listing = []
    for folder, folders, files in os.walk(path):
        folders.sort()
        for name in sorted(files):
            file = Path(folder) / name
            if not file.exists():  # a broken link: prepare will say so
                continue
            state = file.stat()
            listing.append([os.path.relpath(file, path), state.st_size, state.st_mtime_ns])
    return digest(listing)


STAGE = Stage(
    "prepare",
    run,
    # Mirroring is training's business.
    config=tuple(f"data.{field.name}" for field in fields(DataConfig) if field.name != "flip"),
    inputs={},
    libraries=("datasets", "numpy", "pillow"),
    external=_identity,
)
