"""register: the generator becomes a version of the registered model, with an alias."""

import json
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path

from bngan.manifest import digest
from pipeline import registry
from pipeline.stage import Stage, StageContext, Summary


def run(context: StageContext) -> Summary:
    """Write ``registration.json``."""
    record = json.loads((context.inputs["evaluate"] / "scores.json").read_text())
    measure = {
        "protocol": record["protocol"],
        "extractor": record["extractor"]["sha256"],
        "real": context.input_digests["reference"],
    }
    tags = {
        "bngan.fingerprint": context.fingerprint,
        "bngan.measure": digest(measure),
        "bngan.protocol": record["protocol"]["name"],
        **{name: f"{value:.6g}" for name, value in record["scores"].items()},
        "floor_fid": f"{record['floor']['fid']:.6g}",
    }
    with tempfile.TemporaryDirectory(prefix="bngan-") as temporary:
        generator = Path(temporary) / "generator"
        generator.mkdir()
        for path in context.inputs["train"].glob("generator.*"):
            shutil.copy(path, generator)
        name = context.config.register.model
        registration = registry.register(context.workspace, context.run_id, name, generator, tags)
    note = f"version {registration.version}: {registration.alias} ({registration.reason})"
    summary = {**asdict(registration), "uri": registration.uri, "note": note}
    (context.output / "registration.json").write_text(json.dumps(summary, indent=2))
    return summary


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
        "reference": ("features_real.npy",),
    },
    libraries=("mlflow", "numpy", "torch"),
    modules=("pipeline.generator_model",),
    refresh=_refresh,
)
