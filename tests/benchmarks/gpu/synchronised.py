"""Batch norm as several workers compute it, on one that poses as the first of two."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

import torch
import torch.distributed as dist

from tests.benchmarks.gpu.agreement import error
from tests.benchmarks.gpu.library import Trainer, collectives, layer
from tests.benchmarks.gpu.session import Session, Values
from tests.benchmarks.gpu.timing import Memory, Steps, anatomy, figures, seconds, turns, wait
from tests.benchmarks.gpu.works import dcgan_model, fitting, noise, trainer

_SUMS = 200


@contextmanager
def alone(device: torch.device) -> Iterator[None]:
    """Be a process group of one, inside."""
    backend = "nccl" if device.type == "cuda" else "gloo"
    with tempfile.TemporaryDirectory() as folder:
        meeting = f"file://{Path(folder, 'meeting')}"
        dist.init_process_group(backend, meeting, rank=0, world_size=1)
        try:
            yield
        finally:
            dist.destroy_process_group()


@contextmanager
def posing() -> Iterator[None]:
    """Take the library's group of one for the first of two workers: it has half of every batch."""
    with ExitStack() as stack:
        for module in (layer, collectives):
            stack.enter_context(patch.object(module, "world_size", lambda: 2))
        if dist.get_backend() == "gloo":  # one has no memory to share
            stack.enter_context(patch.object(collectives, "_shared_memory", lambda: None))
        yield


def run(session: Session) -> None:
    """Make rows for each batch, and for a sum by itself."""
    with ExitStack() as stack:
        began = "a process group of one"
        session.attempt(began, lambda: _enter(stack, session), session.choose(5.0, 0.0))
        if not dist.is_initialized():
            return
        session.attempt("one step, posing and plain, float64", lambda: _equality(session))
        session.attempt("a sum of 4 kB over one worker", lambda: _sum(session))
        session.attempt("a captured step, posing and eager", lambda: _capture(session), needs=3.0)
        for batch in session.choose((64, 128), (4,)):
            what = f"DCGAN 32x32, {batch} images, bfloat16"
            needs = session.choose(6.0, 0.0)
            session.attempt(what, lambda b=batch, w=what: _rows(session, b, w), needs)


def _enter(stack: ExitStack, session: Session) -> Values:
    clock = time.perf_counter()
    stack.enter_context(alone(session.device))
    dist.all_reduce(torch.zeros(1, device=session.device))
    wait(session.device)
    return {"backend": dist.get_backend(), "seconds": time.perf_counter() - clock}


def _posing_steps(trained: Trainer, side: int) -> Steps:
    work = fitting(trained, noise(side))

    def run(steps: int) -> None:
        with posing():
            work(steps)

    return run


def _rows(session: Session, batch: int, what: str) -> None:
    device, width, side = session.device, session.choose(64, 8), session.choose(32, 16)
    memory = Memory(device)
    plain = trainer(dcgan_model(width), side, batch, device, precision="bfloat16")
    works = {"plain": fitting(plain, noise(side))}
    works["plain"](2)
    peaks, memory = {"plain": memory.peak()}, Memory(device)
    with posing():
        double = trainer(dcgan_model(width), side, 2 * batch, device, precision="bfloat16")
    works["synchronised"] = _posing_steps(double, side)
    works["synchronised"](2)
    peaks["synchronised"] = memory.peak()
    timings = turns(works, session)
    for name, work in works.items():
        found = figures(timings[name], batch) | peaks[name]
        if name != "plain":
            found["of plain"] = timings["plain"].median / timings[name].median
        session.add(f"{what}, {name}", found | anatomy(work, timings[name], session, "bfloat16"))


def _equality(session: Session) -> Values:
    """Compare the gradients of D's first step: posing has half of them, by its rule."""
    found = []
    for batch in (8, 16):
        with ExitStack() as stack:
            if batch == 16:
                stack.enter_context(posing())
            one = trainer(dcgan_model(8), 32, batch, session.device, dtype=torch.float64)
            one.fit(noise(32), batch)
        states = one.optimizer_d.state.values()
        found.append(torch.cat([own["exp_avg"].flatten() for own in states]) * batch)
    wrong = error({"d": found[1].cpu()}, {"d": found[0].cpu()})
    return {"gradients": wrong, "ok": wrong < 1e-9}


def _capture(session: Session) -> Values:
    """Compare a captured training, messages and all, with the eager one, in float64."""
    if session.device.type != "cuda":
        return {"note": "a CPU has no graphs"}
    weights = []
    for mode in ("off", "step"):
        options = {"dtype": torch.float64, "compile": mode}
        with posing():
            one = trainer(dcgan_model(8), 32, 16, session.device, **options)
            one.fit(noise(32), 8 * 16)
        weights.append({name: p.detach() for name, p in one.generator.named_parameters()})
    wrong = error(weights[1], weights[0])
    return {"weights": wrong, "ok": wrong < 1e-9}


def _sum(session: Session) -> Values:
    values = torch.zeros(1024, device=session.device)

    def work(steps: int) -> None:
        for _ in range(steps):
            dist.all_reduce(values)

    work(10)
    return {"µs": 1e6 * seconds(work, session.choose(_SUMS, 5), session.device)}
