"""A training step on one core, beside loops that others write: DCGAN, and the article's MLP.

``python -m tests.benchmarks.steps``. The example is the loop of PyTorch's DCGAN example: float32, real
and fake images backward one after the other, gradients of D computed in G's step as well. The bare loop
is the best that is usually written by hand: bfloat16, channels last, D frozen in G's step, fused Adam.
All are in float32 where the processor does not multiply bfloat16. Ours run in a process of their own
with memory as Ray's workers have it (``our_steps.py``), and once more the bare loop. Keras runs in its
own (``keras_peer.py``), where ``KERAS_PYTHON`` names an interpreter that has it.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from bngan.data.dataset import ImageSpec
from pipeline.core.environment import workers_defaults
from tests.benchmarks.loops import PRECISION, WIDTH, Step, bare, batches, dcgan, example, mlp, work
from tests.benchmarks.our_steps import our_dcgan
from tests.benchmarks.rates import Row, Work, rates, table

Ask = Callable[[str, int], float]
KERAS = {"float32": "Keras, tf.function"}
if PRECISION == "bfloat16":
    KERAS["mixed_bfloat16"] = "Keras, tf.function, bfloat16"
_MATRIX = 1024


@contextmanager
def answering(command: list[str], environment: dict[str, str]) -> Iterator[Ask]:
    """A process that takes so many steps of what is asked for, and tells images per CPU-second."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, text=True, bufsize=1, env=os.environ | environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def ask(name: str, steps: int) -> float:
            print(name, steps, file=process.stdin, flush=True)
            return float(process.stdout.readline())  # type: ignore[union-attr]

        yield ask


@contextmanager
def others(networks: str, steps: int) -> Iterator[dict[str, Work]]:
    """Ours, and the bare loop, with memory as workers have it; Keras' where there is Keras."""
    with ExitStack() as stack:
        command = [sys.executable, "-m", "tests.benchmarks.our_steps"]
        ask = stack.enter_context(answering(command, workers_defaults()))
        kinds = {"ours": "ours", "as workers": "bare"}
        kinds |= {"compiled": "compiled"} if networks.startswith("mlp") else {}
        found: dict[str, Work] = {
            name: partial(ask, f"{networks} {kind}", steps) for name, kind in kinds.items()
        }
        if interpreter := os.environ.get("KERAS_PYTHON"):
            command = [interpreter, str(Path(__file__).with_name("keras_peer.py"))]
            quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
            ask = stack.enter_context(answering(command, quiet))
            found |= {kind: partial(ask, f"{networks} {kind}", steps) for kind in KERAS}
        yield found


def _matrix_product() -> Work:
    one, other = (torch.randn(_MATRIX, _MATRIX, dtype=getattr(torch, PRECISION)) for _ in range(2))

    def run() -> float:
        for _ in range(40):
            one @ other
        return 40 * 2 * _MATRIX**3

    return run


def _operations(step: Step, real: Tensor) -> float:
    with FlopCounterMode(display=False) as counter:
        step(real)
    return counter.get_total_flops() / len(real)


def dcgan_rows() -> list[Row]:
    """DCGAN at 32x32, width 64."""
    trainer = our_dcgan(64)
    real = batches(64, trainer.images)
    operations = _operations(trainer.step, next(real))
    works = {kind.__name__: work(kind(dcgan()), real, 10) for kind in (example, bare)}
    with others("dcgan64", 10) as peers:
        found = rates(works | {"ceiling": _matrix_product()}, others=peers)
    share = found["ours"] * operations / found["ceiling"]
    what = f"DCGAN 32x32, width {WIDTH}, batch 64, one core"
    return [
        _row(what, found, "example", "PyTorch's example, float32", 2.4),
        *_bare_rows(what, found, 1.15),
        *_keras_rows(what, found, 1.15),
        Row(f"the same, of the core's {PRECISION} matrix product", share, "", least=0.65),
    ]


def mlp_rows(batch: int) -> list[Row]:
    """The article's listing."""
    real = batches(batch, ImageSpec((1, 28, 28)))
    works = {kind.__name__: work(kind(mlp()), real, 50) for kind in (example, bare)}
    with others(f"mlp{batch}", 50) as peers:
        found = rates(works, others=peers)
    what = f"the listing's MLP, batch {batch}, one core"
    return [
        _row(what, found, "example", "plain loop, float32", None),
        *_bare_rows(what, found, None),
        *_keras_rows(what, found, None),
        *_compiled_rows(f"{what}, compile: step", found),
    ]


def _row(what: str, found: dict[str, float], beside: str, name: str, least: float | None) -> Row:
    return Row(what, found["ours"], "images/s", name, found[beside], least)


def _bare_rows(what: str, found: dict[str, float], least: float | None) -> list[Row]:
    name = f"bare loop, {PRECISION}"
    return [
        _row(what, found, "bare", name, least),
        _row(what, found, "as workers", f"{name}, with a worker's memory", 1.0),
    ]


def _compiled_rows(what: str, found: dict[str, float]) -> list[Row]:
    compiled = found | {"ours": found["compiled"]}
    return [
        _row(what, compiled, "as workers", f"bare loop, {PRECISION}, with a worker's memory", 1.0),
        *_keras_rows(what, compiled, 1.15),
    ]


def _keras_rows(what: str, found: dict[str, float], least: float | None) -> list[Row]:
    return [_row(what, found, kind, name, least) for kind, name in KERAS.items() if kind in found]


def rows() -> list[Row]:
    """All of it."""
    torch.set_num_threads(1)
    return [*dcgan_rows(), *mlp_rows(128), *mlp_rows(512)]


if __name__ == "__main__":
    print(table(rows()))
