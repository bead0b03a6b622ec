"""A step on the CPU and one on the GPU from equal state, of every choice there is.

Adam divides each gradient by its size at first, so that what is pure rounding moves a weight as far as
anything. Here its epsilon is 1 and its rate 0.1: a step is a smooth function of the gradients.
"""

from contextlib import AbstractContextManager
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tests.benchmarks.gpu.cases import BATCH, CASES, SIDE, Case
from tests.benchmarks.gpu.library import ImageSplit, Trainer
from tests.benchmarks.gpu.session import Session, Values

LIMITS = {"float64": (1e-9, 1e-9), "float32": (1e-5, 1e-4)}
"""Largest relative errors of weights after the step, and of gradients."""
_WORSE = 2.0
"""Times the CPU's error beside float64 that the device's may be in bfloat16."""
COMPARED = (
    "max over networks of |a - b| / |b| over all weights and statistics after one step of Adam with "
    "epsilon 1 and rate 0.1, and over all gradients (its first moments); ok: weights 1e-9 and "
    "gradients 1e-9 in float64, 1e-5 and 1e-4 in float32; in bfloat16 gradients no more than twice "
    "as far from float64's as the CPU's are"
)
_random = np.random.default_rng(0)
DATA = ImageSplit(
    _random.integers(0, 256, (32, SIDE, SIDE, 3), dtype=np.uint8), _random.integers(0, 2, 32)
)


class Outcome(NamedTuple):
    """Flat vectors in float64 on the CPU, by network."""

    before: dict[str, Tensor]
    weights: dict[str, Tensor]
    gradients: dict[str, Tensor]


def run(session: Session) -> None:
    """Make a row for each case in float64 and float32, and one in bfloat16."""
    session.about["agreement"] = COMPARED
    pairs = [(case, kind) for case in CASES for kind in ("float64", "float32")]
    pairs += [(case, "bfloat16") for case in CASES if case.name.startswith("network")]
    threads, exact = torch.get_num_threads(), _Exact()
    torch.set_num_threads(1)  # for so little, sooner
    try:
        with exact_products():
            for case, kind in pairs:
                what = f"{case.name}, {kind}"
                session.attempt(what, partial(_row, session, case, kind, exact), needs=0.5)
    finally:
        torch.set_num_threads(threads)


def exact_products() -> AbstractContextManager[Any]:
    """Return a context in which float32 products and convolutions are not rounded to TF32."""
    torch.backends.cuda.matmul.allow_tf32 = False
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)


def outcome(case: Case, precision: str, device: torch.device | str) -> Outcome:
    """Take the case's steps on ``device``."""
    model, training = case.configured("bfloat16" if precision == "bfloat16" else "float32")
    dtype = torch.float64 if precision == "float64" else torch.float32
    trainer = Trainer(model, training, DATA.spec, seed=1, device=device, dtype=dtype)
    before = _states(trainer)
    for optimizer in (trainer.optimizer_g, trainer.optimizer_d):
        for group in optimizer.param_groups:
            group["eps"] = 1.0
    trainer.fit(DATA, BATCH * case.steps)
    gradients = {
        name: _flat({str(n): own["exp_avg"] for n, own in enumerate(optimizer.state.values())})
        for name, optimizer in (("d", trainer.optimizer_d), ("g", trainer.optimizer_g))
    }
    return Outcome(before, _states(trainer), gradients)


def _states(trainer: Trainer) -> dict[str, Tensor]:
    networks = {**trainer.networks, "ema": trainer.ema.module}
    return {name: _flat(network.state_dict()) for name, network in networks.items()}


def _flat(tensors: dict[str, Tensor]) -> Tensor:
    return torch.cat([value.detach().cpu().double().flatten() for value in tensors.values()])


def error(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    """Return the largest relative error of any vector."""
    pairs = [(ours[name], theirs[name]) for name in theirs]
    return max(float((a - b).norm() / b.norm().clamp_min(1e-300)) for a, b in pairs)


class _Exact:
    """The CPU's outcome of the latest case in float64."""

    def __init__(self) -> None:
        self._name = ""
        self._outcome: Outcome | None = None

    def of(self, case: Case) -> Outcome:
        """Return it, computed once."""
        if self._outcome is None or self._name != case.name:
            self._name, self._outcome = case.name, outcome(case, "float64", "cpu")
        return self._outcome


def _row(session: Session, case: Case, precision: str, exact: _Exact) -> Values:
    double = exact.of(case)
    expected = double if precision == "float64" else outcome(case, precision, "cpu")
    found, again = (outcome(case, precision, session.device) for _ in range(2))
    equal = error(found.before, expected.before) == 0
    weights = error(found.weights, expected.weights)
    gradients = error(found.gradients, expected.gradients)
    moved = error(expected.weights, expected.before)
    values: Values = {"weights": weights, "gradients": gradients, "moved": moved}
    if precision != "float64":
        values["gradients beside float64"] = error(found.gradients, double.gradients)
        values["the CPU's"] = error(expected.gradients, double.gradients)
    if precision == "bfloat16":
        fine = values["gradients beside float64"] <= _WORSE * values["the CPU's"]
    else:
        fine = weights <= LIMITS[precision][0] and gradients <= LIMITS[precision][1]
    return values | {
        "equal before": equal,
        "repeats": all(torch.equal(found.weights[n], again.weights[n]) for n in found.weights),
        "ok": equal and moved > 0 and fine,
    }
