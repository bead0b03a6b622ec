"""How far several workers stray from one: the cases, and the table.

``python -m tests.distributed.equality`` prints the largest difference in any parameter, buffer,
averaged weight and Adam state, for 2, 3 and 4 gloo workers against one process.
"""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from bngan.data.dataset import ImageSplit
from bngan.distributed.replicas import assert_replicas_equal
from bngan.networks.config import DiscriminatorConfig, GeneratorConfig, ModelConfig
from bngan.serialization.checkpoint import load_checkpoint, save_checkpoint
from bngan.training import base
from bngan.training import trainer as trainer_module
from bngan.training.config import OptimizationConfig
from bngan.training.trainer import Trainer
from tests.workers import run_workers

State = dict[str, Tensor]
WORKERS = (2, 3, 4)
WARM_UP = 20
STEPS = 50


class Case(NamedTuple):
    """A pair of networks, and how they are trained."""

    model: ModelConfig
    optimization: OptimizationConfig


def _mlp(norm: Any = "batch", conditional: bool = False, **discriminator: Any) -> ModelConfig:
    return ModelConfig(
        "mlp",
        8,
        conditional,
        GeneratorConfig(16, 2, norm),
        DiscriminatorConfig(16, 3, **discriminator),
    )


def _dcgan(conditional: bool = False, **discriminator: Any) -> ModelConfig:
    return ModelConfig(
        "dcgan", 8, conditional, GeneratorConfig(4), DiscriminatorConfig(4, 2, **discriminator)
    )


def _other(network: Any, attention: Any = (), **discriminator: Any) -> ModelConfig:
    parts = (
        GeneratorConfig(8, 2, attention=list(attention)),
        DiscriminatorConfig(8, 2, attention=list(attention), **discriminator),
    )
    return ModelConfig(network, 8, False, *parts)


def _training(batch_size: int = 16, **options: Any) -> OptimizationConfig:
    return OptimizationConfig(batch_size=batch_size, lr=1e-3, ema_half_life=50, **options)


CASES = {
    "mlp": Case(_mlp(), _training()),
    "dcgan": Case(_dcgan(), _training()),
    "mlp, batch 10": Case(_mlp(), _training(10)),
    "dcgan, batch 10": Case(_dcgan(), _training(10)),
    "mlp, batch 3 (empty shards)": Case(_mlp(), _training(3)),
    "dcgan, batch 3 (empty shards)": Case(_dcgan(), _training(3)),
    "dcgan, norm_batch 4": Case(_dcgan(), _training(12, norm_batch=4)),
    "mlp, accumulation": Case(_mlp(), _training(16, norm_batch=8, micro_batch=8)),
    "dcgan, conditional": Case(_dcgan(conditional=True), _training()),
    "mlp, self-modulated, conditional": Case(_mlp("self_modulated_batch", True), _training()),
    "mlp, two blocks of noise": Case(
        _mlp(),
        _training(
            300,
            micro_batch=150,
            norm_batch=50,
            penalty="gradient_penalty",
            augment=["translation"],
        ),
    ),
    "mlp, R1 lazily": Case(_mlp(), _training(penalty="r1", penalty_every=2)),
    "dcgan, gradient penalty": Case(_dcgan(), _training(10, penalty="gradient_penalty")),
    "mlp, spectral norm": Case(
        _mlp(weight_norm="spectral"), _training(norm_batch=8, micro_batch=8)
    ),
    "resnet, attention, BN in D, R1": Case(
        _other("resnet", attention=[5], norm="batch"), _training(10, penalty="r1")
    ),
    "transformer, BN in D, relativistic": Case(
        _other("transformer", norm="batch"), _training(10, loss="relativistic")
    ),
    "transformer, batch 3 (empty shards)": Case(_other("transformer"), _training(3)),
    "resnet, attention, batch 3 (empty shards)": Case(
        _other("resnet", attention=[5], norm="group"), _training(3)
    ),
    "dcgan, mapping, batch 10": Case(
        ModelConfig(
            "dcgan",
            8,
            False,
            GeneratorConfig(4, norm="self_modulated_batch", mapping=1),
            DiscriminatorConfig(4, 2),
        ),
        _training(10),
    ),
    "dcgan, bfloat16": Case(_dcgan(), _training(precision="bfloat16")),
    "dcgan, augmentation, two D steps": Case(
        _dcgan(), _training(10, augment=["translation", "cutout"], discriminator_steps=2)
    ),
    "mlp, BN in D": Case(_mlp(norm="batch"), _training()),
    "dcgan, BN in D, joint": Case(_dcgan(norm="batch", batch_statistics="joint"), _training()),
    "mlp, BN in D, R1, norm_batch 4": Case(
        _mlp(norm="batch"), _training(norm_batch=4, penalty="r1")
    ),
    "dcgan, BN in D, gradient penalty, batch 3": Case(
        _dcgan(norm="batch"), _training(3, penalty="gradient_penalty")
    ),
}


def prepare(folder: Path) -> Path:
    """A small labelled data set in ``folder``, of images that are not square."""
    random = np.random.default_rng(0)
    np.save(folder / "train_images.npy", random.integers(0, 256, (37, 9, 7, 1), dtype=np.uint8))
    np.save(folder / "train_labels.npy", random.integers(0, 3, 37))
    (folder / "dataset.json").write_text('{"classes": ["0", "1", "2"]}')
    return folder


def train(
    folder: Path, name: str, dtype: torch.dtype, steps: int, start: Path | None = None
) -> tuple[State, Any]:
    """Every tensor after ``steps`` steps, from a fresh start or from the state at ``start``."""
    case, data = CASES[name], ImageSplit.load(folder, "train")
    trainer = Trainer(case.model, case.optimization, data.spec, seed=3, dtype=dtype)
    if start:
        trainer.load_state_dict(load_checkpoint(start))
    batch = case.optimization.batch_size
    records = [
        trainer.fit(data, trainer.images_seen + batch * n) for n in (steps // 2, -(-steps // 2))
    ]
    assert_replicas_equal(trainer.state_dict())
    return {key: value.detach().clone() for key, value in _tensors(trainer.state_dict())}, records


def _tensors(tree: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _tensors(value, f"{prefix}{key}.")
        elif isinstance(value, Tensor):
            yield f"{prefix}{key}", value


@contextmanager
def permuted(group: int, seed: int) -> Iterator[None]:
    """Inside, training visits each ``group`` of a batch in another order: only roundings differ."""

    def shuffle(function: Any) -> Any:
        def shuffled(*args: Any) -> Any:
            rows = function(*args)
            order = np.arange(len(rows)).reshape(-1, group)
            return rows[order[:, np.random.default_rng(seed).permutation(group)].flatten()]

        return shuffled

    with ExitStack() as stack:
        noise = ("training_latents", "mixture_weights", "augmentation_draws")
        for module, names in {base: ("sample_order",), trainer_module: noise}.items():
            for name in names:
                original = getattr(module, name)
                stack.enter_context(mock.patch.object(module, name, shuffle(original)))
        yield


class Runs(NamedTuple):
    """One case on one number of workers: float64, and float32 one step on and, if asked for, many."""

    exact: State
    records: Any
    one_step: State
    many_steps: State


def run(folder: Path, name: str, many: bool) -> Runs:
    """All runs of a case; on one process it also leaves the state that ``one_step`` starts from."""
    start = folder / name
    if not start.exists():
        data = ImageSplit.load(folder, "train")
        trainer = Trainer(CASES[name].model, CASES[name].optimization, data.spec, seed=3)
        trainer.fit(data, WARM_UP * trainer.config.batch_size)
        save_checkpoint(start, trainer.state_dict())
    exact, records = train(folder, name, torch.float64, STEPS)
    one_step, _ = train(folder, name, torch.float32, 1, start)
    many_steps = train(folder, name, torch.float32, STEPS)[0] if many else {}
    return Runs(exact, records, one_step, many_steps)


def run_cases(folder: Path, names: list[str], many: bool = True) -> dict[str, Runs]:
    """Cases by name."""
    return {name: run(folder, name, many) for name in names}


def yardstick(folder: Path, name: str, one: Runs) -> tuple[float, float]:
    """How far float32 rounding alone leads: one process, batches in other orders.

    After one step, relative, in 20 orders, and after many in 3.
    """
    optimization = CASES[name].optimization
    group = optimization.norm_batch
    size = optimization.batch_size if group == "global" else group

    def reordered(seed: int, steps: int, start: Path | None = None) -> State:
        with permuted(size, seed):
            return train(folder, name, torch.float32, steps, start)[0]

    return (
        max(relative_difference(one.one_step, reordered(n, 1, folder / name)) for n in range(20)),
        max(difference(one.many_steps, reordered(n, STEPS)) for n in range(3)),
    )


def difference(one: State, other: State) -> float:
    """Largest absolute difference of any element of any tensor."""
    return max(_largest(one, other).values())


def relative_difference(one: State, other: State) -> float:
    """Largest difference of any element, relative to the largest element of its tensor."""
    return max(
        largest / max(one[key].double().abs().max().item(), 1e-30)
        for key, largest in _largest(one, other).items()
    )


def _largest(one: State, other: State) -> dict[str, float]:
    """Largest difference by tensor; NaN would vanish in a maximum, so it must not occur."""
    assert one.keys() == other.keys()
    assert all(tensor.isfinite().all() for state in (one, other) for tensor in state.values())
    return {key: (one[key].double() - other[key].double()).abs().max().item() for key in one}


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as temporary:
        folder, names = prepare(Path(temporary)), list(CASES)
        alone = run_cases(folder, names)
        everyone = [run_workers(workers, run_cases, folder, names)[0] for workers in WORKERS]
        print("| case | float64 | float32, 1 step, relative | float32, 50 steps | yardsticks |")
        print("| --- | --- | --- | --- | --- |")
        for name, one in alone.items():
            rows = [every[name] for every in everyone]
            cells = (
                [difference(one.exact, other.exact) for other in rows],
                [relative_difference(one.one_step, other.one_step) for other in rows],
                [difference(one.many_steps, other.many_steps) for other in rows],
                yardstick(folder, name, one),
            )
            text = [" / ".join(f"{value:.0e}" for value in cell) for cell in cells]
            print(f"| {name} | {' | '.join(text)} |", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
