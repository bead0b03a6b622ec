"""The typed schema of an experiment."""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from omegaconf import MISSING

from bngan.networks.config import ModelConfig
from bngan.serialization.bounds import bounded
from bngan.training.config import OptimizationConfig
from bngan.training.supervised import SupervisedConfig

RENAMED = {"train.checkpoint_every": "train.checkpoint_every_seconds"}
"""Keys of an experiment by the names they had in earlier versions, which are read with a note."""
SYNONYMS = {"data.validation": "data.select"}
"""Keys of an experiment by second names, which are read as the first ones are."""
MUST = "must"
"""In a field's metadata: what its value must do, for a person who gave one of another type."""
FEWEST = 20
"""Images that a split must have to be worked with."""
_SHARE = "{key} must lie between 0 and 0.5, got {value}"
_SEEDS = "seed and data.split_seed must lie in [0, 2^63)"
_WORKERS = "be a positive number or [min, max]"


class WorkerRange(NamedTuple):
    """Number of workers: what the cluster holds, from ``least`` up to ``most``."""

    least: int
    most: int

    @classmethod
    def parse(cls, value: int | list[int]) -> "WorkerRange":
        """Read ``train.num_workers``. Raises ``ValueError`` if it is no number and no range."""
        pair = value if isinstance(value, list) else [value, value]
        if len(pair) != 2 or not 1 <= pair[0] <= pair[1]:
            raise ValueError(f"must {_WORKERS}, got {value}")
        return cls(*pair)


@dataclass
class DataConfig:
    """Where the images come from and what is done to them."""

    path: str = MISSING
    """embedded:digits, embedded:patches, a folder of images or tables, or hub:OWNER/NAME@REVISION: a
    branch, tag or commit of a dataset on the Hugging Face Hub; without @REVISION its default branch."""
    max_download_gb: float = bounded(20.0, ge=0)
    """Gigabytes (10^9 bytes) that may be downloaded from the Hub; more is an error before any is."""
    image_size: int | None = bounded(
        None, ge=4, most=2**14, message="{key} must be at least 4 pixels, got {value}"
    )
    """Side in pixels to resize to; null keeps the images' own size, which must then be one size."""
    channels: int | None = None
    """1 (grey) or 3 (RGB); null takes 1 if the first images are all grey."""
    fit: Literal["crop", "pad", "stretch"] = "crop"
    """How an image that is not square becomes one: cut the middle out, add black, or distort."""
    flip: bool = False
    """Train on every image's mirror image too; for images whose left and right mean nothing."""
    image_column: str | None = None
    """Column of the images in tables; null takes the first image column."""
    label_column: str | None = None
    """Column of labels in tables; null takes the first class column, or 'label'."""
    select: float = bounded(0.1, gt=0, lt=0.5, message=_SHARE)
    """Share of the training images set apart for choosing the best checkpoint; data.validation is
    another name for it."""
    test: float = bounded(0.1, gt=0, lt=0.5, message=_SHARE)
    """Share set apart for the final scores, where the source has no test split of its own."""
    max_skipped: float = bounded(
        0.01, ge=0, le=1, message="{key} must lie between 0 and 1, got {value}"
    )
    """Share of images that cannot be used which is left out and listed in the report; more is an
    error, and 0 allows not one."""
    classes: list[int] | None = None
    """Use only images of these classes, by their numbers in the source; null: all images. They are
    renumbered in this order, as if the source had no others."""
    limit: int | None = bounded(
        None, ge=FEWEST, message=f"{{key}} must be at least {FEWEST} images, got {{value}}"
    )
    """Train on so many images, drawn by split_seed; null: on all. The other splits stay whole."""
    split_seed: int = bounded(0, ge=0, lt=2**63, message=_SEEDS)
    """Seed of the random splits. Apart from `seed`, so that repetitions share their data."""


@dataclass
class TrainConfig(OptimizationConfig):
    """How long, on what, and with which optimiser."""

    images: int = bounded(400_000, gt=0, most=10**15)
    """Budget: real images the discriminator sees. A higher one continues a finished training."""
    score_every: int = bounded(40_000, gt=0)
    """Images between two scores on the select split, each with a sample grid and a checkpoint."""
    checkpoint_every_seconds: float = bounded(15.0, gt=0)
    """Least time between two checkpoints, which is what a crash can cost. More where saving takes so
    long that it would be above 1 % of the time."""
    on_nonfinite: Literal["stop", "rollback"] = "rollback"
    """When gradients are not finite: stop, or go back to the last checkpoint and on with new noise."""
    on_collapse: Literal["warn", "stop", "rollback"] = "warn"
    """When the score, the classes hit, logits or gradient norms say that training has collapsed: warn,
    stop, or go back to the last score at which it had not and on with new noise."""
    patience: int | None = bounded(None, gt=0)
    """Scores in a row without a new best one after which training stops; null: train to the end. More
    of it, or null, continues."""
    max_rollbacks: int = bounded(3, ge=0)
    """Rollbacks before not finite gradients stop training, and a collapse is only warned of."""
    max_failures: int = bounded(3, ge=0)
    """Times that training is taken up again after a worker or its machine died."""
    num_workers: int | list[int] = field(default=2, metadata={MUST: _WORKERS})
    """Data-parallel workers sharing the global batch: a number, or [min, max] to take what the cluster
    has while training goes on. Changes the speed, not the result."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """Device of the workers; auto takes GPUs where there are any, and no more workers than they are."""
    threads_per_worker: int = bounded(1, gt=0, most=2**10)
    """CPU threads of each worker."""

    @property
    def workers(self) -> WorkerRange:
        """``num_workers`` as a range. Raises ``ValueError`` where ``config_errors`` has a problem."""
        return WorkerRange.parse(self.num_workers)


@dataclass
class AdaptConfig(SupervisedConfig):
    """Starting from a generator that there is already, as `bngan adapt` does."""

    base: str | None = None
    """models:/NAME/VERSION, models:/NAME@ALIAS, or a folder with generator.safetensors and
    generator.json. `model` is then the base's but for its discriminator, and train.trainable affine
    unless it is given."""
    method: Literal["adversarial", "supervised"] = "adversarial"
    """adversarial: against a discriminator, as all training. supervised: each image against what the
    generator makes of a latent learned for it, by gamma and beta only (BSA, Noguchi & Harada 2019);
    settings of discriminator, adversarial loss and penalty play no part."""


@dataclass
class ExtractorConfig:
    """What makes the features that scores are measured in."""

    kind: Literal["auto", "classifier", "random", "inception", "file"] = "auto"
    """classifier: a small one, trained on half of the training images. random: one that nobody trained.
    auto: the one that adapt.base was scored by, if it has one, else classifier where there are labels,
    else random. inception: Inception of 2015, as FID is
    defined. file: any network that torch.export.save or TorchScript wrote."""
    weights: str | None = None
    """File of the network, or of Inception's weights, which are downloaded if it is not given."""
    size: int | None = bounded(None, most=2**14)
    """Pixels that a file's network wants images resized to; null: as they are."""
    range: Literal["byte", "unit", "signed"] = "signed"
    """What a file's network wants 0 to 255 as: the same, 0 to 1, or -1 to 1."""


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
    min_improvement: float = bounded(0.01, ge=0)
    """Share of the champion's FID by which a candidate must be better, beyond chance as well."""
    draws: int = bounded(32, gt=0, most=10**6)
    """Draws of fresh latents, of as many images as the protocol has, from which both are scored; a
    quarter of them where that is clear enough. More tell smaller differences from chance."""
    max_kid_increase: float = bounded(0.1, ge=0)
    """Share of the champion's KID that a candidate may have more, though its FID is lower."""
    max_coverage_loss: float = bounded(0.02, ge=0)
    """Coverage that it may lose."""
    max_authenticity_loss: float = bounded(0.05, ge=0)
    """Authenticity (share of images that are no copies) that it may lose."""
    max_gap_increase: float = bounded(0.1, ge=0)
    """Share of the champion's FID by which its FID by batch statistics may be further from its own."""


@dataclass
class Config:
    """One experiment."""

    name: str = MISSING
    """Name of the experiment in MLflow."""
    seed: int = bounded(0, ge=0, lt=2**63, message=_SEEDS)
    """Seed of the training: initial weights, latents and sample order."""
    workspace: str = "runs"
    """Folder for prepared data, checkpoints, results and, by default, MLflow's database. Or a URI that
    all machines reach, such as s3://BUCKET/PATH: each then keeps verified copies in $BNGAN_CACHE."""
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    adapt: AdaptConfig = field(default_factory=AdaptConfig)
    extractor: ExtractorConfig = field(default_factory=ExtractorConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    register: RegisterConfig = field(default_factory=RegisterConfig)

    @property
    def keeps_statistics(self) -> bool:
        """Whether the generator's batch norm keeps the statistics of a base."""
        return self.adapt.base is not None and self.adapt.method == "supervised"
