"""The loop of a training worker: train, score, keep the best, save, resume and roll back."""

import copy
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from bngan.batchnorm.calibration import calibrate
from bngan.data.images import png_bytes
from bngan.diagnostics.batchnorm_telemetry import batchnorm_metrics
from bngan.diagnostics.collapse import collapse_signs, early_stopping_point, is_healthy
from bngan.distributed.checksums import CorruptionError
from bngan.distributed.collectives import (
    broadcast_flag,
    broadcast_from_rank0,
    gather_shards,
    rank,
    shard_slice,
)
from bngan.distributed.replicas import assert_replicas_equal
from bngan.generation.sampler import Sampler
from bngan.metrics.extractors import load_extractor
from bngan.metrics.features import Features
from bngan.metrics.scores import point_scores
from bngan.networks.old_keys import with_current_keys
from bngan.serialization.checkpoint import CheckpointError, not_finite
from bngan.training.base import AveragedMetrics, NonFiniteError
from pipeline.cluster.launch import Record
from pipeline.storage.artifacts import SELECT_FEATURES
from pipeline.storage.checkpoints import Checkpoints
from pipeline.training.factory import build_trainer
from pipeline.training.micro_batch import with_micro_batch

SELECTION_SEED = 1_000
"""Seed of the latents for scores during training; the final score uses other seeds."""
SELECTION_CALIBRATION = 2_000
_CHECK_EVERY_S = 5.0
"""Most seconds of training between two checks of the clock and of the cluster's warnings."""
_FIRST_STEPS = 10
_SAVING_SHARE = 0.01
"""Largest share of the time that may go into checkpoints."""


class TrainingAborted(Exception):
    """Training cannot continue, even if tried again; every worker raises it."""


class CollapseDetected(Exception):
    """The records show a collapse, and the configuration does not tolerate it."""


class TrainingLoop:
    """A training from its last checkpoint to its last image; all workers decide alike.

    Args:
        settings: ``trainer_settings``, and ``attempt``: the id of the owner of ``store``.
        device: device of the networks.
        store: the training's checkpoints.
        tell: called on worker 0 with each record: means since the last one, scores, pictures.
        preempted: returns whether this machine will soon stop; all workers call it together.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        device: torch.device | str,
        store: Checkpoints,
        tell: Callable[[Record], None],
        preempted: Callable[[], bool] = lambda: False,
    ) -> None:
        self.tell = tell if rank() == 0 else lambda record: None
        settings = with_micro_batch(settings, device, store, self.tell)
        self.settings, self.config, self.device = settings, settings["train"], device
        self.preempted = preempted
        self.trainer, self.data = build_trainer(settings, device)
        self.store = store
        reference = Path(settings["reference"])
        self.extractor = load_extractor(reference).to(device)
        self.real = Features.load(reference / SELECT_FEATURES)
        self.best: dict[str, Any] = {"fid": math.inf}
        self.history: list[dict[str, float]] = []
        self.window: dict[str, list[float]] = {}
        self.alarmed = set[str]()
        self.breath = _FIRST_STEPS * self.trainer.config.batch_size
        self.saved_at, self.saving_took, self.leaving = time.monotonic(), 0.0, False

    def run(self) -> None:
        """Continue from the last usable checkpoint until ``images`` have been seen.

        Training ends earlier if ``patience`` scores in a row bring no better one.

        Raises:
            CorruptionError: on all workers, if bits changed; the last checkpoint is sound.
        """
        if state := self._latest():
            self._load(state, self.trainer.load_state_dict)
        try:
            while self.trainer.images_seen < self.config["images"] and not self._out_of_patience():
                try:
                    self._advance()
                except (NonFiniteError, CollapseDetected) as error:
                    self._compare_replicas()  # altered bits may be the reason
                    self._roll_back(error)
        except CorruptionError as error:
            problem = f"step {self.trainer.steps_done:,}: {error}"
            back_to = max(self.store.saved(), default=0)
            self.tell({"images": back_to, "message": f"{problem}: back to {back_to:,} images"})
            raise CorruptionError(problem) from error

    def _out_of_patience(self) -> bool:
        patience = self.config["patience"]
        return broadcast_flag(early_stopping_point(self.history, patience) is not None)

    def _advance(self) -> None:
        """Train to the next stop; record, score and save there if that is due."""
        started, before = time.monotonic(), self.trainer.images_seen
        means = self.trainer.fit(self.data, self._next_stop())
        images = self.trainer.images_seen - before
        self._collect(means, images, time.monotonic() - started)
        over = self.trainer.images_seen >= self.config["images"]
        due = over or self.trainer.passed(self.config["score_every"])
        if due or self.trainer.passed(self._log_every):
            self._record(due)
            self._watch()
        if self._time_to_save(images / (time.monotonic() - started)) or due:
            self._save(healthy=due and is_healthy(self.history))

    @property
    def _log_every(self) -> int:
        return max(int(self.config["score_every"]) // 10, 1)

    def _next_stop(self) -> int:
        """Return the next point, in images, at which the loop must check or do something."""
        seen = self.trainer.images_seen
        multiples = ((seen // n + 1) * n for n in (self._log_every, self.config["score_every"]))
        return int(min(*multiples, seen + self.breath, self.config["images"]))

    def _collect(self, means: AveragedMetrics, images: int, seconds: float) -> None:
        """Add new means to the window of the next record, as sums with their weights."""
        sums = {name: (mean * means.steps[name], means.steps[name]) for name, mean in means.items()}
        for name, (value, weight) in {**sums, "seconds": (seconds, images)}.items():
            total, weights = self.window.get(name, (0.0, 0.0))
            self.window[name] = [total + value, weights + weight]

    def _record(self, due: bool) -> None:
        """Close the window with a record, and score if that is due."""
        seconds, images = self.window.pop("seconds")
        spent = self.history[-1]["seconds"] if self.history else 0.0
        record = {name: total / weight for name, (total, weight) in self.window.items()}
        record |= {"images": self.trainer.images_seen, "images_per_second": images / seconds}
        record |= {"seconds": spent + seconds, "rollbacks": self.trainer.rollbacks}
        if "logit_real" in record:
            record["logit_gap"] = record["logit_real"] - record["logit_fake"]
        self.window = {}
        started, pictures = time.monotonic(), dict[str, bytes]()
        if due:
            real = [torch.from_numpy(part) for part in self.real]
            self._compare_replicas({"network": self.extractor.network.state_dict(), "real": real})
            pictures = self._score(record)
            record["score_seconds"] = time.monotonic() - started
        self.history.append(record)
        record["alarms"] = len(collapse_signs(self.history))
        self.tell({**record, "pictures": pictures})

    def _watch(self) -> None:
        """Report new signs of collapse, and raise ``CollapseDetected`` if the policy demands it."""
        signs = collapse_signs(self.history)
        news = "; ".join(text for kind, text in signs.items() if kind not in self.alarmed)
        self.alarmed = set(signs)
        if not broadcast_flag(bool(news)):
            return
        policy, spent = self.config["on_collapse"], ""
        if policy == "rollback" and self.trainer.rollbacks >= self.config["max_rollbacks"]:
            spent = f"; no rollback of {self.config['max_rollbacks']} is left, training goes on"
        elif policy != "warn":
            raise CollapseDetected(news)
        seen = self.trainer.images_seen
        self.tell({"message": f"at {seen:,} images this looks like a collapse: {news}{spent}"})

    def _time_to_save(self, rate: float) -> bool:
        """Return whether to save now: by worker 0's clock, or because the machine will stop."""
        pause = max(self.config["checkpoint_every_seconds"], self.saving_took / _SAVING_SHARE)
        left = pause - (time.monotonic() - self.saved_at)
        until = min(left, _CHECK_EVERY_S) if left > 0 else _CHECK_EVERY_S
        late, breath = broadcast_from_rank0(left <= 0, rate * until)
        self.breath = max(int(breath), 1)
        leaving_before, self.leaving = self.leaving, self.preempted()
        return bool(late) or (self.leaving and not leaving_before)

    def _score(self, record: dict[str, float]) -> dict[str, bytes]:
        """Add the scores at this point to ``record`` and return a sample grid; a collective."""
        weights = copy.deepcopy(self.trainer.ema.module).cpu().state_dict()
        sampler = Sampler(self.trainer.model, self.trainer.images, weights).to(self.device)
        if not self.trainer.keeps_statistics:
            calibrate(sampler.generator, lambda: sampler.calibration_batches(SELECTION_CALIBRATION))
        scores = point_scores(self._features(sampler), self.real)
        wanted = ("fid", "inception_score", "classes_hit")
        record |= {f"{name}_select": scores[name] for name in wanted if name in scores}
        # Other processors may round the scores differently.
        if broadcast_flag("ema" not in self.best or scores["fid"] <= self.best["fid"]):
            seen = self.trainer.images_seen
            self.best = {"fid": scores["fid"], "images": seen, "ema": weights}
        if rank() != 0:
            return {}
        record |= batchnorm_metrics(self.trainer, sampler)
        grid = png_bytes(sampler.images(SELECTION_SEED, range(64)))
        return {f"samples/{self.trainer.images_seen:09d}.png": grid}

    def _features(self, sampler: Sampler) -> Features:
        """Return features of as many generated images as real ones; each worker makes its part."""
        count = len(self.real.features)
        own = range(count)[shard_slice(count)]
        parts = self.extractor(sampler.images(SELECTION_SEED, own))
        # NCCL works on GPUs only.
        whole = (gather_shards(torch.from_numpy(part).to(self.device), count) for part in parts)
        return Features(*(part.cpu().numpy() for part in whole))

    def _save(self, healthy: bool) -> None:
        """Write a checkpoint of everything; a collective. ``healthy``: it shows no collapse."""
        started = time.monotonic()
        self._compare_replicas()
        trainer = self.trainer.state_dict()
        if problem := not_finite(trainer):
            raise NonFiniteError(problem)
        self._check_owner()
        if rank() == 0:
            progress = {"history": self.history, "window": self.window}
            state = {"trainer": trainer, "best": self.best, "progress": progress}
            self.store.save(self.trainer.images_seen, state, healthy)
        self.saved_at = time.monotonic()
        self.saving_took = self.saved_at - started

    def _compare_replicas(self, scoring: Mapping[str, Any] | None = None) -> None:
        """Check that all workers hold the same bits in what they share; a collective.

        Scores may be rounded differently and do not count; ``scoring`` is what they depend on.
        """
        best = {name: value for name, value in self.best.items() if name != "fid"}
        assert_replicas_equal({**self.trainer.state_dict(), "best": best, "scoring": scoring})

    def _check_owner(self) -> None:
        mine = rank() != 0 or self.store.owner() == self.settings["attempt"]
        if not broadcast_flag(mine):
            raise TrainingAborted(f"another run has taken over {self.store.where}")

    def _load(self, state: Mapping[str, Any], into: Callable[[Mapping[str, Any]], None]) -> None:
        into(state["trainer"])
        self.best = dict(state["best"])
        if weights := self.best.get("ema"):
            module, model = self.trainer.ema.module, self.trainer.model
            self.best["ema"] = with_current_keys(weights, module, model)
        self.history, self.window = state["progress"]["history"], state["progress"]["window"]
        # Do not repeat old warnings; stop and rollback must see old signs again.
        warn = self.config["on_collapse"] == "warn"
        self.alarmed = set(collapse_signs(self.history)) if warn else set()

    def _latest(self, healthy: bool = False) -> dict[str, Any] | None:
        """Return the newest usable checkpoint: worker 0 finds and verifies it, all load it."""
        self._check_owner()
        state, problem = None, ""
        if rank() == 0:
            try:
                state = self.store.latest(healthy)
            except CheckpointError as error:
                problem = str(error)
            for line in self.store.set_aside:
                self.tell({"message": line})
            self.store.set_aside.clear()
        seen, failed = broadcast_from_rank0(
            state["trainer"]["images_seen"] if state else -1, bool(problem)
        )
        if failed:
            raise TrainingAborted(problem or "no usable checkpoint")
        if seen < 0 or rank() == 0:
            return state
        return self.store.load(int(seen))

    def _roll_back(self, error: NonFiniteError | CollapseDetected) -> None:
        """Return to the last good checkpoint, or to the start, or raise ``TrainingAborted``."""
        seen, done = self.trainer.images_seen, self.trainer.rollbacks
        collapsed = isinstance(error, CollapseDetected)
        policy = self.config["on_collapse" if collapsed else "on_nonfinite"]
        if policy == "stop" or done >= self.config["max_rollbacks"]:
            tried = f" after {done} rollbacks" if done else ""
            mend = "; train.on_collapse=warn would go on" if collapsed else ""
            raise TrainingAborted(f"{error} at {seen:,} images{tried}{mend}") from error
        state = self._latest(healthy=collapsed)
        if rank() == 0:
            self.store.discard_after(state["trainer"]["images_seen"] if state else 0)
        if state is None:
            fresh, _ = build_trainer(self.settings, self.device)
            progress: dict[str, Any] = {"history": [], "window": {}}
            state = {"trainer": fresh.state_dict(), "best": {"fid": math.inf}, "progress": progress}
        self._load(state, self.trainer.roll_back)
        note = f"{error} at {seen:,} images: back to {self.trainer.images_seen:,}"
        self.tell({"images": self.trainer.images_seen, "message": note})
