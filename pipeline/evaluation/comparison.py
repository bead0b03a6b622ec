"""Compare two registered versions: their scores, and what the gate would see."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bngan.metrics.evaluation import Comparison, Reference, compare
from bngan.metrics.memorization import CopyDetector
from bngan.metrics.protocol import EVALUATION_SEEDS, Protocol
from pipeline.config.schema import RegisterConfig
from pipeline.core.errors import UserError
from pipeline.evaluation.contenders import (
    MEASURE,
    TRAINED_ON,
    draw_of,
    gap_of,
    second_space,
    training_features,
    unseen_features,
)
from pipeline.evaluation.overlap import Overlap
from pipeline.evaluation.promotion import judge
from pipeline.evaluation.scoring import ProgressCallback, downloaded_for_scoring, reference_of
from pipeline.evaluation.seen import digests_of, prepared_of
from pipeline.evaluation.vetoes import Draw, GateCandidate
from pipeline.registry.aliases import EXTRACTOR, Verdict
from pipeline.registry.registry import OpenedModel
from pipeline.storage.workspace import Workspace


class VersionComparison(NamedTuple):
    """Hold what a comparison of two versions found."""

    protocol: Protocol
    scores: dict[str, Comparison]
    overlap: Overlap
    gate: Verdict | None
    """What the gate would decide on the first one by this draw alone, with default margins; None if
    the images that it needs are gone."""


def compare_models(
    storage: Workspace, first: str, second: str, protocol: str | None, tell: ProgressCallback
) -> VersionComparison:
    """Compare two registered versions on the first one's reference, from the same latents.

    Real images that one of them has seen are left out for both.

    Raises:
        UserError: if a version does not exist, their images have different shapes, or too few real
            images are left.
    """
    with (
        downloaded_for_scoring(storage, first) as one,
        downloaded_for_scoring(storage, second) as other,
    ):
        reference = reference_of(one, protocol)
        shapes = [model.sampler.spec.shape for model in (one, other)]
        if shapes[0] != shapes[1]:
            raise UserError(f"images of shapes {shapes[0]} and {shapes[1]} cannot be compared")
        ours, theirs = digests_of(storage, one), digests_of(storage, other)
        overlap = Overlap.of(reference, ours, {first: ours, second: theirs})
        if not overlap.enough:
            left = f"the other {overlap.left} are too few to compare on"
            raise UserError(f"{overlap.lines()[0]}, and {left}")
        reduced = overlap.reduced(reference)
        prepared = prepared_of(storage, one)
        space = second_space(reference.protocol, one.second, prepared) if prepared else None
        seed, count = EVALUATION_SEEDS[0], reference.protocol.count
        progress = partial(_tell_samples, tell, seed)
        draws = [
            draw_of(storage, model.generator, one.reference, space, seed, count, "auto", progress)
            for model in (one, other)
        ]
        scores = compare(reduced, *(draw.features for draw in draws))
        gate = None
        if space and prepared:
            tell(0, 1, "features of training images")
            candidate, champion = _sides(storage, reduced, prepared, (one, other), draws)
            space = space.take(overlap.fresh)
            gate = judge(RegisterConfig(), reduced.real, space, candidate, champion, draws=1)
        return VersionComparison(reference.protocol, scores, overlap, gate)


def _tell_samples(tell: ProgressCallback, seed: int, done: int, total: int) -> None:
    tell(done, total, f"samples, seed {seed}")


def _same(draw: Draw, number: int) -> Draw:
    return draw


def _sides(
    storage: Workspace,
    reference: Reference,
    prepared: Path,
    models: tuple[OpenedModel, OpenedModel],
    draws: list[Draw],
) -> Iterator[GateCandidate]:
    """Yield both versions as the gate takes them, with the draws that there are."""
    real = unseen_features(reference, prepared)
    own, measure = (models[0].version.tags.get(tag) for tag in (EXTRACTOR, MEASURE))
    copies = {prepared: CopyDetector(real, training_features(reference, prepared))}
    for model, draw in zip(models, draws, strict=True):
        tags, folder = model.version.tags, prepared_of(storage, model)
        if folder and folder not in copies:
            copies[folder] = CopyDetector(real, training_features(reference, folder))
        yield GateCandidate(
            partial(_same, draw),
            copies[folder] if folder else None,
            gap_of(tags, measure) if measure else None,
            own is not None and tags.get(TRAINED_ON) == own,
        )
