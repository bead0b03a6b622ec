"""Wait for Ray beside the main thread, and pass on what workers report meanwhile."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from typing import Any

from pipeline.cluster.working_dir import checked
from pipeline.core.errors import UserError


def checked_worker(worker: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
    """Return a training worker that puts a refusal into the queue if it has other code."""
    run = checked(worker)

    def run_or_refuse(settings: dict[str, Any]) -> None:
        if problem := run(settings)[0]:
            settings["queue"].put({"refused": problem})  # after an exception Ray would try again

    return run_or_refuse


def fit_and_relay(
    fit: Callable[[], Any], queue: Any, on_record: Callable[[dict[str, Any]], None]
) -> Any:
    """Return the result of ``fit()``; meanwhile, pass all records on, up to the last.

    Raises:
        UserError: as soon as a worker refuses to run.
    """
    from ray.util.queue import Empty

    outcome = _beside_the_main_thread(fit)
    while True:
        over = outcome.done()
        try:
            while True:
                record = queue.get(timeout=0.5)
                if "refused" in record:
                    raise UserError(record["refused"])
                on_record(record)
        except Empty:
            if over:
                return outcome.result()


def fit_unless(refused: Sequence[str], fit: Callable[[], Any]) -> Any:
    """Return the result of ``fit()``, unless ``refused`` gets a message meanwhile.

    Raises:
        UserError: with the first message, as soon as it is there.
    """
    outcome = _beside_the_main_thread(fit)
    while not (refused or wait([outcome], timeout=0.5).done):
        pass
    if refused:
        raise UserError(refused[0])
    return outcome.result()


def _beside_the_main_thread(fit: Callable[[], Any]) -> Future[Any]:
    """Run ``fit()`` on another thread, and return its future.

    On the main thread Ray would take over Ctrl-C for good, and end the process with its own exit
    code. On another thread Ctrl-C raises as usual, and shutting Ray down ends the workers.
    """
    outcome: Future[Any] = Future()

    def run() -> None:
        try:
            outcome.set_result(fit())
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=run, name="ray-fit", daemon=True).start()
    return outcome
