"""register: make the generator a version, and champion if it is better than the present one."""

import json
import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from bngan.data.class_names import list_classes
from bngan.generation.sampler import Sampler
from bngan.metrics.evaluation import Reference
from bngan.metrics.features import Features
from bngan.metrics.memorization import CopyDetector
from bngan.metrics.pretrained import file_hash
from bngan.metrics.second_space import SecondSpace
from bngan.numerics.rng import derived_seed
from bngan.serialization.manifest import digest
from pipeline.evaluation.contenders import (
    DATA,
    GAP,
    GAP_ERROR,
    MEASURE,
    TRAINED_ON,
    draw_of,
    gap_of,
    second_space,
    training_features,
)
from pipeline.evaluation.overlap import Overlap
from pipeline.evaluation.promotion import Draw, GateCandidate, judge, most_draws
from pipeline.evaluation.scoring import load_reference
from pipeline.evaluation.seen import digests_of, prepared_of
from pipeline.registry import registry
from pipeline.registry.aliases import EXTRACTOR, GENERATOR, Verdict, assign_alias
from pipeline.registry.integrity import IntegrityError
from pipeline.registry.logged_model import ModelPackage
from pipeline.registry.registry import OpenedModel
from pipeline.reports.gate_report import render
from pipeline.reports.model_card import card
from pipeline.serving.model_interface import model_interface
from pipeline.storage.artifacts import (
    BASE_DIGESTS,
    DATASET,
    DIGESTS,
    EXTRACTOR_CLASSES,
    EXTRACTOR_FILES,
    GATE_REPORT,
    GENERATOR_FILES,
    REAL_FEATURES,
    REFERENCE,
    REGISTRATION,
    SAMPLE_GRID,
    SCORES,
    SECOND_SPACE,
    TRAIN_FEATURES,
)
from pipeline.storage.sharing import published
from pipeline.tracking.tracker import dataset_name
from pipeline.workflow.stage import Stage, StageContext, Summary
from pipeline.workflow.stages.data_digests import data_digests

_SECOND = f"{SECOND_SPACE}/*"
_CANDIDATE, _CHAMPION = "the candidate", "the champion"


def run(context: StageContext) -> Summary:
    """Write ``registration.json`` and ``gate.html``: the gate's decision and its numbers."""
    record = json.loads((context.inputs["evaluate"] / SCORES).read_text(encoding="utf-8"))
    grid = (context.inputs["evaluate"] / SAMPLE_GRID).read_bytes()
    context.events.artifact(SAMPLE_GRID, grid)  # the card's picture
    name, tags = context.config.register.model, _tags(context, record)
    with tempfile.TemporaryDirectory(prefix="bngan-") as temporary:
        parts = _parts(context, Path(temporary))
        package = ModelPackage(
            parts,
            tags,
            card(context.config, record, context.run_id),
            record["scores"],
            (dataset_name(context.config.data.path), context.input_digests["prepare"]),
            model_interface(),
        )
        number = registry.register(context.storage.local, context.run_id, name, package)
    compare = partial(_judge, context, tags, number)
    alias, verdict = assign_alias(context.storage.local, name, number, compare)
    summary = {
        "name": name,
        "version": number,
        "alias": alias,
        "reason": verdict.reason,
        "uri": f"models:/{name}/{number}",
        "note": f"version {number}: {alias} ({verdict.reason})",
    }
    registration = {**summary, "gate": verdict.details}
    for file, text in {
        REGISTRATION: json.dumps(registration, indent=2),
        GATE_REPORT: render(registration),
    }.items():
        (context.output / file).write_text(text, encoding="utf-8")
        context.events.artifact(file, text.encode())
    return summary


def _tags(context: StageContext, record: dict[str, Any]) -> dict[str, str]:
    measure = {
        "protocol": record["protocol"],
        "extractor": record["extractor"]["sha256"],
        "real": file_hash(context.inputs["reference"] / REAL_FEATURES),
    }
    tags = {
        "bngan.fingerprint": context.fingerprint,
        MEASURE: digest(measure),
        "bngan.protocol": record["protocol"]["name"],
        EXTRACTOR: record["extractor"]["kind"],
        GENERATOR: context.input_digests["train"],
        DATA: context.input_digests["prepare"],
        **{name: f"{value:.6g}" for name, value in record["scores"].items()},
        "floor_fid": f"{record['floor']['fid']:.6g}",
    }
    if context.config.model.conditional:
        tags[registry.CLASSES] = list_classes(record["data"]["classes"])
    if adapted := record.get("adapted"):
        tags |= {
            "bngan.base": adapted["base"],
            "bngan.base_generator": adapted["generator"],
            "bngan.differs": adapted["differs"],
        }
    adapt = context.config.adapt
    if adapt.base and adapt.method == "supervised" and adapt.feature_weight:
        tags[TRAINED_ON] = record["extractor"]["kind"]
    if norm := record["batch_norm"]:
        tags |= {GAP: f"{norm['gap']:.6g}", GAP_ERROR: f"{norm['gap_se']:.6g}"}
    return tags


def _parts(context: StageContext, folder: Path) -> dict[str, Path]:
    """Copy the files that a version carries, add its digests; return the folders by name."""
    parts = dict[str, Path]()
    for name, stage in {"generator": "train", "reference": "reference"}.items():
        parts[name] = folder / name
        parts[name].mkdir()
        for pattern in set(STAGE.inputs[stage]) - {TRAIN_FEATURES, BASE_DIGESTS, _SECOND}:
            for path in context.inputs[stage].glob(pattern):
                shutil.copy(path, parts[name])
    if (second := context.inputs["reference"] / SECOND_SPACE).is_dir():
        parts[SECOND_SPACE] = shutil.copytree(second, folder / SECOND_SPACE)
    data_digests(context).save(parts["reference"] / DIGESTS)
    return parts


def _judge(context: StageContext, tags: dict[str, str], number: str, champion: str) -> Verdict:
    """Compare candidate and champion; do not promote if the champion's files are damaged.

    ``number`` is the candidate's version.
    """
    name = context.config.register.model
    uri = f"models:/{name}/{champion}"
    try:
        with (
            registry.open_generator(context.storage.local, uri) as model,
            published(context.storage, model.generator),
        ):
            return _compare(context, tags, number, model)
    except IntegrityError as error:
        return Verdict(False, f"{error}: to replace it: {_promotion(context, number)}")


def _compare(
    context: StageContext, tags: dict[str, str], number: str, model: OpenedModel
) -> Verdict:
    """Compare both generators on the same unseen images and from the same fresh latents."""
    ours, folder = context.inputs["train"], context.inputs["reference"]
    champion, known = str(model.version.version), model.version.tags
    own, shape = Sampler.load(ours).spec.shape, model.sampler.spec.shape
    if own != shape:
        others = f"makes other images than champion version {champion}: {own}, {shape}"
        return Verdict(False, others)
    reference = load_reference(folder)
    overlap = _overlap(context, reference, model)
    if problem := _why_not_judged(overlap):
        mend = f"to make it champion anyway: {_promotion(context, number)}"
        return Verdict(False, f"{problem}; {mend}", overlap.record())
    space = second_space(reference.protocol, folder / SECOND_SPACE, context.inputs["prepare"])
    reduced, count = overlap.reduced(reference), reference.protocol.count
    copies = CopyDetector(reduced.real.features, Features.load(folder / TRAIN_FEATURES).features)
    draws = most_draws(context.config.register, reference.extractor.info.kind, count)
    candidate, other = (
        GateCandidate(
            partial(_draw, context, generator, space, count, draws),
            its_copies,
            gap_of(its, tags[MEASURE]),
            its.get(TRAINED_ON) == tags[EXTRACTOR],
        )
        for generator, its, its_copies in (
            (ours, tags, copies),
            (model.generator, known, _champions_copies(context, reduced, copies, model)),
        )
    )
    real, left = reduced.real, space.take(overlap.fresh)
    verdict = judge(context.config.register, real, left, candidate, other, draws)
    reason = "; ".join([f"{verdict.reason} of champion version {champion}", *overlap.lines()])
    details = {**verdict.details, **overlap.record(), "champion_version": champion}
    return Verdict(verdict.promote, reason, details)


def _champions_copies(
    context: StageContext, reference: Reference, own: CopyDetector, champion: OpenedModel
) -> CopyDetector | None:
    """Return the detector of copies of the champion's own training images; None if they are gone."""
    if champion.version.tags.get(DATA) == context.input_digests["prepare"]:
        return own
    prepared = prepared_of(context.storage, champion)
    if prepared is None:
        return None
    return CopyDetector(reference.real.features, training_features(reference, prepared))


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
    return f"bngan promote {context.config.register.model} {number}"


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


def _refresh(workspace: Path, summary: Summary) -> Summary:
    """Return the summary with the alias that the version has now, since aliases move."""
    alias = registry.current_alias(workspace, summary["name"], summary["version"])
    note = f"version {summary['version']}: {alias or 'no alias'}"
    return {**summary, "alias": alias, "note": note}


STAGE = Stage(
    "register",
    run,
    config=("name", "register", "adapt.base", "adapt.method", "adapt.feature_weight"),
    inputs={
        "prepare": ("*.npy", DATASET, DIGESTS),
        "train": (GENERATOR_FILES,),
        "evaluate": (SCORES, SAMPLE_GRID),
        "reference": (
            EXTRACTOR_FILES,
            EXTRACTOR_CLASSES,
            REAL_FEATURES,
            REFERENCE,
            TRAIN_FEATURES,
            BASE_DIGESTS,
            _SECOND,
        ),
    },
    libraries=("mlflow", "numpy", "torch"),
    modules=("pipeline.serving.pyfunc_model",),
    refresh=_refresh,
    retries=2,
)
