"""The typed schema of an experiment."""

from dataclasses import dataclass, field
from typing import Literal, cast

from omegaconf import MISSING

from bngan.data.grouping import GroupRule
from bngan.data.source import ReadOptions
from bngan.data.split_names import SourceSplit
from bngan.networks.config import ModelConfig
from bngan.serialization.bounds import bounded
from bngan.training.config import ExecutionConfig, OptimizationConfig
from bngan.training.supervised import SupervisedConfig
from pipeline.config.values import LARGEST, SIZE, SMALLEST, WORKERS, ImageSize, WorkerRange

RENAMED = {"train.checkpoint_every": "train.checkpoint_every_seconds"}
"""Keys of an experiment by their names in earlier versions, which are read with a note."""
SYNONYMS = {"data.validation": "data.select"}
"""Keys of an experiment by their second names, which are read like the first ones."""
MUST = "must"
"""Key of a field's metadata: text after "must" in the message about a value of another type."""
KEYS_OF = "keys_of"
"""Key of a field's metadata: the schema whose dotted keys are the keys of the field's mapping. The
mapping's values are lists of that schema's values."""
FEWEST = 20
"""Fewest images that a split may have."""
_SHARE = "{key} must lie between 0 and 0.5, got {value}"
_SEEDS = "seed and data.split_seed must lie in [0, 2^63)"


SplitLaw = Literal["auto", "content", "order"]
"""Law of the random splits, see ``DataConfig.split_by``."""


@dataclass
class DataConfig:
    """Source, preparation and splits of the images."""

    path: str = MISSING
    """embedded:digits, embedded:patches, a folder of images or tables, or hub:OWNER/NAME@REVISION:
    a dataset on the Hugging Face Hub. REVISION is a branch (by default its own), tag or commit."""
    max_download_gb: float = bounded(20.0, ge=0)
    """Most gigabytes (10^9 bytes) to download from the Hub; more fails before the download."""
    image_size: int | list[int] | None = field(default=None, metadata={MUST: SIZE})
    """Size in pixels to resize to: one side of a square, or [height, width], such as [96, 64] for
    portraits. null keeps the images' own size, the same for all of them."""
    max_image_size: int = bounded(256, ge=SMALLEST, most=LARGEST)
    """Longest side in pixels of prepared images. Networks are tried up to 256 pixels; more take
    gigabytes of disk and memory, and must be asked for by a higher number."""
    channels: int | None = None
    """1 (grey) or 3 (RGB); null takes 1 if all images of all splits are grey."""
    white: int | None = bounded(None, ge=1, le=65535)
    """Value that is white in grey and RGB images of 9 to 16 bits, such as 1023 for a sensor of 10
    bits; larger values are clipped. null takes the largest value that the file's header allows.
    Images of 8 bits or fewer are used as they are."""
    fit: Literal["crop", "pad", "stretch"] = "crop"
    """Way to give an image the shape of image_size: crop cuts out the middle, pad adds black,
    stretch distorts."""
    flip: bool = False
    """Train on every image's mirror image too. Use it only if left and right mean nothing."""
    image_column: str | None = None
    """Column of the images in tables; null takes the first image column."""
    label_column: str | None = None
    """Column of labels in tables; null takes the first class column, or 'label'."""
    splits: dict[str, str] | None = None
    """Meaning (train, validation or test) of names of folders, tables or splits, such as
    {Learning: train, Exam: test}; other names then mean nothing, and {} has no splits. null takes
    train, test, validation and similar names."""
    class_level: int | None = bounded(None, ge=0)
    """Level of the folders that name the classes: 1 for those in data.path, or in the folders that
    make splits, 2 for those below, 0 for no classes. null takes the first level with several names."""
    unlabelled: str | None = None
    """Label that means no label, such as -1. Empty cells, null and NaN always mean that."""
    select: float = bounded(0.1, gt=0, lt=0.5, message=_SHARE)
    """Share of the training images, and at least 20 of them, that only serve to choose the best
    checkpoint; data.validation is another name of this key."""
    test: float = bounded(0.1, gt=0, lt=0.5, message=_SHARE)
    """Share of the training images, and at least 20 of them, for the final scores, if the source
    has no test split."""
    max_skipped: float = bounded(
        0.01, ge=0, le=1, message="{key} must lie between 0 and 1, got {value}"
    )
    """Largest allowed share of unusable images, which are left out and listed in the report. A
    larger share is an error, and 0 allows no such image."""
    classes: list[int] | None = None
    """Use only images of these classes, by their numbers in the source; null: all images. The
    classes are renumbered in this order, as if the source had no others."""
    limit: int | None = bounded(
        None, ge=FEWEST, message=f"{{key}} must be at least {FEWEST} images, got {{value}}"
    )
    """Number of images to train on, drawn by split_seed; null: all. The other splits stay whole."""
    split_by: SplitLaw = "auto"
    """Law of the random splits. content: a hash of an image's file decides, so that images that are
    added or removed move no other image; shares hold on average. order: one random order of all
    images decides, and shares hold exactly. auto: order for embedded data, and for data that the
    workspace has split by order before; else content."""
    group: str | None = None
    """Images that belong together, such as frames of a video, and get one split: folder:LEVEL, the
    name of the folder at that level, counted as for class_level; column:NAME, the value in a column
    of tables or metadata files; or name:REGEX, the first group of a regular expression, else its
    match, in the image's name relative to data.path. Other images are split by content."""
    split_seed: int = bounded(0, ge=0, lt=2**63, message=_SEEDS)
    """Seed of the random splits, separate from `seed` so that repetitions share their data."""

    @property
    def size(self) -> ImageSize | None:
        """``image_size`` as height and width; None for the images' own size.

        Raises ``ValueError`` if ``config_errors`` has a problem.
        """
        return None if self.image_size is None else ImageSize.parse(self.image_size)

    def held_out(self, count: int, own_test: bool) -> tuple[int, int]:
        """Return how many of ``count`` images are to select and to test with.

        ``own_test`` is whether the source has a test split; then no image is taken for it.
        """
        select, test = (max(round(count * share), FEWEST) for share in (self.select, self.test))
        return select, 0 if own_test else test

    @property
    def read_options(self) -> ReadOptions:
        """Choices of what is read, for ``open_source``.

        Raises ``ValueError`` if ``config_errors`` has a problem.
        """
        splits = cast(dict[str, SourceSplit] | None, self.splits)
        columns, group = (self.image_column, self.label_column), self.group
        rule = None if group is None else GroupRule.parse(group)
        return ReadOptions(*columns, splits, self.class_level, group=rule)


@dataclass
class TrainConfig(OptimizationConfig, ExecutionConfig):
    """Length, workers and optimiser of the training."""

    images: int = bounded(400_000, gt=0, most=10**15)
    """Budget: real images the discriminator sees. A higher one continues a finished training."""
    score_every: int = bounded(40_000, gt=0)
    """Images between two scores on the select split, each with a sample grid and a checkpoint."""
    checkpoint_every_seconds: float = bounded(5.0, gt=0)
    """Least seconds between two checkpoints, and thus the training time that a crash can cost. The
    time is longer if saving would otherwise take more than 1 % of it."""
    on_nonfinite: Literal["stop", "rollback"] = "rollback"
    """If gradients are not finite: stop, or return to the last checkpoint, with new noise."""
    on_collapse: Literal["warn", "stop", "rollback"] = "warn"
    """If the score, the classes hit, logits or gradient norms show a collapse of training: warn,
    stop, or return to the last score without collapse, with new noise."""
    patience: int | None = bounded(None, gt=0)
    """Training stops after so many scores in a row without a new best one; null: never early. A
    higher number, or null, continues a stopped training."""
    max_rollbacks: int = bounded(3, ge=0)
    """Most rollbacks. After them, gradients that are not finite stop training, and a collapse only
    gives a warning."""
    max_failures: int = bounded(3, ge=0)
    """Most times that training resumes after a worker or its machine died."""
    num_workers: int | list[int] = field(default=2, metadata={MUST: WORKERS})
    """Data-parallel workers that share the global batch: a number, or [min, max] to follow the
    size of the cluster during training. The number changes the speed, not the result."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """Device of the workers; auto takes GPUs if there are any, and no more workers than GPUs."""
    threads_per_worker: int = bounded(1, gt=0, most=2**10)
    """CPU threads of each worker."""

    @property
    def workers(self) -> WorkerRange:
        """``num_workers`` as a range. Raises ``ValueError`` if ``config_errors`` has a problem."""
        return WorkerRange.parse(self.num_workers)


@dataclass
class AdaptConfig(SupervisedConfig):
    """Start of a training from an existing generator, as `bngan adapt` does."""

    base: str | None = None
    """models:/NAME/VERSION, models:/NAME@ALIAS, or a folder with generator.safetensors and
    generator.json. `model` is then the base's, except for the discriminator, and the default of
    train.trainable is affine."""
    method: Literal["adversarial", "supervised"] = "adversarial"
    """adversarial: train against a discriminator, as usual. supervised: learn a latent for each
    image, and gamma and beta, so that the generator reproduces the images (BSA, Noguchi & Harada
    2019); settings of discriminator, adversarial loss and penalty have no effect."""


@dataclass
class ExtractorConfig:
    """The network that makes the features for all scores."""

    kind: Literal["auto", "classifier", "imagenet", "random", "inception", "file"] = "auto"
    """imagenet: EfficientNet-Lite0, a network that has seen photographs. classifier: a small residual
    network. It learns the classes of half of the training images, shifted at random, and mirrored at
    random if data.flip is true; its accuracy on held-out images stands beside each score. auto: the
    extractor of adapt.base, if it has one; else the kind of the model's champion; else classifier
    for labelled images that are grey or have a side under 28 pixels, and imagenet for all others.
    random: an untrained network. inception: Inception of 2015, which defines FID. file: any network
    that torch.export.save or TorchScript wrote in evaluation mode: an image's features may differ by
    1e-4, relative to the largest, from one batch to another."""
    weights: str | None = None
    """File of the network, or of Inception's weights; null downloads Inception's weights."""
    size: int | None = bounded(None, most=2**14)
    """Side in pixels to which images are resized for a file's network; null: no resizing."""
    range: Literal["byte", "unit", "signed"] = "signed"
    """Range of pixels that a file's network expects: 0 to 255, 0 to 1, or -1 to 1."""


@dataclass
class EvaluateConfig:
    """Measurement of the final scores."""

    protocol: str = "fid10k_test"
    """fid<count>_<split>: compare so many generated images with as many real ones of the split."""


@dataclass
class RegisterConfig:
    """Registration of the model, and the gate that decides about its promotion."""

    model: str = MISSING
    """Name of the registered model in MLflow."""
    min_improvement: float = bounded(0.01, ge=0)
    """Share of the champion's FID by which the candidate's FID must be lower. The difference must
    also be beyond chance."""
    draws: int = bounded(256, gt=0, most=10**6)
    """Most draws of fresh latents to score both generators, each of as many images as the protocol
    has. A few of them decide a clear case. More draws tell smaller differences from chance."""
    max_images: int | None = bounded(None, gt=0)
    """Most generated images of each generator in all draws, but at least one draw; null: 320,000 with
    features of a classifier or a random network, and 100,000 with others, which take longer."""
    max_second_increase: float = bounded(0.1, ge=0)
    """Share of the champion's distance in the second space by which the candidate's may be higher.
    The gate must be sure that it is not. The second space is a classifier where scores come from
    ImageNet features and images have labels; else, and for adaptations, patches of a Laplacian
    pyramid. With few images a large part of the distance is chance, and of the margin too."""
    max_kid_increase: float = bounded(0.1, ge=0)
    """Share of the champion's KID by which the candidate's KID may be higher."""
    max_coverage_loss: float = bounded(0.02, ge=0)
    """Coverage that the candidate may lose."""
    max_authenticity_loss: float = bounded(0.05, ge=0)
    """Authenticity (share of images that are no copies) by which the candidate may be below unseen
    real images. Below that, it must not be below the champion."""
    max_copy_share: float = bounded(0.02, gt=0)
    """Share of the candidate's images that may be nearer to a training image than all but 1 % of
    unseen real images are."""
    max_gap_increase: float = bounded(0.1, ge=0)
    """Share of the champion's FID by which the candidate's batch-norm gap may be larger. The gap is
    FID with batch statistics minus FID with stored ones."""


@dataclass
class Config:
    """The configuration of one experiment."""

    name: str = MISSING
    """Name of the experiment in MLflow."""
    seed: int = bounded(0, ge=0, lt=2**63, message=_SEEDS)
    """Seed of the training: initial weights, latents and sample order."""
    workspace: str = "runs"
    """Folder for prepared data, checkpoints, results and, by default, MLflow's database. Or a URI
    that all machines reach, such as s3://BUCKET/PATH; each keeps verified copies in
    $BNGAN_CACHE."""
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    adapt: AdaptConfig = field(default_factory=AdaptConfig)
    extractor: ExtractorConfig = field(default_factory=ExtractorConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    register: RegisterConfig = field(default_factory=RegisterConfig)

    @property
    def keeps_statistics(self) -> bool:
        """Return whether the generator's batch norm keeps the statistics of its base."""
        return self.adapt.base is not None and self.adapt.method == "supervised"
