"""The tracker of a run: writes do not wait, and an outage of the server does not end the run."""

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import count
from math import inf
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

from mlflow.entities import Run

from pipeline.core.errors import UserError
from pipeline.tracking.outbox import Outbox
from pipeline.tracking.server import reason
from pipeline.tracking.tracker import Tracker, points

ANSWER_TIMEOUT_S = 600.0
"""Seconds that a run waits for an unreachable server when it needs an answer."""
CLOSING_TIMEOUT_S = 5.0
"""Seconds that a run waits for the server when it is interrupted."""
_START = "bngan.start"
"""Tag of the request that opened a run."""


class AsyncTracker(Tracker):
    """A tracker whose writes do not wait, and that sits out an outage of the server.

    Use it in a ``with`` block, which ends its thread.
    """

    def __init__(self, workspace: Path, experiment: str, tell: Callable[[str], None]) -> None:
        super().__init__(workspace, experiment)
        self.tell = tell
        self.outbox = Outbox(
            lambda run_id, metrics: self.client.log_batch(run_id, metrics=metrics), self.uri, tell
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.outbox.close()

    def start(self, name: str, tags: Mapping[str, str], parent: str | None = None) -> str:
        """Open a run, nested under ``parent`` if given, and return its id."""
        token = uuid4().hex
        create = partial(super().start, name, {**tags, _START: token}, parent)
        begin = partial(self._begin, token, count(), create)
        try:
            return self.outbox.ask(begin, ANSWER_TIMEOUT_S)
        except BaseException:
            # The server may have opened the run, or may open it now.
            self.outbox.send(partial(self._kill, token), heed=False)
            self._flushed(CLOSING_TIMEOUT_S, CLOSING_TIMEOUT_S)
            raise

    def finish(self, run_id: str, status: str) -> None:
        """Close a run after all its writes are delivered; FAILED if the server refused one.

        Raises:
            ServerUnavailableError: if the run has FINISHED and the server stays away.
            UserError: if the run has FINISHED and the server has refused a write.
        """
        now, known, finished = int(time.time() * 1000), self.outbox.given_up, status == "FINISHED"
        refusal = self._flushed(ANSWER_TIMEOUT_S) if finished else None
        if isinstance(refusal, UserError):  # the server is away, and may come back
            refusal = None
        ended = "FAILED" if refusal else status
        self.outbox.send(partial(self.client.set_terminated, run_id, ended, now), heed=False)
        killed = status == "KILLED"
        limits = (CLOSING_TIMEOUT_S, CLOSING_TIMEOUT_S) if killed else (ANSWER_TIMEOUT_S,)
        left = self._flushed(*limits)
        if not (trouble := refusal or left):
            return
        away = isinstance(trouble, UserError)
        message = f"MLflow at {self.outbox.server} has refused a write: {reason(trouble)}"
        if finished:
            raise trouble if away else UserError(message) from trouble
        if not (away and known):
            self.tell(str(trouble) if away else message)

    def params(self, run_id: str, values: Mapping[str, Any]) -> None:
        """Record configuration values."""
        self.outbox.send(partial(super().params, run_id, values))

    def metrics(self, run_id: str, values: Mapping[str, float], step: int = 0) -> None:
        """Record numbers at ``step`` (images seen), as of now."""
        self.outbox.metrics(run_id, points(values, step))

    def dataset(self, run_id: str, source: str, digest: str, context: str) -> None:
        """Record a dataset that a run has read."""
        self.outbox.send(partial(super().dataset, run_id, source, digest, context))

    def tags(self, run_id: str, values: Mapping[str, str]) -> None:
        """Set tags; raise nothing, since failed runs are tagged too."""
        self.outbox.send(partial(super().tags, run_id, values), heed=False)

    def artifact(self, run_id: str, name: str, content: bytes) -> None:
        """Keep a file with the run, under ``folder/file``."""
        self.outbox.file(partial(super().artifact, run_id, name, content), len(content))

    def finished(self, stage: str, fingerprint: str) -> Run | None:
        """Return the newest FINISHED run of a stage with this fingerprint, in any experiment."""
        return self.outbox.ask(partial(super().finished, stage, fingerprint), ANSWER_TIMEOUT_S)

    def latest(self, stage: str) -> Run | None:
        """Return the newest FINISHED run of a stage in this experiment."""
        return self.outbox.ask(partial(super().latest, stage), ANSWER_TIMEOUT_S)

    def _flushed(self, patience: float, limit: float = inf) -> Exception | None:
        """Wait until all is delivered; return the error that prevented it, or a refusal."""
        try:
            self.outbox.flush(patience, limit)
        except Exception as trouble:
            return trouble
        return None

    def _begin(self, token: str, tries: Iterator[int], create: Callable[[], str]) -> str:
        """Open a run only once, although the answer to an earlier try may have been lost."""
        known = self._begun(token) if next(tries) else []
        run_id = known[0] if known else create()
        self._kill(token, but=run_id)
        return run_id

    def _kill(self, token: str, but: str | None = None) -> None:
        for run_id in self._begun(token):
            if run_id != but:
                self.client.set_terminated(run_id, "KILLED")

    def _begun(self, token: str) -> list[str]:
        runs = self.client.search_runs([self.experiment_id], f"tags.`{_START}` = '{token}'")
        return [run.info.run_id for run in runs]
