"""The typed schema of an experiment, and reading it from YAML and the command line."""

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from bngan import soundness
from bngan.data import ImageSpec
from bngan.metrics.protocol import Protocol
from bngan.networks import ModelConfig
from bngan.optimization import OptimizationConfig, batch_problem
from bngan.sources import EMBEDDED_DIGITS, HUB_PREFIX
from pipeline.errors import UserError

_STAND_IN = ImageSpec((1, 16, 16), (0.5, 0.5))
"""In place of images not yet seen, where only the kind of networks matters."""


@dataclass
class DataConfig:
    """Where the images come from and what is done to them."""

    path: str = MISSING
    """embedded:digits, a folder of images or of parquet/Arrow files, or hub:OWNER/NAME."""
    image_size: int | None = None
    """Side in pixels to resize to; null keeps the images' own size, which must then be one size."""
    channels: int | None = None
    """1 (grey) or 3 (RGB); null takes 1 if the first images are all grey."""
    fit: Literal["crop", "pad", "stretch"] = "crop"
    """How an image that is not square becomes one: cut the middle out, add black, or distort."""
    image_column: str | None = None
    """Column of the images in tables; null takes the first image column."""
    label_column: str | None = None
    """Column of integer labels in tables; null takes the first class column, or 'label'."""
    select: float = 0.1
    """Share of the training images set apart for choosing the best checkpoint."""
    test: float = 0.1
    """Share set apart for the final scores, where the source has no test split of its own."""
    max_skipped: float = 0.01
    """Share of unreadable images that is skipped and reported; more is an error."""
    split_seed: int = 0
    """Seed of the random splits. Apart from `seed`, so that repetitions share their data."""


@dataclass
class TrainConfig(OptimizationConfig):
    """How long, on what, and with which optimiser."""

    images: int = 400_000
    """Budget: real images the discriminator sees. A higher one continues a finished training."""
    score_every: int = 40_000
    """Images between two scores on the select split, each with a sample grid and a checkpoint."""
    num_workers: int = 2
    """Data-parallel workers sharing the global batch. Changes the speed, not the result."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """Device of the workers; auto takes GPUs where there is one for every worker."""
    threads_per_worker: int = 1
    """CPU threads of each worker."""


@dataclass
class EvaluateConfig:
    """How the final scores are measured."""

    protocol: str = "fid10k_test"
    """fid<count>_<split>: as many generated images against as many real ones of that split."""


@dataclass
class RegisterConfig:
    """Where the model goes."""

    model: str = MISSING
    """Name of the registered model in MLflow."""


@dataclass
class Config:
    """One experiment."""

    name: str = MISSING
    """Name of the experiment in MLflow."""
    seed: int = 0
    """Seed of the training: initial weights, latents and sample order."""
    workspace: str = "runs"
    """Folder for prepared data, checkpoints, results and, by default, MLflow's database."""
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    register: RegisterConfig = field(default_factory=RegisterConfig)


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file and ``key=value`` overrides, with every path made absolute.

    Raises:
        UserError: naming the first key that is unknown, missing or has a wrong value.
    """
    schema = OmegaConf.structured(Config)
    try:
        given = OmegaConf.load(path)
        if not isinstance(given, DictConfig):
            raise UserError(f"{path} is not a mapping of keys to values")
        user = cast(DictConfig, OmegaConf.merge(given, _parse(overrides)))
        _refuse_unknown(user, schema)
        merged = OmegaConf.merge(schema, user)
        missing = sorted(OmegaConf.missing_keys(merged))
        if missing:
            raise UserError(f"{missing[0]} is not set: give it in {path} or as {missing[0]}=VALUE")
        config = cast(Config, OmegaConf.to_object(merged))
    except FileNotFoundError as error:
        raise UserError(f"there is no configuration file {path}") from error
    except (OmegaConfBaseException, YAMLError, OSError, UnicodeDecodeError) as error:
        raise UserError(_one_line(error, path)) from error
    config.workspace = str(Path(config.workspace).expanduser().absolute())
    if not is_symbolic(config.data.path) and not config.data.path.startswith("embedded:"):
        config.data.path = str(Path(config.data.path).expanduser().absolute())
    for problem in _problems(config):
        raise UserError(problem)
    return config


def is_symbolic(data_path: str) -> bool:
    """Whether ``data.path`` names data that is not a local folder."""
    return data_path == EMBEDDED_DIGITS or data_path.startswith(HUB_PREFIX)


def to_yaml(config: Config) -> str:
    """The complete configuration as YAML."""
    return OmegaConf.to_yaml(OmegaConf.create(asdict(config)))


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        flat |= flatten(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return flat


def _parse(overrides: Sequence[str]) -> DictConfig:
    for override in overrides:
        if "=" not in override or override.startswith("-"):
            raise UserError(
                f"'{override}' is not an override: write key=value, as in train.lr=1e-3"
            )
    try:
        return OmegaConf.from_dotlist(list(overrides))
    except YAMLError as error:
        raise UserError(f"an override has a value that is not valid YAML: {overrides}") from error


def _refuse_unknown(user: DictConfig, schema: DictConfig) -> None:
    known = flatten(cast(dict[str, Any], OmegaConf.to_container(schema)))
    sections = {key.rsplit(".", depth)[0] for key in known for depth in (1, 2) if "." in key}
    given = OmegaConf.to_container(user, resolve=False)
    for key in flatten(cast(dict[str, Any], given)):
        if key in sections:
            raise UserError(f"{key} is a section: set a key in it, as {key}.KEY=VALUE")
        if key in known:
            continue
        close = [name for name in known if name.split(".")[-1] == key.split(".")[-1]]
        close = close or difflib.get_close_matches(key, known, n=1, cutoff=0.6)
        hint = f": did you mean {close[0]}?" if close else ""
        raise UserError(f"unknown key {key}{hint}")


def _one_line(error: Exception, path: Path) -> str:
    key = getattr(error, "full_key", None)
    text = str(error).strip().splitlines()
    if isinstance(error, YAMLError):
        return f"{path} is not valid YAML: {' '.join(line.strip() for line in text)}"
    hint = ": write it out, as 100000" if "converted to Integer" in str(error) else ""
    return f"{key or path}: {text[0] if text else type(error).__name__}{hint}"


def _problems(config: Config) -> Iterator[str]:
    """Values of the right type that make no sense, one line each."""
    data, train = config.data, config.train
    yield from _numbers(config)
    if not 0 <= config.seed < 2**63 or not 0 <= data.split_seed < 2**63:
        yield "seed and data.split_seed must lie in [0, 2^63)"
    if data.path.startswith("embedded:") and data.path != EMBEDDED_DIGITS:
        yield f"data.path: only {EMBEDDED_DIGITS} is embedded, not {data.path}"
    if train.batch_size < 2:
        yield "train.batch_size must be at least 2: batch norm needs something to compare"
    if data.image_size is not None and data.image_size < 4:
        yield f"data.image_size must be at least 4 pixels, got {data.image_size}"
    if data.channels not in (None, 1, 3):
        yield f"data.channels must be 1, 3 or null, got {data.channels}"
    if not is_symbolic(data.path) and not Path(data.path).is_dir():
        yield f"data.path: there is no folder {data.path}"
    yield from _training_problems(config)
    try:
        Protocol.parse(config.evaluate.protocol)
    except ValueError as error:
        yield f"evaluate.protocol: {error}"
    if not config.register.model or set(config.register.model) & set("/:"):
        yield f"register.model must be a name without '/' and ':', got '{config.register.model}'"


def _training_problems(config: Config) -> Iterator[str]:
    if problem := batch_problem(config.model, config.train):
        yield f"train.{problem}"
    if not config.model.discriminator.allow_blind and soundness.is_blind(config.model, _STAND_IN):
        yield (
            "model.discriminator cannot learn: batch norm right before its output gives every batch "
            "the same mean logit, and real and fake images are normalised separately. Set norm_place: "
            "before_activation, or batch_statistics: joint; allow_blind: true trains it all the same"
        )


def warnings(config: Config) -> list[str]:
    """What trains, but not as its name says, one line each."""
    return list(soundness.warnings(config.model, config.train))


def _numbers(config: Config) -> Iterator[str]:
    data, train = config.data, config.train
    positive = {
        "train.images": train.images,
        "train.batch_size": train.batch_size,
        "train.score_every": train.score_every,
        "train.num_workers": train.num_workers,
        "train.threads_per_worker": train.threads_per_worker,
        "train.penalty_weight": train.penalty_weight,
        "train.penalty_every": train.penalty_every,
        "train.lr": train.lr,
        "train.ema_half_life": train.ema_half_life,
        "model.latent_dim": config.model.latent_dim,
        "model.generator.width": config.model.generator.width,
        "model.discriminator.width": config.model.discriminator.width,
    }
    for key, value in positive.items():
        if not (math.isfinite(value) and value > 0):
            yield f"{key} must be positive, got {value}"
    for key, share in {"train.beta1": train.beta1, "train.beta2": train.beta2}.items():
        if not 0 <= share < 1:
            yield f"{key} must lie in [0, 1), got {share}"
    depths = {
        "generator": config.model.generator.depth,
        "discriminator": config.model.discriminator.depth,
    }
    for part, depth in depths.items():
        if depth is not None and depth < 0:
            yield f"model.{part}.depth must not be negative, got {depth}"
    if not 0 <= data.max_skipped <= 1:
        yield f"data.max_skipped must lie between 0 and 1, got {data.max_skipped}"
    for key, share in {"data.select": data.select, "data.test": data.test}.items():
        if not 0 < share < 0.5:
            yield f"{key} must lie between 0 and 0.5, got {share}"
