"""Gains of compiled networks and of captured steps."""

import time
from typing import Any

import torch

from tests.benchmarks.gpu.agreement import error
from tests.benchmarks.gpu.session import Session, Values
from tests.benchmarks.gpu.timing import Steps, anatomy, figures, turns
from tests.benchmarks.gpu.works import dcgan_model, fitting, noise, peers, ready, repeated, trainer
from tests.benchmarks.loops import bare

_WARM = 5


def run(session: Session) -> None:
    """Make rows for a captured bare loop and for compiled networks."""
    side, batch = session.choose((64, 128), (16, 4))
    what = f"DCGAN {side}x{side}, batch {batch}, bfloat16"
    session.attempt(
        f"{what}, networks compiled", lambda: _compiled(session, side, batch), session.choose(20, 0)
    )
    if session.device.type == "cuda":
        for number in (batch, 512):
            name = f"DCGAN {side}x{side}, batch {number}, bfloat16"
            ours, loop = f"{name}, captured", f"{name}, bare loop captured"
            session.attempt(ours, lambda n=number: _ours_captured(session, side, n), needs=4)
            session.attempt(loop, lambda n=number: _captured(session, side, n), needs=4)
    else:
        session.add(f"{what}, captured", {}, "skipped: a CPU has no graphs")
        session.add(f"{what}, bare loop captured", {}, "skipped: a CPU has no graphs")


def _compiled(session: Session, side: int, batch: int) -> Values:
    device, width = session.device, session.choose(64, 8)
    plain, other = (
        trainer(dcgan_model(width), side, batch, device, precision="bfloat16") for _ in range(2)
    )
    backend = session.choose("inductor", "eager")
    for network in other.networks.values():
        network.compile(backend=backend, dynamic=False)
    work, began = fitting(other, noise(side)), time.perf_counter()
    work(3)
    compiling = time.perf_counter() - began
    session.add(f"compiling with {backend}", {"seconds": compiling})
    works: dict[str, Steps] = {"eager": fitting(plain, noise(side)), "compiled": work}
    timings = turns(works, session, count=2)
    gain = timings["eager"].median / timings["compiled"].median
    found = figures(timings["compiled"], batch) | {"of eager": gain}
    return found | anatomy(work, timings["compiled"], session, "bfloat16")


def _ours_captured(session: Session, side: int, batch: int) -> Values:
    """Time our training with ``compile: step`` beside the eager one; both end with equal weights."""
    options: dict[str, Any] = {"precision": "bfloat16"}
    trainers = {
        name: trainer(dcgan_model(64), side, batch, session.device, compile=mode, **options)
        for name, mode in (("eager", "off"), ("captured", "step"))
    }
    works = {name: fitting(trained, noise(side)) for name, trained in trainers.items()}
    began = time.perf_counter()
    for work in works.values():
        work(4)
    capturing = time.perf_counter() - began
    eager, captured = (
        {name: weight.detach() for name, weight in trained.generator.named_parameters()}
        for trained in trainers.values()
    )
    wrong = error(captured, eager)
    timings = turns(works, session, count=2)
    gain = timings["eager"].median / timings["captured"].median
    found = figures(timings["captured"], batch) | {"of eager": gain, "seconds at first": capturing}
    found |= anatomy(works["eager"], timings["captured"], session, "bfloat16")
    return found | {"weights": wrong, "ok": wrong < 1e-5}


def _captured(session: Session, side: int, batch: int) -> Values:
    device, stream = session.device, torch.cuda.Stream()
    step = bare(peers(side, 64, device), "bfloat16", capturable=True)
    reals = ready(side, batch, device, last=True)
    real = next(reals).clone(memory_format=torch.channels_last)
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(_WARM):
            step(real)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step(real)

    def replay(values: torch.Tensor) -> None:
        real.copy_(values)
        graph.replay()

    eager = repeated(bare(peers(side, 64, device), "bfloat16"), ready(side, batch, device, True))
    timings = turns({"eager": eager, "captured": repeated(replay, reals)}, session, count=2)
    gain = timings["eager"].median / timings["captured"].median
    return figures(timings["captured"], batch) | {"of eager": gain}
