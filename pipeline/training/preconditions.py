"""What cannot be trained."""

from pathlib import Path

from bngan.data.dataset import UNLABELLED, ImageSplit
from bngan.diagnostics import checks as soundness
from bngan.metrics.extractors import load_extractor
from pipeline.config.schema import Config
from pipeline.core.errors import UserError


def require_sound(config: Config, prepared: Path) -> None:
    """Refuse networks that cannot learn from the prepared images."""
    data = ImageSplit.load(prepared, "train")
    if problem := soundness.problem(config.model, data.spec):
        raise UserError(problem)
    if config.model.conditional and (missing := int((data.labels == UNLABELLED).sum())):
        raise UserError(f"model.conditional: {missing:,} of {len(data):,} images have no label")


def require_gradient(config: Config, reference: Path) -> None:
    """Refuse to compare features that have no gradient."""
    if (
        not config.adapt.base
        or config.adapt.method != "supervised"
        or not config.adapt.feature_weight
    ):
        return
    if load_extractor(reference).info.kind == "inception":
        raise UserError("adapt.feature_weight must be 0: Inception has no gradient here")
