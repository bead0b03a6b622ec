"""register: make the generator a version, and champion if it is better than the present one."""

import json
import re
import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from bngan.data.class_names import list_classes
from bngan.metrics.pretrained import file_hash
from bngan.serialization.manifest import digest
from pipeline.evaluation.contenders import (
    DATA,
    GAP,
    GAP_ERROR,
    MEASURE,
    TRAINED_ON,
)
from pipeline.registry import registry
from pipeline.registry.aliases import EXTRACTOR, FINGERPRINT, GENERATOR, assign_alias
from pipeline.registry.changes import MISSING, suppressed
from pipeline.registry.logged_model import ModelPackage
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
from pipeline.tracking.tracker import dataset_name
from pipeline.workflow.stage import Stage, StageContext, Summary
from pipeline.workflow.stages.data_digests import data_digests
from pipeline.workflow.stages.gate import judge_candidate

_SECOND = f"{SECOND_SPACE}/*"


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
        workspace, tell = context.storage.local, context.events.message
        number = registry.register(workspace, context.run_id, name, package, tell)
    compare = partial(judge_candidate, context, tags, number)
    alias, verdict = assign_alias(workspace, name, number, compare, tell)
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
        FINGERPRINT: context.fingerprint,
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
    if used := _trained_on(context, record["extractor"]["kind"]):
        tags[TRAINED_ON] = used
    if norm := record["batch_norm"]:
        tags |= {GAP: f"{norm['gap']:.6g}", GAP_ERROR: f"{norm['gap_se']:.6g}"}
    return tags


def _trained_on(context: StageContext, kind: str) -> str | None:
    """Return the kind of features that the training, or that of its base, has used; None if none."""
    adapt = context.config.adapt
    if adapt.base and adapt.method == "supervised" and adapt.feature_weight:
        return kind
    if not adapt.base or not (address := re.fullmatch(r"models:/([^/@]+)/(\d+)", adapt.base)):
        return None
    with suppressed(MISSING):
        return registry.tags_of(context.storage.local, *address.groups()).get(TRAINED_ON)
    return None


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
