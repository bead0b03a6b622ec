"""register: the generator becomes a version of the registered model, with an alias."""

import json
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from bngan.manifest import digest
from bngan.metrics.pretrained import file_hash
from pipeline import registry
from pipeline.stage import Stage, StageContext, Summary


def run(context: StageContext) -> Summary:
    """Write ``registration.json``."""
    record = json.loads((context.inputs["evaluate"] / "scores.json").read_text())
    measure = {
        "protocol": record["protocol"],
        "extractor": record["extractor"]["sha256"],
        "real": file_hash(context.inputs["reference"] / "real.npz"),
    }
    tags = {
        "bngan.fingerprint": context.fingerprint,
        "bngan.measure": digest(measure),
        "bngan.protocol": record["protocol"]["name"],
        **{name: f"{value:.6g}" for name, value in record["scores"].items()},
        "floor_fid": f"{record['floor']['fid']:.6g}",
    }
    with tempfile.TemporaryDirectory(prefix="bngan-") as temporary:
        parts = {
            name: _copied(context.inputs[stage], Path(temporary) / name, patterns)
            for name, stage, patterns in (
                ("generator", "train", STAGE.inputs["train"]),
                ("reference", "reference", STAGE.inputs["reference"]),
            )
        }
        name = context.config.register.model
        registration = registry.register(context.workspace, context.run_id, name, parts, tags)
    note = f"version {registration.version}: {registration.alias} ({registration.reason})"
    summary = {**asdict(registration), "uri": registration.uri, "note": note}
    (context.output / "registration.json").write_text(json.dumps(summary, indent=2))
    return summary


def _copied(source: Path, target: Path, patterns: Iterable[str]) -> Path:
    target.mkdir()
    for pattern in patterns:
        for path in source.glob(pattern):
            shutil.copy(path, target)
    return target


def _refresh(workspace: Path, summary: Summary) -> Summary:
    """Aliases move on: the one that the version has now."""
    alias = registry.current_alias(workspace, summary["name"], summary["version"])
    return {**summary, "alias": alias}


STAGE = Stage(
    "register",
    run,
    config=("register",),
    inputs={
        "train": ("generator.*",),
        "evaluate": ("scores.json",),
        "reference": ("extractor.*", "real.npz", "reference.json"),
    },
    libraries=("mlflow", "numpy", "torch"),
    modules=("pipeline.generator_model",),
    refresh=_refresh,
)
