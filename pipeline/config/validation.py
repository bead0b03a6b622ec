"""Checks of values that have the right type and still make no sense."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bngan.data.dataset import ImageSpec
from bngan.data.embedded import EMBEDDED, PREFIX
from bngan.data.hub import HUB_PREFIX, HubName
from bngan.data.sources import is_symbolic
from bngan.diagnostics import checks as soundness
from bngan.metrics.protocol import Protocol
from bngan.training import config as optimization
from pipeline.config.parser import flatten
from pipeline.config.schema import Config
from pipeline.core.names import misnamed, misnamed_model
from pipeline.core.uris import is_uri

FEWEST = 20
"""Images that a split must have to be worked with."""
_VAGUE = re.compile(r"models:/(?![^/@]+(/\d+|@[^/@]+)$).*")
"""An address in the registry that means one version today and another tomorrow, or none."""


def worker_range(value: Any) -> tuple[int, int]:
    """``train.num_workers`` as (min, max); (0, 0) for what is neither a number nor a pair."""
    pair = value if isinstance(value, list) else [value, value]
    if len(pair) != 2 or any(type(number) is not int for number in pair):
        return 0, 0
    return pair[0], pair[1]


def warnings(config: Config) -> list[str]:
    """What trains, but not as its name says, one line each."""
    found, train = list(soundness.warnings(config.model, config.train)), config.train
    end = train.lr_decay_end
    if end is not None and train.lr_final_factor == 0 and train.images > end:
        found.append(
            f"train.images {train.images:,}: from lr_decay_end {end:,} on, learning rates are 0"
        )
    return found


def not_everywhere(key: str, path: str) -> str | None:
    """What is wrong with a path or URI that nodes of a cluster are to find, if anything."""
    if is_symbolic(path) or path.startswith(PREFIX) or Path(path).is_absolute():
        return None
    workspace = key == "workspace"
    if is_uri(path):
        return None if workspace else f"{key} is a URI, and only the workspace may be one"
    mend = ", or a URI such as s3://BUCKET/FOLDER" if workspace else ""
    return (
        f"{key}={path} is relative, and a job runs in a folder of its own: write the absolute path "
        f"of a folder that all nodes share{mend}"
    )


def problems(config: Config, here: bool = True, known: bool = True) -> Iterator[str]:
    """Values that make no sense, one line each, naming the key.

    ``here`` is whether it is to run on this machine, where its files must be; ``known`` whether
    ``model`` is what will be trained, as it is not while its base has not been looked at.
    """
    values = flatten(asdict(config))
    yield from out_of_range(values)
    yield from _texts(values)
    yield from _data(config)
    yield from _extractor(config)
    yield from _adaptation(config)
    if here:
        yield from _files(config)
    yield from _training(config)
    if known:
        yield from _networks(config)
    try:
        Protocol.parse(config.evaluate.protocol)
    except ValueError as error:
        yield f"evaluate.protocol: {error}"
    if config.name.isprintable():  # else told already
        yield from misnamed(config.name)
    yield from misnamed_model("register.model", config.register.model)


def _texts(values: Mapping[str, Any]) -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, str) and not value.isprintable():
            yield f"{key} has characters that cannot be seen, such as line ends: {value!r}"


def _data(config: Config) -> Iterator[str]:
    data = config.data
    if not 0 <= config.seed < 2**63 or not 0 <= data.split_seed < 2**63:
        yield "seed and data.split_seed must lie in [0, 2^63)"
    yield from source(data.path)
    if data.image_size is not None and data.image_size < 4:
        yield f"data.image_size must be at least 4 pixels, got {data.image_size}"
    if data.channels not in (None, 1, 3):
        yield f"data.channels must be 1, 3 or null, got {data.channels}"
    if data.classes is not None and (
        not data.classes or len(set(data.classes)) < len(data.classes)
    ):
        yield f"data.classes must name classes, each once, got {data.classes}"
    if data.limit is not None and data.limit < FEWEST:
        yield f"data.limit must be at least {FEWEST} images, got {data.limit}"
    if not 0 <= data.max_skipped <= 1:
        yield f"data.max_skipped must lie between 0 and 1, got {data.max_skipped}"
    for key, share in {"data.select": data.select, "data.test": data.test}.items():
        if not 0 < share < 0.5:
            yield f"{key} must lie between 0 and 0.5, got {share}"


def source(path: str) -> Iterator[str]:
    """What is wrong with how raw data is named, if anything."""
    if path.startswith(PREFIX) and path not in EMBEDDED:
        yield f"data.path: only {' and '.join(EMBEDDED)} are embedded, not {path}"
    if is_uri(path):
        yield "data.path is a URI: images are read from folders or the Hub"
    elif path.startswith(HUB_PREFIX):
        try:
            HubName.parse(path)
        except ValueError as error:
            yield f"data.path: {error}"


def _extractor(config: Config) -> Iterator[str]:
    extractor = config.extractor
    foreign = extractor.kind in ("inception", "file")
    if extractor.kind == "file" and not extractor.weights:
        yield "extractor.weights must name the file of extractor.kind=file"
    if extractor.weights and not foreign:
        yield f"extractor.weights needs extractor.kind=inception or file, not {extractor.kind}"
    for key in ("size", "range"):
        if getattr(extractor, key) != getattr(type(extractor)(), key) and extractor.kind != "file":
            yield f"extractor.{key} needs extractor.kind=file, not {extractor.kind}"
    if extractor.kind == "file" and extractor.size is not None and extractor.size < 1:
        yield f"extractor.size must be positive, got {extractor.size}"


def _adaptation(config: Config) -> Iterator[str]:
    adapt = config.adapt
    if adapt.base and (is_uri(adapt.base) or _VAGUE.fullmatch(adapt.base)):
        yield f"adapt.base: write models:/NAME@ALIAS, models:/NAME/VERSION or a folder: {adapt.base}"
    if adapt.method == "adversarial":
        return
    if not adapt.base:
        yield "adapt.method=supervised needs a base: bngan adapt BASE CONFIG"
    if config.train.micro_batch is not None:
        yield "train.micro_batch does not go with adapt.method=supervised"
    if config.extractor.kind == "inception" and adapt.feature_weight:
        yield "adapt.feature_weight must be 0 with extractor.kind=inception, which has no gradient here"


def _files(config: Config) -> Iterator[str]:
    path, weights = config.data.path, config.extractor.weights
    if not (is_symbolic(path) or is_uri(path) or path.startswith(PREFIX) or Path(path).is_dir()):
        yield f"data.path: there is no folder {path}"
    if weights and not Path(weights).is_file():
        yield f"extractor.weights: there is no file {weights}"


def _training(config: Config) -> Iterator[str]:
    train = config.train
    if train.batch_size < 2:
        yield "train.batch_size must be at least 2: batch norm needs something to compare"
    least, most = worker_range(train.num_workers)
    if not 1 <= least <= most:
        yield f"train.num_workers must be a positive number or [min, max], got {train.num_workers}"


def _networks(config: Config) -> Iterator[str]:
    yield from (f"train.{found}" for found in optimization.problems(config.model, config.train))
    # Where the networks do not depend on images not yet seen; the rest once they are prepared.
    any_size = config.model.network in ("mlp", "transformer")
    size = config.data.image_size or (16 if any_size else None)
    if size and not list(out_of_range(flatten(asdict(config)))):
        stand_in = ImageSpec((config.data.channels or 1, size, size), (0.5, 0.5))
        if problem := soundness.problem(config.model, stand_in):
            yield problem


_POSITIVE = (
    "train.images",
    "train.batch_size",
    "train.score_every",
    "train.checkpoint_every",
    "train.threads_per_worker",
    "train.patience",
    "train.penalty_weight",
    "train.penalty_every",
    "train.discriminator_steps",
    "train.lr",
    "train.lr_discriminator",
    "train.ema_half_life",
    "model.latent_dim",
    "model.generator.width",
    "model.generator.patch_size",
    "model.discriminator.width",
    "model.discriminator.patch_size",
    "model.batch_norm.eps",
    "adapt.latent_lr",
    "register.draws",
)
_NOT_NEGATIVE = (
    "data.max_download_gb",
    "model.generator.depth",
    "model.discriminator.depth",
    "model.generator.mapping",
    "model.batch_norm.gamma_sd",
    "train.affine_lr_factor",
    "train.weight_decay",
    "train.affine_weight_decay",
    "train.lr_warmup",
    "train.lr_decay_start",
    "train.lr_decay_end",
    "train.max_rollbacks",
    "train.max_failures",
    "adapt.feature_weight",
    "adapt.affine_weight",
    "adapt.latent_weight",
    "adapt.latent_noise",
    "register.min_improvement",
    "register.max_kid_increase",
    "register.max_coverage_loss",
    "register.max_authenticity_loss",
    "register.max_gap_increase",
)
_FRACTIONS = {
    "train.beta1": "[0, 1)",
    "train.beta2": "[0, 1)",
    "train.label_smoothing": "[0, 1)",
    "train.lr_final_factor": "[0, 1]",
    "train.rollback_lr_factor": "(0, 1]",
    "model.batch_norm.momentum": "(0, 1]",
}
_AT_MOST = {
    "train.images": 10**15,
    "train.batch_size": 2**24,
    "train.threads_per_worker": 2**10,
    "model.latent_dim": 2**20,
    "model.generator.width": 2**20,
    "model.generator.depth": 1_000,
    "model.generator.mapping": 1_000,
    "model.discriminator.width": 2**20,
    "model.discriminator.depth": 1_000,
    "data.image_size": 2**14,
    "extractor.size": 2**14,
    "register.draws": 10**6,
}
"""What is more is a slip, and would take the machine's memory before anything else is said."""


def out_of_range(values: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with numbers by themselves, a line each; ``values`` by dotted keys."""
    for key in _POSITIVE:
        if values[key] is not None and not (_finite(values[key]) and values[key] > 0):
            yield f"{key} must be positive, got {values[key]}"
    for key in _NOT_NEGATIVE:
        if values[key] is not None and not (_finite(values[key]) and values[key] >= 0):
            yield f"{key} must not be negative, got {values[key]}"
    for key, interval in _FRACTIONS.items():
        low, high = interval[0] == "[", interval[-1] == "]"
        value = values[key]
        if not (0 < value < 1 or (low and value == 0) or (high and value == 1)):
            yield f"{key} must lie in {interval}, got {value}"
    for key, most in _AT_MOST.items():
        if values[key] is not None and values[key] > most:
            yield f"{key} must be at most {most:,}, got {values[key]:,}"


def _finite(value: float) -> bool:
    return isinstance(value, int) or math.isfinite(value)  # an int may be too large for a float
