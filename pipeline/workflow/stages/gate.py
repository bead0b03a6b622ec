"""Judge the candidate of a run against the champion: what the stage register asks the gate."""

import shlex
from functools import partial
from pathlib import Path

import numpy as np

from bngan.generation.sampler import Sampler
from bngan.metrics.evaluation import Reference
from bngan.metrics.features import Features
from bngan.metrics.memorization import CopyDetector
from bngan.metrics.second_space import SecondSpace
from bngan.numerics.rng import derived_seed
from pipeline.evaluation.contenders import (
    DATA,
    contender,
    draw_of,
    second_space,
    training_features,
    unseen_features,
)
from pipeline.evaluation.overlap import Overlap
from pipeline.evaluation.promotion import judge, most_draws
from pipeline.evaluation.scoring import load_reference
from pipeline.evaluation.seen import digests_of, prepared_of
from pipeline.evaluation.vetoes import Draw
from pipeline.registry import registry
from pipeline.registry.aliases import Opponent, Verdict
from pipeline.registry.changes import CHAMPION
from pipeline.registry.integrity import IntegrityError
from pipeline.registry.registry import OpenedModel
from pipeline.storage.artifacts import SECOND_SPACE, TRAIN_FEATURES
from pipeline.storage.sharing import published
from pipeline.workflow.stage import StageContext
from pipeline.workflow.stages.data_digests import data_digests

_CANDIDATE, _CHAMPION = "the candidate", "the champion"


def judge_candidate(
    context: StageContext, tags: dict[str, str], number: str, opponent: Opponent
) -> Verdict:
    """Compare a candidate with the version to beat; do not promote if that one's files are damaged.

    ``number`` is the candidate's version.
    """
    name = context.config.register.model
    uri = f"models:/{name}/{opponent.number}"
    try:
        with (
            registry.open_generator(context.storage.local, uri) as model,
            published(context.storage, model.generator),
        ):
            return _compare(context, tags, number, opponent, model)
    except IntegrityError as error:
        return Verdict(False, f"{error}: to replace it: {_promotion(context, number)}")


def _compare(
    context: StageContext,
    tags: dict[str, str],
    number: str,
    opponent: Opponent,
    model: OpenedModel,
) -> Verdict:
    """Compare both generators on the same unseen images and from the same fresh latents."""
    ours, folder = context.inputs["train"], context.inputs["reference"]
    known, own, shape = model.version.tags, Sampler.load(ours).spec.shape, model.sampler.spec.shape
    if own != shape:
        return Verdict(False, f"makes other images than {opponent}: {own}, {shape}")
    reference = load_reference(folder)
    overlap = _overlap(context, reference, model)
    if problem := _why_not_judged(overlap):
        mend = f"to make it champion anyway: {_promotion(context, number)}"
        return Verdict(False, f"{problem}; {mend}", overlap.record())
    space = second_space(reference.protocol, folder / SECOND_SPACE, context.inputs["prepare"])
    reduced, count = overlap.reduced(reference), reference.protocol.count
    unseen = unseen_features(reduced, context.inputs["prepare"])
    copies = CopyDetector(unseen, Features.load(folder / TRAIN_FEATURES).features)
    draws = most_draws(context.config.register, reference.extractor.info.kind, count)
    candidate, other = (
        contender(partial(_draw, context, generator, space, count, draws), its_copies, its, tags)
        for generator, its, its_copies in (
            (ours, tags, copies),
            (model.generator, known, _champions_copies(context, reduced, unseen, copies, model)),
        )
    )
    real, left = reduced.real, space.take(overlap.fresh)
    verdict = judge(context.config.register, real, left, candidate, other, draws)
    absent = [] if opponent.alias == CHAMPION else ["there is no champion"]
    reason = "; ".join([f"{verdict.reason} of {opponent}", *absent, *overlap.lines()])
    details = {**verdict.details, **overlap.record(), "champion_version": opponent.number}
    return Verdict(verdict.promote, reason, details)


def _champions_copies(
    context: StageContext,
    reference: Reference,
    unseen: np.ndarray,
    own: CopyDetector,
    champion: OpenedModel,
) -> CopyDetector | None:
    """Return the detector of copies of the champion's own training images; None if they are gone."""
    if champion.version.tags.get(DATA) == context.input_digests["prepare"]:
        return own
    prepared = prepared_of(context.storage, champion)
    return CopyDetector(unseen, training_features(reference, prepared)) if prepared else None


def _overlap(context: StageContext, reference: Reference, champion: OpenedModel) -> Overlap:
    """Return the real images that candidate or champion have seen."""
    own = data_digests(context)
    theirs = digests_of(context.storage, champion)
    return Overlap.of(reference, own, {_CANDIDATE: own, _CHAMPION: theirs})


def _why_not_judged(overlap: Overlap) -> str | None:
    """Return why the real images cannot decide between the generators; None if they can."""
    if overlap.unknown:
        return (
            f"{overlap.lines()[-1]}, since not all images that it was trained on are known "
            "(docs/data.md)"
        )
    if not overlap.enough:
        return f"{overlap.lines()[0]}, and the other {overlap.left} are too few to judge by"
    return None


def _promotion(context: StageContext, number: str) -> str:
    """Return the command that makes a version champion by hand."""
    return shlex.join(("bngan", "promote", context.config.register.model, number))


def _draw(
    context: StageContext,
    generator: Path,
    space: SecondSpace,
    count: int,
    draws: int,
    number: int,
) -> Draw:
    """Return one draw of ``draws``; its seed follows from the candidate's fingerprint."""

    def tell(done: int, total: int) -> None:
        context.events.progress(done, total, f"gate, draw {number + 1} of {draws} at most")

    seed = derived_seed(int(context.fingerprint[:12], 16), number)
    extractor, accelerator = context.inputs["reference"], context.config.train.accelerator
    return draw_of(context.storage, generator, extractor, space, seed, count, accelerator, tell)
