"""What a run tells MLflow, on its way there: kept in order while the server is away, never lost."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice, takewhile
from math import inf
from typing import TypeVar

from mlflow.entities import Metric

from pipeline.core.errors import ServerUnavailableError
from pipeline.core.uris import redact_uri
from pipeline.tracking.server import away, reason

BATCH = 1000
"""Metrics that MLflow takes at once."""
HELD = 256 * 2**20
"""Bytes of files that wait in memory; beyond, the oldest are dropped."""
_PAUSES = (0.5, 1.0, 2.0, 3.0)
"""Seconds before a write is tried again; the last ones over and over."""
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class _Metrics:
    run_id: str
    points: Sequence[Metric]


@dataclass(frozen=True, eq=False)
class _File:
    write: Callable[[], object]
    size: int

    def __call__(self) -> None:
        self.write()


_Write = Callable[[], object] | _Metrics


class Outbox:
    """Delivers writes in order, on a thread of its own: who sends never waits.

    What fails because the server is away stays first and is tried again. A write that was thought lost
    may arrive twice: MLflow keeps equal points once, and the rest replaces itself. What waits is held
    in memory: all numbers, and the newest ``HELD`` bytes of files.

    Attributes:
        log_metrics: writes a batch of metrics of a run.
        server: what a person knows it by.
        tell: how that person hears that it went away, and that it is back.
        given_up: whether somebody has waited for it in vain since it last answered.
    """

    def __init__(
        self,
        log_metrics: Callable[[str, list[Metric]], object],
        server: str,
        tell: Callable[[str], None],
    ) -> None:
        self.log_metrics, self.server, self.tell = log_metrics, redact_uri(server), tell
        self._waiting, self._changed = deque[_Write](), threading.Condition()
        self._refusal: Exception | None = None
        self._away: str | None = None
        self._answered, self._dropped = time.monotonic(), 0
        self.given_up = False
        self._closed = threading.Event()
        threading.Thread(target=self._deliver, name="outbox", daemon=True).start()

    def send(self, write: Callable[[], object]) -> None:
        """Have ``write`` called, again and again as long as the server is away.

        Raises:
            Exception: what the server had against an earlier write; that one is not tried again.
        """
        self._enqueue(write)

    def append(self, write: Callable[[], object]) -> None:
        """The same where nothing may be raised: what the server had against others stays to be told."""
        self._enqueue(write, heed=False)

    def file(self, write: Callable[[], object], size: int) -> None:
        """The same for a file of ``size`` bytes, which is dropped if too many of them pile up."""
        self._enqueue(_File(write, size))

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
                result = question()
            except Exception as error:
                if away(error):
                    raise
                with suppress(InvalidStateError):  # nobody waits for it any more
                    answer.set_exception(error)
            else:
                with suppress(InvalidStateError):
                    answer.set_result(result)

        self.send(put)
        try:
            self.flush(patience)
            return answer.result(0)
        finally:
            answer.cancel()

    def flush(self, patience: float, limit: float = inf) -> None:
        """Wait until all is delivered; once that was in vain, nobody waits until the server answers.

        Args:
            patience: seconds in which nothing is delivered.
            limit: seconds in all.

        Raises:
            ServerUnavailableError: if one of them is over.
            Exception: what the server had against a write.
        """
        begun = time.monotonic()
        with self._changed:
            while self._waiting:
                over = min(max(begun, self._answered) + patience, begun + limit)
                left = 0.0 if self.given_up else over - time.monotonic()
                if left <= 0:
                    self.given_up, count = True, len(self._waiting)
                    raise ServerUnavailableError(
                        f"MLflow at {self.server} is away ({self._away or 'too slow'}): "
                        f"{count} write{'s'[: count > 1]} undelivered"
                    )
                self._changed.wait(left)
            self._raise_refusal()

    def close(self) -> None:
        """End the thread; what still waits is dropped."""
        self._closed.set()
        with self._changed:
            self._changed.notify_all()
        self._tell_dropped()

    def _enqueue(self, write: _Write, heed: bool = True) -> None:
        with self._changed:
            if heed:
                self._raise_refusal()
            self._waiting.append(write)
            if isinstance(write, _File):
                self._drop()
            self._changed.notify_all()

    def _drop(self) -> None:
        """Keep within ``HELD``; the first of what waits may be on its way."""
        files = [each for each in islice(self._waiting, 1, None) if isinstance(each, _File)]
        excess = sum(file.size for file in files) - HELD
        for file in files:
            if excess <= 0:
                return
            self._waiting.remove(file)
            self._dropped, excess = self._dropped + 1, excess - file.size

    def _tell_dropped(self) -> None:
        with self._changed:
            count, self._dropped = self._dropped, 0
        if count:
            self.tell(
                f"{count} picture{'s'[: count > 1]} will be missing in MLflow at {self.server}: "
                f"more than {HELD / 2**20:.0f} MB waited for it"
            )

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
            assert isinstance(write, _Metrics)  # noqa: S101 (tells the type checker)
            if len(batch) + len(write.points) > BATCH:
                break
            batch, count = [*batch, *write.points], count + 1
        return count, partial(self.log_metrics, first.run_id, batch)

    def _done(self, count: int, refusal: Exception | None) -> None:
        with self._changed:
            for _ in range(count):
                self._waiting.popleft()
            self._refusal = self._refusal or refusal
            self._answered, self.given_up = time.monotonic(), False
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
            self._tell_dropped()
