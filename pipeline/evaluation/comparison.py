"""Compare two registered versions: their scores, and what the gate would see."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bngan.metrics.evaluation import Comparison, Reference, compare
from bngan.metrics.memorization import CopyDetector
from bngan.metrics.protocol import EVALUATION_SEEDS, Protocol
from pipeline.config.schema import RegisterConfig
from pipeline.core.errors import UserError
from pipeline.evaluation.contenders import (
    contender,
    draw_of,
    second_space,
    training_features,
    unseen_features,
)
from pipeline.evaluation.overlap import Overlap
from pipeline.evaluation.promotion import judge
from pipeline.evaluation.scoring import ProgressCallback, downloaded_for_scoring, reference_of
from pipeline.evaluation.seen import digests_of, prepared_of
from pipeline.evaluation.vetoes import Draw
from pipeline.registry.aliases import Verdict
from pipeline.storage.workspace import Workspace


class VersionComparison(NamedTuple):
    """Hold what a comparison of two versions found."""

    protocol: Protocol
    scores: dict[str, Comparison]
    overlap: Overlap
    gate: Verdict | None
    """Verdict of the gate on the first one by this draw alone, with default margins; None if the
    images that it needs are gone."""


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
        folders = [prepared_of(storage, model) for model in (one, other)]
        prepared = folders[0]
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
            copies = _copies(reduced, prepared, folders)
            candidate, champion = (
                contender(partial(_same, draw), its, model.version.tags, one.version.tags)
                for model, draw, its in zip((one, other), draws, copies, strict=True)
            )
            space = space.take(overlap.fresh)
            gate = judge(RegisterConfig(), reduced.real, space, candidate, champion, draws=1)
        return VersionComparison(reference.protocol, scores, overlap, gate)


def _tell_samples(tell: ProgressCallback, seed: int, done: int, total: int) -> None:
    tell(done, total, f"samples, seed {seed}")


def _same(draw: Draw, number: int) -> Draw:
    return draw


def _copies(
    reference: Reference, prepared: Path, folders: Sequence[Path | None]
) -> list[CopyDetector | None]:
    """Return a detector for the training images in each folder; None for a folder that is gone."""
    real = unseen_features(reference, prepared)
    found = {
        folder: CopyDetector(real, training_features(reference, folder))
        for folder in set(folders)
        if folder
    }
    return [found[folder] if folder else None for folder in folders]
