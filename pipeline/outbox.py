"""What a run tells MLflow, on its way there: kept in order while the server is away, never lost."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from itertools import islice, takewhile
from pathlib import Path
from typing import Any, Self, TypeVar

from mlflow.entities import Metric, Run

from pipeline.errors import UserError
from pipeline.server import away, reason
from pipeline.tracking import Tracker, points

PATIENCE = 600.0
"""Seconds that a run waits for a server that is away, where it cannot go on without it."""
LAST_WORDS = 5.0
"""The same for one that is told to end."""
BATCH = 1000
"""Metrics that MLflow takes at once."""
_PAUSES = (0.5, 1.0, 2.0, 3.0)
"""Seconds before a write is tried again; the last ones over and over."""

_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class _Metrics:
    run_id: str
    points: Sequence[Metric]


_Write = Callable[[], object] | _Metrics


class Outbox:
    """Delivers writes in order, on a thread of its own: who sends never waits.

    What fails because the server is away stays first and is tried again. A write that was thought lost
    may arrive twice: MLflow keeps equal points once, and the rest replaces itself. What waits is held
    in memory: numbers, and a small picture for each score of a training.

    Attributes:
        log_metrics: writes a batch of metrics of a run.
        server: what a person knows it by.
        tell: how that person hears that it went away, and that it is back.
        given_up: whether somebody has waited for it in vain.
    """

    def __init__(
        self,
        log_metrics: Callable[[str, list[Metric]], object],
        server: str,
        tell: Callable[[str], None],
    ) -> None:
        self.log_metrics, self.server, self.tell = log_metrics, server, tell
        self._waiting, self._changed = deque[_Write](), threading.Condition()
        self._refusal: Exception | None = None
        self._away: str | None = None
        self.given_up = False
        self._closed = threading.Event()
        threading.Thread(target=self._deliver, name="outbox", daemon=True).start()

    def send(self, write: Callable[[], object]) -> None:
        """Have ``write`` called, again and again as long as the server is away.

        Raises:
            Exception: what the server had against an earlier write; that one is not tried again.
        """
        self._enqueue(write)

    def metrics(self, run_id: str, values: Sequence[Metric]) -> None:
        """The same for metrics, in batches where several wait."""
        self._enqueue(_Metrics(run_id, values))

    def ask(self, question: Callable[[], _Answer], patience: float) -> _Answer:
        """What ``question`` returns, after all that was sent before."""
        answer: Future[_Answer] = Future()

        def put() -> None:
            if answer.cancelled():
                return
            try:
                answer.set_result(question())
            except Exception as error:
                if away(error):
                    raise
                answer.set_exception(error)

        self.send(put)
        try:
            self.flush(patience)
            return answer.result(0)
        finally:
            answer.cancel()  # nobody waits for it any more

    def flush(self, patience: float) -> None:
        """Wait until all is delivered; once that was in vain, nobody waits again.

        Raises:
            UserError: if the server is still away after ``patience`` seconds.
            Exception: what the server had against a write.
        """
        with self._changed:
            patience = 0 if self.given_up else patience
            if not self._changed.wait_for(lambda: not self._waiting, patience):
                self.given_up, count = True, len(self._waiting)
                raise UserError(
                    f"MLflow at {self.server} is away ({self._away or 'too slow'}): "
                    f"{count} write{'s'[: count > 1]} undelivered"
                )
            self._raise_refusal()

    def close(self) -> None:
        """End the thread; what still waits is dropped."""
        self._closed.set()
        with self._changed:
            self._changed.notify_all()

    def _enqueue(self, write: _Write) -> None:
        with self._changed:
            self._raise_refusal()
            self._waiting.append(write)
            self._changed.notify_all()

    def _raise_refusal(self) -> None:
        refusal, self._refusal = self._refusal, None
        if refusal:
            raise refusal

    def _deliver(self) -> None:
        """The thread: the first of what waits, until it is delivered or refused, and so on."""
        failures = alone = 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed.is_set())
                if self._closed.is_set():
                    return
                count, write = self._first(1 if alone else BATCH)
            refusal = None
            try:
                write()
            except Exception as error:
                if away(error):
                    self._goes_away(error)
                    self._closed.wait(_PAUSES[min(failures, len(_PAUSES) - 1)])
                    failures += 1
                    continue
                if count > 1:  # the others in the batch are not to blame
                    alone = count
                    continue
                refusal = error
            failures, alone = 0, max(alone - 1, 0)
            self._is_back()
            self._done(count, refusal)

    def _first(self, limit: int) -> tuple[int, Callable[[], object]]:
        """How many of those that wait go next, and how."""
        first = self._waiting[0]
        if not isinstance(first, _Metrics):
            return 1, first
        alike = takewhile(
            lambda write: isinstance(write, _Metrics) and write.run_id == first.run_id,
            islice(self._waiting, limit),
        )
        batch, count = list(first.points), 1
        for write in islice(alike, 1, None):
            assert isinstance(write, _Metrics)
            if len(batch) + len(write.points) > BATCH:
                break
            batch, count = [*batch, *write.points], count + 1
        return count, partial(self.log_metrics, first.run_id, batch)

    def _done(self, count: int, refusal: Exception | None) -> None:
        with self._changed:
            for _ in range(count):
                self._waiting.popleft()
            self._refusal = self._refusal or refusal
            self._changed.notify_all()

    def _goes_away(self, error: Exception) -> None:
        if self._away is None:
            self._since = time.monotonic()
            self.tell(
                f"MLflow at {self.server} is away: what it is to be told is kept until it is back"
            )
        self._away = reason(error)

    def _is_back(self) -> None:
        if self._away is not None:
            self._away, took = None, time.monotonic() - self._since
            self.tell(f"MLflow at {self.server} is back after {took:.0f} s")


class PatientTracker(Tracker):
    """A tracker whose writes do not wait, and which waits for a server that goes away meanwhile.

    Inside ``with`` or until ``close``.
    """

    def __init__(self, workspace: Path, experiment: str, tell: Callable[[str], None]) -> None:
        super().__init__(workspace, experiment)
        self.tell = tell
        self.outbox = Outbox(self._log_metrics, self.uri, tell)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.outbox.close()

    def start(self, name: str, tags: Mapping[str, str], parent: str | None = None) -> str:
        """Open a run, nested under ``parent`` if given, and return its id."""
        return self.outbox.ask(partial(super().start, name, tags, parent), PATIENCE)

    def finish(self, run_id: str, status: str) -> None:
        """Close a run when all that it was told is delivered.

        Raises:
            UserError: if it has FINISHED and the server stays away. What else ended it matters more.
        """
        now, known = int(time.time() * 1000), self.outbox.given_up
        self.outbox.send(partial(self.client.set_terminated, run_id, status, now))
        try:
            self.outbox.flush(LAST_WORDS if status == "KILLED" else PATIENCE)
        except UserError as lost:
            if status == "FINISHED":
                raise
            if not known:
                self.tell(str(lost))

    def params(self, run_id: str, values: Mapping[str, Any]) -> None:
        """Record configuration values."""
        self.outbox.send(partial(super().params, run_id, values))

    def metrics(self, run_id: str, values: Mapping[str, float], step: int = 0) -> None:
        """Record numbers at ``step`` (images seen), as of now."""
        self.outbox.metrics(run_id, points(values, step))

    def dataset(self, run_id: str, source: str, digest: str, context: str) -> None:
        """Record what data a run has read."""
        self.outbox.send(partial(super().dataset, run_id, source, digest, context))

    def tags(self, run_id: str, values: Mapping[str, str]) -> None:
        """Set tags."""
        self.outbox.send(partial(super().tags, run_id, values))

    def artifact(self, run_id: str, name: str, content: bytes) -> None:
        """Keep a file with the run, under ``folder/file``."""
        self.outbox.send(partial(super().artifact, run_id, name, content))

    def finished(self, stage: str, fingerprint: str) -> Run | None:
        """The newest FINISHED run of a stage with this fingerprint, in any experiment."""
        return self.outbox.ask(partial(super().finished, stage, fingerprint), PATIENCE)

    def latest(self, stage: str) -> Run | None:
        """The newest FINISHED run of a stage in this experiment."""
        return self.outbox.ask(partial(super().latest, stage), PATIENCE)

    def _log_metrics(self, run_id: str, metrics: list[Metric]) -> None:
        self.client.log_batch(run_id, metrics=metrics)
