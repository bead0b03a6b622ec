"""One scheduled evaluation: has the champion's score changed, have the real images?"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
from mlflow.entities import Run

from bngan.data.decoding import convert, decode
from bngan.data.hub import pinned
from bngan.data.source import ReadOptions
from bngan.data.split_names import SourceSplit
from bngan.metrics.drift import drift
from bngan.metrics.evaluation import Reference, evaluation
from bngan.metrics.features import Features
from bngan.metrics.fid import frechet_distance
from bngan.metrics.jackknife import GROUPS
from bngan.metrics.protocol import EVALUATION_SEEDS
from bngan.numerics.rng import Stream, generator
from pipeline.cluster.launch import local_device
from pipeline.core.errors import RetryableError, UserError
from pipeline.core.lock import exclusive_lock, make_private_dir
from pipeline.data.raw import opened
from pipeline.evaluation.scoring import (
    ProgressCallback,
    downloaded_for_scoring,
    generated_features_of,
    load_reference,
)
from pipeline.monitoring import alerts as alarm
from pipeline.monitoring.schedule import Schedule
from pipeline.registry import registry
from pipeline.registry.changes import CHAMPION, aliases
from pipeline.registry.logged_model import link_metrics
from pipeline.reports.drift_report import explain, render
from pipeline.storage.artifacts import REPORT
from pipeline.storage.workspace import Workspace
from pipeline.tracking.runs import died, invocation, process_of
from pipeline.tracking.tracker import Tracker, dataset_name, existing_client

KIND = "evaluation"
"""Of runs that evaluate on schedule, as their tag ``bngan.kind``."""
_TAG = "bngan.drift"
"""Of versions, ``_TAG.SCHEDULE``: the newest partition's verdict, and which that is."""
_SAME = 0.01
"""Share of a score by which the rounding of other hardware or another library may change it."""
_MAX_SKIPPED = 0.01
_LOCK_TIMEOUT_S = 2 * 3600.0
"""Seconds that an evaluation waits for another one of the same schedule: less than infra/ allows it."""


@dataclass(frozen=True)
class Outcome:
    """What an evaluation has come to: ``drift`` is ok or alarm; ``new`` is whether it was done now."""

    run_id: str
    drift: str
    reason: str
    new: bool


def evaluate(schedule: Schedule, partition: str, tell: ProgressCallback) -> Outcome:
    """Evaluate the champion for a partition, unless that has been done.

    Raises:
        UserError: if there is no champion, images cannot be compared, or nobody could be told of an
            alarm. The next time the partition is done again.
    """
    workspace = Workspace(schedule.workspace).local
    # That it writes is known before it locks: a copied workspace is settled while nobody has a lock.
    client, name = existing_client(workspace, writes=True), f"schedule-{schedule.name}"
    with exclusive_lock(
        make_private_dir(workspace) / "locks" / name, f"schedule {schedule.name}", _LOCK_TIMEOUT_S
    ):
        number = aliases(client, schedule.model).get(CHAMPION)
        if number is None:
            raise UserError(f"model: {schedule.model} has no champion")
        tracker = Tracker(workspace, schedule.name)
        if done := _settle(tracker, schedule, partition):
            return done
        about = {
            "schedule": schedule.name,
            "partition": partition,
            "model": schedule.model,
            "model_version": number,
        }
        tags = {"bngan.kind": KIND, **about}
        with invocation(tracker, f"{schedule.name} {partition}", tags) as run_id:
            try:
                _come_first(tracker, schedule, partition, run_id)
                record = about | {"run_id": run_id} | _measure(schedule, partition, number, tell)
                _keep(tracker, schedule, record)
            except UserError as error:
                tracker.tags(run_id, {"reason": str(error)})
                raise
        return Outcome(run_id, record["drift"], record["reason"], True)


def _settle(tracker: Tracker, schedule: Schedule, partition: str) -> Outcome | None:
    """Return the finished evaluation, if any, and close killed ones.

    Raise ``RetryableError`` if a process runs it: another machine may have a lock of its own.
    """
    evaluations = _evaluations(tracker, schedule, partition)
    for run in evaluations:
        if run.info.status == "FINISHED":
            tags = run.data.tags
            verdict, why = (tags.get(key, "unknown") for key in ("drift", "reason"))
            return Outcome(run.info.run_id, verdict, why, False)
    for run in evaluations:
        if died(run):
            tracker.finish(run.info.run_id, "KILLED")
        elif run.info.status == "RUNNING":
            raise _at_it(partition, run)
    return None


def _come_first(tracker: Tracker, schedule: Schedule, partition: str, run_id: str) -> None:
    """Raise ``RetryableError`` if another process began first: of two, one at least sees the other."""
    evaluations = _evaluations(tracker, schedule, partition)
    running = [run for run in evaluations if run.info.status == "RUNNING" and not died(run)]
    first = min(running, key=lambda run: (run.info.start_time, run.info.run_id))
    if first.info.run_id != run_id:
        raise _at_it(partition, first)


def _evaluations(tracker: Tracker, schedule: Schedule, partition: str) -> list[Run]:
    condition = (
        f"tags.`bngan.kind` = '{KIND}' and tags.schedule = '{schedule.name}' "
        f"and tags.partition = '{partition}' and tags.model = '{schedule.model}'"
    )
    return list(tracker.client.search_runs([tracker.experiment_id], condition))


def _at_it(partition: str, run: Run) -> RetryableError:
    by = f"{process_of(run)}, run {run.info.run_id}"
    return RetryableError(f"{partition} is being evaluated by {by}")


def _measure(
    schedule: Schedule, partition: str, number: str, tell: ProgressCallback
) -> dict[str, Any]:
    """Score the champion by its own reference, compare old images with new ones, and decide."""
    storage, path = Workspace(schedule.workspace), schedule.images_of(partition)
    with downloaded_for_scoring(storage, f"models:/{schedule.model}/{number}") as model:
        reference = load_reference(model.reference)
        # First what can be missing: generating takes longer.
        images = None if path is None else _new_images(schedule, path, reference)
        fakes = {
            seed: generated_features_of(storage, model, reference, seed, tell)
            for seed in EVALUATION_SEEDS
        }
    tell(0, 1, "scores and their intervals")
    scored = evaluation(reference, fakes)
    tags = registry.tags_of(storage.local, schedule.model, number)
    score, recorded = scored["scores"]["fid"], registry.recorded_number(tags, "fid")
    record = {
        "score": {
            "fid": score,
            "interval": scored["intervals"]["fid"],
            "recorded": recorded,
            "changed": recorded is None or abs(score - recorded) > _SAME * recorded,
        },
        "data": None if images is None else _compared(schedule, reference, *images, fakes),
        **{key: scored[key] for key in ("scores", "intervals", "protocol", "extractor")},
    }
    drifted = record["data"] is not None and record["data"]["drifted"]
    verdict = "alarm" if drifted or record["score"]["changed"] else "ok"
    return record | {"drift": verdict, "reason": explain(record)}


def _new_images(
    schedule: Schedule, path: str, reference: Reference
) -> tuple[dict[str, Any], np.ndarray]:
    """Return the source and number of new real images, and the images ``(N, H, W, C)``.

    They are as many as the old ones, drawn at random, in the shape of the model's images.
    """
    channels, height, width = reference.extractor.info.image_shape
    kept, skipped = list[np.ndarray](), list[str]()
    data = schedule.data
    splits = cast(dict[str, SourceSplit] | None, data.splits)
    options = ReadOptions(data.image_column, None, splits, data.class_level)
    with opened(path, data.max_download_gb, options) as sources:
        split: SourceSplit = "test" if reference.protocol.split == "test" else "train"
        source = sources.get(split, sources["train"])
        order = generator(0, Stream.SPLIT, 0).permutation(len(source))
        for name, content in source.files(order):
            if len(kept) == reference.protocol.count:
                break
            try:
                image = decode(content, schedule.data.white)
                kept.append(convert(image, channels, (height, width), schedule.data.fit))
            except ValueError as error:
                skipped.append(f"{name}: {error}")
    if len(skipped) > _MAX_SKIPPED * (len(kept) + len(skipped)):
        raise UserError(f"data.path: {len(skipped)} images cannot be used; the first: {skipped[0]}")
    if len(kept) < GROUPS:
        raise UserError(f"data.path: {path} has {len(kept)} images, and {GROUPS} are needed")
    pixels = np.stack(kept)
    about = {"path": pinned(path, source.commit), "count": len(kept), "skipped": len(skipped)}
    return about | {"sha256": hashlib.sha256(pixels.tobytes()).hexdigest()}, pixels


def _compared(
    schedule: Schedule,
    reference: Reference,
    about: dict[str, Any],
    images: np.ndarray,
    fakes: Mapping[int, Features],
) -> dict[str, Any]:
    """Compare old real images with as many new ones, and the generator with both."""
    new, chosen = reference.extractor.to(local_device("auto"))(images), slice(len(images))
    old, fake = reference.real.take(chosen), fakes[EVALUATION_SEEDS[0]].take(chosen)
    drifted = drift(old.features, new.features)
    return {
        **about,
        "distance": drifted.distance,
        "interval": [drifted.low, drifted.high],
        "expected": drifted.expected,
        "variance": drifted.variance,
        "p_value": drifted.p_value,
        "drifted": drifted.beyond(schedule.drift.level, schedule.drift.tolerance),
        "fid_old": frechet_distance(fake.features, old.features),
        "fid_new": frechet_distance(fake.features, new.features),
        "classes": [_shares(side) for side in (old, new)],
        "chance": drifted.chance.tolist(),
        **asdict(schedule.drift),
    }


def _shares(features: Features) -> list[float]:
    """Return the share of images that the extractor takes for each class; empty without classes."""
    classes = features.logits.shape[1]
    if not classes:
        return []
    counts = np.bincount(features.logits.argmax(axis=1), minlength=classes)
    return [float(share) for share in counts / counts.sum()]


def _keep(tracker: Tracker, schedule: Schedule, record: Mapping[str, Any]) -> None:
    """Record metrics, tags and report in MLflow, tag the version, and send an alarm if it is due."""
    run_id, number, data = record["run_id"], record["model_version"], record["data"]
    version = registry.tags_of(Workspace(schedule.workspace).local, schedule.model, number)
    model, digest = version.get("bngan.model_id"), version.get("bngan.data", "unknown")
    tracker.dataset(run_id, f"models:/{schedule.model}/{number}/reference", digest, "reference")
    link_metrics(tracker.client, run_id, model, record["scores"], ("reference", digest))
    if data is not None:
        tracker.dataset(run_id, data["path"], data["sha256"], "drift")
        values = {f"drift_{k}": data[k] for k in ("distance", "expected", "p_value", "fid_new")}
        new = (dataset_name(data["path"]), data["sha256"])
        link_metrics(tracker.client, run_id, model, values, new)
    tracker.artifact(run_id, "drift.json", json.dumps(record, indent=2).encode())
    tracker.artifact(run_id, REPORT, render(record).encode())
    tracker.tags(run_id, {"drift": record["drift"], "reason": record["reason"]})
    tag = f"{_TAG}.{schedule.name}"
    if version.get(tag, "").rpartition(" ")[2] <= record["partition"]:  # not a backfill
        verdict = f"{record['drift']} {record['partition']}"
        tracker.client.set_model_version_tag(schedule.model, number, tag, verdict)
    if record["drift"] == "alarm":
        brief = data and {k: v for k, v in data.items() if k != "chance"}
        receivers = alarm.tell(schedule.alarm, {**record, "data": brief})
        tracker.tags(run_id, {"told": ", ".join(receivers) or "nobody"})
