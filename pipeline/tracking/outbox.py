"""The queue of a run's writes to MLflow: it keeps their order while the server is away."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from math import inf
from typing import TypeVar

from mlflow.entities import Metric

from pipeline.core.errors import ServerUnavailableError
from pipeline.core.uris import redact_uri
from pipeline.tracking.server import away, reason

BATCH = 1000
"""Most metrics that MLflow takes at once."""
HELD = 256 * 2**20
"""Most bytes of files that wait in memory; beyond, the oldest are dropped."""
_PAUSES_S = (0.5, 1.0, 2.0, 3.0)
"""Seconds before each new try of a write; the last pause repeats."""
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
    """Delivers writes in order, on its own thread, so that senders never wait.

    A write that fails because the server is away stays first and is tried again. It may then arrive
    twice: MLflow keeps equal points once, and other writes replace themselves. The queue is in
    memory: all numbers, and the newest ``HELD`` bytes of files.

    Attributes:
        log_metrics: writes a batch of metrics of a run.
        server: name of the server in messages.
        tell: called with a message when the server goes away, and when it is back.
        given_up: whether a wait for the server has failed since it last answered.
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

    def send(self, write: _Write, heed: bool = True) -> None:
        """Queue ``write``; the thread calls it again as long as the server is away.

        Raises:
            Exception: the server's refusal of an earlier write, which is not tried again; unless
                ``heed``, a later call raises it.
        """
        with self._changed:
            if heed:
                self._raise_refusal()
            self._waiting.append(write)
            if isinstance(write, _File):
                self._drop()
            self._changed.notify_all()

    def file(self, write: Callable[[], object], size: int) -> None:
        """Queue the write of a file of ``size`` bytes; beyond ``HELD``, the oldest are dropped."""
        self.send(_File(write, size))

    def metrics(self, run_id: str, values: Sequence[Metric]) -> None:
        """Queue metrics; waiting metrics of a run go in batches."""
        self.send(_Metrics(run_id, values))

    def ask(self, question: Callable[[], _Answer], patience: float) -> _Answer:
        """Return the result of ``question``, which runs after all earlier writes.

        ``patience`` and errors are those of ``flush``.
        """
        answer: Future[_Answer] = Future()

        def put() -> None:
            if answer.cancelled():
                return
            with suppress(InvalidStateError):  # the caller no longer waits
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
            answer.cancel()

    def flush(self, patience: float, limit: float = inf) -> None:
        """Wait until all is delivered; fail at once after a failed wait, until the server answers.

        Args:
            patience: most seconds without any delivery.
            limit: most seconds in all.

        Raises:
            ServerUnavailableError: if one of these times is over.
            Exception: the server's refusal of a write.
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
        """End the thread, and drop the writes that still wait."""
        self._closed.set()
        with self._changed:
            self._changed.notify_all()
        self._tell_dropped()

    def _drop(self) -> None:
        """Drop files beyond ``HELD``, but not the first write: it may be on its way."""
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
        """Run the thread: try the first write until it is delivered or refused, then the next."""
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
                    self._closed.wait(_PAUSES_S[min(failures, len(_PAUSES_S) - 1)])
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
        """Return the number of writes that go next, and a function that sends them."""
        first = self._waiting[0]
        if not isinstance(first, _Metrics):
            return 1, first
        batch, count = list(first.points), 1
        for write in islice(self._waiting, 1, limit):
            if not isinstance(write, _Metrics) or write.run_id != first.run_id:
                break
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
