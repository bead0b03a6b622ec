"""register: the generator becomes a version of the registered model, with an alias."""

import json
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path

from pipeline import registry
from pipeline.manifest import digest
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
    }
    with tempfile.TemporaryDirectory(prefix="bngan-") as temporary:
        generator = Path(temporary) / "generator"
        generator.mkdir()
        for path in context.inputs["train"].glob("generator.*"):
            shutil.copy(path, generator)
        name = context.config.register.model
        registration = registry.register(context.workspace, context.run_id, name, generator, tags)
    summary = {**asdict(registration), "uri": registration.uri}
    (context.output / "registration.json").write_text(json.dumps(summary, indent=2))
    return summary


def _problem(context_workspace: Path, summary: Summary) -> str | None:
    """Why an earlier registration does not count any more."""
    name, number = summary["name"], summary["version"]
    if registry.exists(context_workspace, name, number):
        return None
    return f"{name} version {number} is no longer registered"


STAGE = Stage(
    "register",
    run,
    config=("register",),
    inputs={
        "train": ("generator.*",),
        "evaluate": ("scores.json",),
        "reference": ("features_real.npy",),
    },
    gone=_problem,
)
