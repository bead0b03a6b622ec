"""Rates of works that take turns, and what a step launches, computes and holds."""

import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from tests.benchmarks.gpu.session import Session, Values, guarded

Steps = Callable[[int], object]
"""Takes so many steps."""
PEAKS = {"bfloat16": 989e12, "tf32": 494.5e12, "float32": 67e12}
"""FLOP/s of an H200 (SXM) by its data sheet: dense matrix products, or float32 outside of them."""
_TRACED, _LARGEST = 4, 6
_WARM = 0.2
"""Seconds of the steps that tell how many make a turn."""


@dataclass(frozen=True)
class Timing:
    """Seconds for a step, of every turn."""

    turns: list[float]
    steps: int
    """In a turn."""

    @property
    def median(self) -> float:
        """Return the median turn's."""
        return statistics.median(self.turns)

    @property
    def spread(self) -> float:
        """Return the range of turns as a share of the median."""
        return (max(self.turns) - min(self.turns)) / self.median


def wait(device: torch.device) -> None:
    """Wait until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(work: Steps, steps: int, device: torch.device) -> float:
    """Return the seconds for a step, of so many."""
    wait(device)
    began = time.perf_counter()
    work(steps)
    wait(device)
    return (time.perf_counter() - began) / steps


def turns(works: Mapping[str, Steps], session: Session, count: int = 3) -> dict[str, Timing]:
    """Time works in turns of a second or more, each after its warm-up."""
    device, count = session.device, session.choose(count, 1)
    numbers = {name: session.choose(0, 1) or _enough(work, device) for name, work in works.items()}
    found: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(count):
        for name, work in works.items():
            found[name].append(seconds(work, numbers[name], device))
    return {name: Timing(found[name], numbers[name]) for name in works}


def _enough(work: Steps, device: torch.device) -> int:
    """Return how many steps take a second; it takes some, which warm up."""
    work(2)
    first = seconds(work, 1, device)
    probed = seconds(work, max(1, math.ceil(_WARM / first)), device)
    return max(1, math.ceil(1.05 / probed))


def figures(timing: Timing, batch: int) -> Values:
    """Return images per second and what they come from."""
    return {
        "images/s": batch / timing.median,
        "ms": 1e3 * timing.median,
        "spread": timing.spread,
        "steps a turn": timing.steps,
    }


def anatomy(work: Steps, timing: Timing, session: Session, peak: str | None) -> Values:
    """Return what a step computes, as a share of ``peak`` as well, and what it launches."""

    def computed() -> Values:
        operations = flops(work)
        found = {"GFLOP": operations / 1e9, "TFLOP/s": operations / timing.median / 1e12}
        if peak:
            found["MFU"] = operations / timing.median / PEAKS[peak]
        return found | ({"MFU's peak": f"{peak} {PEAKS[peak]:.3g}"} if peak else {})

    def launched() -> Values:
        found = trace(work, session.device)
        if "kernel ms" in found:
            found["busy"] = found["kernel ms"] / (1e3 * timing.median)
        return found

    return guarded("FLOPs", computed) | guarded("launches", launched)


def flops(work: Steps) -> float:
    """Count the floating-point operations of a step's matrix products and convolutions."""
    with FlopCounterMode(display=False) as counter:
        work(1)
    return float(counter.get_total_flops())


def trace(work: Steps, device: torch.device) -> Values:
    """Count what a step launches, by the profiler's trace."""
    kinds = [ProfilerActivity.CPU]
    if device.type == "cuda":
        kinds.append(ProfilerActivity.CUDA)
    with profile(activities=kinds, acc_events=True) as found:
        work(_TRACED)
        wait(device)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "trace.json")
        found.export_chrome_trace(str(path))
        events = json.loads(path.read_text(errors="replace"))["traceEvents"]
    return _counts(events, device)


def _counts(events: list[dict[str, Any]], device: torch.device) -> Values:
    """Return counts for a step; of a CPU, its operations."""

    def number(*kinds: str, named: str = "") -> float:
        chosen = [e for e in events if e.get("cat") in kinds and named in e.get("name", "")]
        return len(chosen) / _TRACED

    operations = number("cpu_op")
    if device.type != "cuda":
        return {"operations": operations}
    kernels = [event for event in events if event.get("cat") == "kernel"]
    calls = "cuda_runtime", "cuda_driver"
    return {
        "kernels": len(kernels) / _TRACED,
        "launch calls": number(*calls, named="Launch"),
        "copies": number("gpu_memcpy"),
        "memsets": number("gpu_memset"),
        "waits": number(*calls, named="Synchronize"),
        "operations": operations,
        "kernel ms": sum(event.get("dur", 0) for event in kernels) / 1e3 / _TRACED,
        "largest": _largest(kernels),
    }


def _largest(kernels: list[dict[str, Any]]) -> Values:
    """Return milliseconds and number in a step of the kernels that take longest."""
    times: dict[str, list[float]] = {}
    for event in kernels:
        times.setdefault(event["name"][:120], []).append(event.get("dur", 0) / 1e3)
    ordered = sorted(times.items(), key=lambda item: -sum(item[1]))[:_LARGEST]
    return {name: [sum(each) / _TRACED, len(each) / _TRACED] for name, each in ordered}


class Memory:
    """The most that the device's allocator has handed out beyond what it had at the start."""

    def __init__(self, device: torch.device) -> None:
        self.device, self._before = device, 0
        if device.type == "cuda":
            wait(device)
            self._before = torch.cuda.memory_allocated(device)
            torch.cuda.reset_peak_memory_stats(device)

    def peak(self) -> Values:
        """Return it in megabytes; nothing of a CPU."""
        if self.device.type != "cuda":
            return {}
        wait(self.device)
        return {"peak MB": (torch.cuda.max_memory_allocated(self.device) - self._before) / 1e6}
