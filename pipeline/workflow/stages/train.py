"""train: train on Ray, score on the select split, and calibrate the best generator."""

import json
import math
from typing import Any

from bngan.batchnorm.calibration import calibrate
from bngan.data.dataset import ImageSplit
from bngan.generation.sampler import Sampler
from bngan.serialization.checkpoint import CheckpointError
from bngan.training.config import SHAPING
from bngan.training.supervised import SUPERVISION
from pipeline.cluster import launch as cluster
from pipeline.core.errors import RetryableError, UserError
from pipeline.core.lock import OWNER, exclusive_lock
from pipeline.storage.artifacts import (
    BASE_GENERATOR,
    DATASET,
    EXTRACTOR_FILES,
    HISTORY,
    SELECT_FEATURES,
)
from pipeline.storage.checkpoints import Checkpoints
from pipeline.training.factory import trainer_settings
from pipeline.training.preconditions import require_gradient, require_sound
from pipeline.workflow.fingerprint import code_of
from pipeline.workflow.resume import (
    ORIGIN,
    check_provenance,
    refuse_rewind,
    stop_reason,
    training_id,
)
from pipeline.workflow.stage import Stage, StageContext, Summary
from pipeline.workflow.stages.training_worker import train


def run(context: StageContext) -> Summary:
    """Write the calibrated generator of the best score, and ``history.json``."""
    config = context.config
    require_sound(config, context.inputs["prepare"])
    require_gradient(config, context.inputs["reference"])
    name = training_id(config, context.input_digests)
    try:
        state, note, records = _train(context, name)
    except CheckpointError as error:
        raise UserError(str(error)) from error
    best, history = state["best"], state["progress"]["history"]
    begun = records[0]["images"] if records else math.inf
    earlier = [record for record in history if record["images"] < begun]
    for record in earlier:  # this run's curves show the whole course, not its last part
        _log(context, record)
    context.events.metrics({"resumed_from": earlier[-1]["images"] if earlier else 0}, 0)
    spec = ImageSplit.load(context.inputs["prepare"], "train").spec
    sampler = Sampler(config.model, spec, best["ema"])
    if not config.keeps_statistics:
        calibrate(sampler.generator, sampler.calibration_batches)
    sampler.save(context.output, images_seen=best["images"])
    (context.output / HISTORY).write_text(json.dumps(history), encoding="utf-8")
    seen = state["trainer"]["images_seen"]
    note = f"{note}; best after {best['images']:,} of {seen:,} images"
    return {"training": name, "note": note}


def _train(context: StageContext, name: str) -> tuple[dict[str, Any], str, list[cluster.Record]]:
    """Train if need be; return the last checkpoint's state, a note, and the new records."""
    config, listener = context.config, _Listener(context)
    context.events.tags({"training": name})
    store = Checkpoints(context.storage, f"training/{name}")
    with exclusive_lock(store.folder, f"training {name}") as attempt:
        context.storage.upload(f"{store.name}/{OWNER}")
        state = store.latest()
        for line in store.set_aside:
            context.events.message(line)
        made_by = check_provenance(context, store, code_of(STAGE), begun=state is not None)
        seen = state["trainer"]["images_seen"] if state else 0
        refuse_rewind(store.where, state, config)
        if state and (why := stop_reason(config, state)):
            return state, f"finished already, {why}", []
        if state:
            context.events.message(f"continues from {seen:,} of {config.train.images:,} images")
        context.events.progress(0, config.train.images, "starting Ray and its workers")
        context.storage.write(f"{store.name}/{ORIGIN}", json.dumps(made_by).encode())
        device = _fit(context, store, attempt, listener)
        state = store.latest()
    if state is None or not (why := stop_reason(config, state)):
        raise RetryableError(
            f"the last checkpoint in {store.where} cannot be used; the same command goes on"
        )
    if state["trainer"]["images_seen"] < config.train.images:
        context.events.message(f"stops: {why}")
    note = f"{device}, resumed from {seen:,}" if seen else device
    return state, note, listener.records


class _Listener:
    """Passes on the workers' records, and keeps them: means and scores, each point once.

    ``gave_up`` is the reason if training gave up, else None.
    """

    def __init__(self, context: StageContext) -> None:
        self.context, self.records = context, list[cluster.Record]()
        self.gave_up: str | None = None

    def __call__(self, record: cluster.Record) -> None:
        events, records = self.context.events, self.records
        if "gave_up" in record:
            self.gave_up = record["gave_up"]
        elif "message" in record:
            events.message(record["message"])
            back_to = record.get("images", math.inf)
            records[:] = [earlier for earlier in records if earlier["images"] <= back_to]
        elif not records or record["images"] > records[-1]["images"]:
            # Else a worker failed, and its successors repeat the same points.
            pictures = record.pop("pictures", {})
            records.append(record)
            _log(self.context, record)
            total = self.context.config.train.images
            events.progress(int(record["images"]), total, _note(records))
            for name, png in pictures.items():
                events.artifact(name, png)


def _fit(context: StageContext, store: Checkpoints, attempt: str, listener: _Listener) -> str:
    """Train on Ray up to ``train.images``; return the workers' number and kind in words."""
    config, storage = context.config, context.storage
    folders = [storage.key(context.inputs[name]) for name in ("prepare", "reference")]
    settings = {
        **trainer_settings(config, *folders),
        "workspace": storage.workspace,
        "experiment": config.name,
        "training": store.name,
        "attempt": attempt,
    }
    ray_files = store.folder / "ray"
    try:
        device = cluster.run_training_workers(
            train,
            settings,
            name=attempt,
            storage=storage.for_ray(ray_files),
            num_workers=config.train.workers,
            accelerator=config.train.accelerator,
            max_failures=config.train.max_failures,
            on_record=listener,
        )
    finally:
        storage.remove(f"{store.name}/{ray_files.name}")
    if listener.gave_up:
        raise UserError(f"training gave up: {listener.gave_up}")
    return device


def _log(context: StageContext, record: cluster.Record) -> None:
    values = {key: value for key, value in record.items() if key != "images"}
    context.events.metrics(values, int(record["images"]))


def _note(records: list[cluster.Record]) -> str:
    record, scores = records[-1], [r["fid_select"] for r in records if "fid_select" in r]
    latest = f" | FID {scores[-1]:.3g}" if scores else ""
    losses = f"D {record['loss_d']:.3f} " if "loss_d" in record else ""
    losses += f"G {record.get('loss_g', math.nan):.3f}"
    return f"{record['images_per_second']:,.0f} images/s | loss {losses}{latest}"


STAGE = Stage(
    "train",
    run,
    config=(
        *("seed", "model", "data.flip", "train.images", "train.score_every", "train.patience"),
        *("adapt.method", *(f"adapt.{name}" for name in SUPERVISION)),
        *(f"train.{name}" for name in SHAPING),
    ),
    inputs={
        "prepare": ("train_*.npy", DATASET),
        "reference": (EXTRACTOR_FILES, SELECT_FEATURES, f"{BASE_GENERATOR}/*"),
    },
    uses=lambda summary: {"training": summary["training"]},
)
