"""Checks that a configuration can be trained on its prepared images."""

from pathlib import Path

from bngan.data.dataset import UNLABELLED, ImageSplit
from bngan.diagnostics import checks
from bngan.metrics.extractors import load_extractor
from bngan.serialization.problem import Problem
from pipeline.config.schema import Config
from pipeline.core.errors import UserError


def require_sound(config: Config, prepared: Path) -> None:
    """Raise ``UserError`` if the networks cannot learn from the prepared images."""
    data = ImageSplit.load(prepared, "train")
    if problems := list(checks.network_errors(config.model, data.spec)):
        raise UserError(*problems)
    if config.model.conditional and (missing := int((data.labels == UNLABELLED).sum())):
        message = f"model.conditional: {missing:,} of {len(data):,} images have no label"
        raise UserError(Problem("model.conditional", message))


def require_gradient(config: Config, reference: Path) -> None:
    """Raise ``UserError`` if the loss compares features that have no gradient."""
    adapt = config.adapt
    compares = adapt.base and adapt.method == "supervised" and adapt.feature_weight
    if compares and load_extractor(reference).info.kind == "inception":
        message = "adapt.feature_weight must be 0: Inception has no gradient here"
        raise UserError(Problem("adapt.feature_weight", message))
