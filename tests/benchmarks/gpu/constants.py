"""What the host and the device take for single things: the constants of the scaling model."""

import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch.nn.utils import get_total_norm

from tests.benchmarks.gpu.library import from_uint8, noise_blocks, training_latents
from tests.benchmarks.gpu.session import Session, Values
from tests.benchmarks.gpu.timing import seconds, wait
from tests.benchmarks.gpu.works import noise, peers
from tests.benchmarks.loops import LATENT

KILO, MEGA = 2**10, 2**20


def run(session: Session) -> None:
    """Make a row for each."""
    session.attempt("the host's time for an operation", lambda: _launches(session))
    session.attempt("waiting for one number", lambda: _waiting(session))
    for size in session.choose((256 * KILO, 6 * MEGA, 64 * MEGA), (4 * KILO,)):
        name = f"copies of {size / MEGA:g} MiB"
        session.attempt(name, lambda s=size: _copies(session, s))
    session.attempt("copies within the device", lambda: _within(session))
    session.attempt("a matrix product", lambda: _product(session))
    for count in session.choose((64, 256, 2048), (8,)):
        session.attempt(f"latents of {count} images", lambda c=count: _latents(session, c))
        session.attempt(f"data of {count} images", lambda c=count: _data(session, c))


def _each(session: Session, work: Callable[[], object], repeats: int = 1000) -> float:
    """Return microseconds of the host for a call, of many without a wait between them."""
    for _ in range(10):
        work()
    wait(session.device)
    repeats = session.choose(repeats, 3)
    began = time.perf_counter()
    for _ in range(repeats):
        work()
    took = time.perf_counter() - began
    wait(session.device)
    return 1e6 * took / repeats


def _launches(session: Session) -> Values:
    """Of the smallest tensors: the device waits for the host."""
    device = session.device
    one, maps = torch.ones(1, device=device), torch.ones(2, 8, 4, 4, device=device)
    weight = torch.ones(8, 8, 3, 3, device=device)
    scale, mean = torch.ones(8, device=device), torch.zeros(8, device=device)
    leaf = torch.ones(1, device=device, requires_grad=True)

    def both() -> None:
        with torch.autocast(device.type, torch.bfloat16):
            F.conv2d(maps, weight)

    def backward() -> None:
        torch.autograd.grad((leaf * one).sum(), leaf)

    with torch.no_grad():
        found = {
            "add_ µs": _each(session, lambda: one.add_(1), 5000),
            "relu µs": _each(session, lambda: F.relu(maps), 5000),
            "conv2d µs": _each(session, lambda: F.conv2d(maps, weight)),
            "conv2d, autocast µs": _each(session, both),
            "batch_norm µs": _each(session, lambda: F.batch_norm(maps, mean, scale, scale)),
        }
    return found | {"multiply, sum and backward µs": _each(session, backward)}


def _waiting(session: Session) -> Values:
    """Of an idle device; and the norm of a network's gradients, which is looked at so."""
    parameters = list(
        peers(session.choose(64, 16), session.choose(64, 8), session.device)[1].parameters()
    )
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = get_total_norm(gradients)
    return {
        "bool(isfinite) µs": _each(session, lambda: bool(norm.isfinite())),
        "isfinite alone µs": _each(session, norm.isfinite),
        "gradient_norm alone µs": _each(session, lambda: get_total_norm(gradients), 300),
    }


def _copies(session: Session, size: int) -> Values:
    """From and to the host, in GB/s, each waited for."""
    repeats, device = session.choose(max(3, 64 * MEGA // size), 1), session.device
    pageable = torch.zeros(size, dtype=torch.uint8).random_(0, 255)
    there = pageable.to(device)
    kinds = {"pageable": pageable}
    if device.type == "cuda":
        kinds["pinned"] = pageable.pin_memory()
    found: Values = {}
    for name, here in kinds.items():
        works = {
            f"{name} H2D": lambda h=here: there.copy_(h, non_blocking=True),
            f"{name} D2H": lambda h=here: h.copy_(there, non_blocking=True),
        }
        for way, work in works.items():
            took = seconds(_waited(work, device), repeats, device)
            found |= {f"{way} GB/s": size / took / 1e9, f"{way} µs": 1e6 * took}
    return found


def _waited(work: Callable[[], object], device: torch.device) -> Callable[[int], None]:
    work()

    def run(steps: int) -> None:
        for _ in range(steps):
            work()
            wait(device)

    return run


def _within(session: Session) -> Values:
    size = session.choose(2**30, 4 * KILO)
    one = torch.zeros(size, dtype=torch.uint8, device=session.device).random_(0, 255)
    other = torch.empty_like(one)

    def work(steps: int) -> None:
        for _ in range(steps):
            other.copy_(one)

    work(3)
    return {"read and written GB/s": 2 * size / seconds(work, 20, session.device) / 1e9}


def _product(session: Session) -> Values:
    size, found = session.choose(8192, 32), dict[str, float]()
    for kind in (torch.bfloat16, torch.float32):
        one, other = (torch.randn(size, size, device=session.device).to(kind) for _ in range(2))

        def work(steps: int, a: torch.Tensor = one, b: torch.Tensor = other) -> None:
            for _ in range(steps):
                a @ b

        work(2)
        took = seconds(work, session.choose(8, 1), session.device)
        found[f"{kind} TFLOP/s"] = 2 * size**3 / took / 1e12
    return found


def _latents(session: Session, count: int) -> Values:
    rows, device = noise_blocks(np.arange(count)), session.device
    drawn = _each(session, lambda: training_latents(0, 1, rows, LATENT), 50)
    latents = training_latents(0, 1, rows, LATENT)
    sent = seconds(_waited(lambda: latents.to(device), device), 20, device)
    return {"drawn µs": drawn, "drawn µs an image": drawn / count, "sent µs": 1e6 * sent}


def _data(session: Session, count: int) -> Values:
    """Of 64x64 pixels, as training reads them: taken, and made floats on the device."""
    data, device = noise(session.choose(64, 16)), session.device
    order = np.random.default_rng(0).permutation(len(data))[:count]
    taken = _each(session, lambda: data.take(order), 20)
    images = data.take(order)[0]
    sent = seconds(_waited(lambda: from_uint8(images, device), device), 10, device)
    return {
        "taken µs": taken,
        "from_uint8 µs": 1e6 * sent,
        "µs an image": taken / count + 1e6 * sent / count,
    }
