"""Wait for Ray beside the main thread, and pass on what workers report meanwhile."""

from collections.abc import Callable
from typing import Any

from pipeline.cluster.working_dir import checked
from pipeline.core.errors import UserError
from pipeline.core.waiting import beside_the_main_thread


def checked_worker(worker: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
    """Return a training worker that does nothing if any of the workers has other code.

    Worker 0 then puts the reason into the queue. All of them return: after an exception Ray would try
    again, and those that train would wait for the others.
    """
    load = checked(lambda: worker)

    def run_or_refuse(settings: dict[str, Any]) -> None:
        from torch import distributed

        problem, work = load()
        problems = [problem] * distributed.get_world_size()
        distributed.all_gather_object(problems, problem)
        if not any(problems):
            work(settings)
        elif distributed.get_rank() == 0:
            settings["queue"].put({"refused": next(filter(None, problems))})

    return run_or_refuse


def fit_and_relay(
    fit: Callable[[], Any], queue: Any, on_record: Callable[[dict[str, Any]], None]
) -> Any:
    """Return the result of ``fit()``; meanwhile, pass all records on, up to the last.

    On the main thread Ray would take over Ctrl-C for good, and end the process with its own exit
    code. On another thread Ctrl-C raises as usual, and shutting Ray down ends the workers.

    Raises:
        UserError: in the end, if the workers have refused to train.
    """
    from ray.util.queue import Empty

    outcome, refused = beside_the_main_thread(fit), ""
    while True:
        over = outcome.done()
        try:
            while True:
                record = queue.get(timeout=0.5)
                if not (refused := record.get("refused", refused)):
                    on_record(record)
        except Empty:
            if not over:
                continue
            if refused:
                raise UserError(refused) from None
            return outcome.result()
