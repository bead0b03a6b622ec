"""Checks of values that have the right type but make no sense."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bngan.data.dataset import ImageSpec
from bngan.data.embedded import EMBEDDED, PREFIX
from bngan.data.grouping import GroupRule
from bngan.data.hub import HUB_PREFIX, HubName
from bngan.data.sources import is_symbolic
from bngan.data.split_names import SOURCE_SPLITS
from bngan.diagnostics import checks
from bngan.metrics.protocol import Protocol
from bngan.serialization.bounds import out_of_bounds
from bngan.serialization.problem import Problem
from bngan.training.config import optimizer_errors
from pipeline.config.parser import flatten
from pipeline.config.schema import Config, DataConfig
from pipeline.config.values import ImageSize
from pipeline.core.names import model_name_errors, name_errors
from pipeline.core.uris import is_uri

_ORDER = "does not go with splits by order, which divide groups: write data.split_by=content"
_VAGUE = re.compile(r"models:/(?![^/@]+(/\d+|@[^/@]+)$).*")
"""A registry address that names neither a version nor an alias."""


def config_warnings(config: Config) -> list[str]:
    """Return a line for each setting that works, but not as its name says."""
    warnings, train = list(checks.network_warnings(config.model, config.train)), config.train
    end = train.lr_decay_end
    if end is not None and train.lr_final_factor == 0 and train.images > end:
        warnings.append(
            f"train.images {train.images:,}: from lr_decay_end {end:,} on, learning rates are 0"
        )
    return warnings


def not_on_all_nodes(key: str, path: str) -> Problem | None:
    """Return the problem of a path or URI that all nodes of a cluster must find, or None."""
    if is_symbolic(path) or Path(path).is_absolute():
        return None
    workspace = key == "workspace"
    if is_uri(path):
        return None if workspace else _about(key, "is a URI, and only the workspace may be one")
    mend = ", or a URI such as s3://BUCKET/FOLDER" if workspace else ""
    message = (
        f"{key}={path} is relative, and a job runs in a folder of its own: write the absolute path "
        f"of a folder that all nodes share{mend}"
    )
    return Problem(key, message)


def config_errors(config: Config, here: bool = True, known: bool = True) -> Iterator[Problem]:
    """Yield a problem for each value that makes no sense.

    ``here`` is whether the experiment runs on this machine, which must then have its files.
    ``known`` is whether ``model`` is final; before its base is read, it is not.
    """
    yield from out_of_bounds(config)
    yield from _texts(flatten(asdict(config)))
    yield from _data(config)
    yield from _extractor(config)
    yield from _adaptation(config)
    if here:
        yield from _files(config)
    if known:
        yield from _networks(config)
    if config.train.micro_batch == "auto" and config.train.compile == "step":
        text = "=auto does not go with compile=step, whose programs keep memory of their own"
        yield Problem("train.micro_batch", f"train.micro_batch{text}", ("train.compile",))
    try:
        _ = config.train.workers
    except ValueError as error:
        yield _about("train.num_workers", str(error))
    try:
        Protocol.parse(config.evaluate.protocol)
    except ValueError as error:
        yield Problem("evaluate.protocol", f"evaluate.protocol: {error}")
    if config.name.isprintable():  # else _texts reports it
        yield from name_errors(config.name)
    yield from model_name_errors("register.model", config.register.model)


def _texts(values: Mapping[str, Any]) -> Iterator[Problem]:
    for key, value in values.items():
        if isinstance(value, str) and not value.isprintable():
            yield _about(key, f"has characters that cannot be seen, such as line ends: {value!r}")


def _data(config: Config) -> Iterator[Problem]:
    data = config.data
    yield from source(data.path)
    if _size_error(data):
        yield _about("data.image_size", _size_error(data))
    if data.channels not in (None, 1, 3):
        yield _about("data.channels", f"must be 1, 3 or null, got {data.channels}")
    yield from split_errors(data.splits)
    yield from _group(data)
    classes = data.classes
    if classes is not None and (not classes or len(set(classes)) < len(classes)):
        yield _about("data.classes", f"must name classes, each once, got {classes}")


def _group(data: DataConfig) -> Iterator[Problem]:
    if data.group is None:
        return
    try:
        GroupRule.parse(data.group)
    except ValueError as error:
        yield _about("data.group", str(error))
        return
    if data.split_by == "order" or (data.split_by == "auto" and data.path in EMBEDDED):
        rests_on = "data.split_by", "data.path"
        yield _about("data.group", _ORDER, *rests_on)


def _size_error(data: DataConfig) -> str:
    """Return what is wrong with ``data.image_size``; empty if nothing is."""
    try:
        _ = data.size
    except ValueError as error:
        return str(error)
    return ""


def _about(key: str, text: str, *rests_on: str) -> Problem:
    return Problem(key, f"{key} {text}", rests_on)


def split_errors(splits: Mapping[str, str] | None) -> Iterator[Problem]:
    """Yield a problem for each name of ``data.splits`` that means no split."""
    for name, split in (splits or {}).items():
        if split not in SOURCE_SPLITS:
            meaning = " or ".join(SOURCE_SPLITS)
            yield _about("data.splits", f"must give {meaning} for {name}, got {split}")


def source(path: str) -> Iterator[Problem]:
    """Yield the problems of a path or name of raw data."""
    key = "data.path"
    if path.startswith(PREFIX) and path not in EMBEDDED:
        yield Problem(key, f"{key}: only {' and '.join(EMBEDDED)} are embedded, not {path}")
    if is_uri(path):
        yield _about(key, "is a URI: images are read from folders or the Hub")
    elif path.startswith(HUB_PREFIX):
        try:
            HubName.parse(path)
        except ValueError as error:
            yield Problem(key, f"{key}: {error}")


def _extractor(config: Config) -> Iterator[Problem]:
    extractor, key, rests_on = config.extractor, "extractor.weights", "extractor.kind"
    kind = extractor.kind
    if kind == "file" and not extractor.weights:
        yield _about(key, "must name the file of extractor.kind=file", rests_on)
    if extractor.weights and kind not in ("inception", "file"):
        yield _about(key, f"needs extractor.kind=inception or file, not {kind}", rests_on)
    for name in ("size", "range"):
        if getattr(extractor, name) != getattr(type(extractor)(), name) and kind != "file":
            yield _about(f"extractor.{name}", f"needs extractor.kind=file, not {kind}", rests_on)
    if kind == "file" and extractor.size is not None and extractor.size < 1:
        yield _about("extractor.size", f"must be positive, got {extractor.size}")


def _adaptation(config: Config) -> Iterator[Problem]:
    adapt = config.adapt
    if adapt.base and (is_uri(adapt.base) or _VAGUE.fullmatch(adapt.base)):
        message = "adapt.base: write models:/NAME@ALIAS, models:/NAME/VERSION or a folder: "
        yield Problem("adapt.base", message + adapt.base)
    if adapt.method == "adversarial":
        return
    if not adapt.base:
        message = "adapt.method=supervised needs a base: bngan adapt BASE CONFIG"
        yield Problem("adapt.method", message, ("adapt.base",))
    if config.train.micro_batch is not None:
        yield _about("train.micro_batch", "does not go with adapt.method=supervised")
    if config.train.compile != "off":
        yield _about("train.compile", "must be off with adapt.method=supervised")
    if config.extractor.kind == "inception" and adapt.feature_weight:
        text = "must be 0 with extractor.kind=inception, which has no gradient here"
        yield _about("adapt.feature_weight", text)


def _files(config: Config) -> Iterator[Problem]:
    path, weights = config.data.path, config.extractor.weights
    if not (is_symbolic(path) or is_uri(path) or Path(path).is_dir()):
        yield Problem("data.path", f"data.path: there is no folder {path}")
    if weights and not Path(weights).is_file():
        yield Problem("extractor.weights", f"extractor.weights: there is no file {weights}")


def _networks(config: Config) -> Iterator[Problem]:
    for problem in optimizer_errors(config.model, config.train):
        yield problem.within("train")
    # Check networks whose image size is known; the train stage checks the others.
    if _size_error(config.data) or [*out_of_bounds(config.data), *out_of_bounds(config.model)]:
        return
    any_size = config.model.network in ("mlp", "transformer")
    if size := config.data.size or (ImageSize(16, 16) if any_size else None):
        stand_in = ImageSpec((config.data.channels or 1, *size), (0.5, 0.5))
        yield from checks.network_errors(config.model, stand_in)
