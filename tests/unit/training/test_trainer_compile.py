"""Steps that are programs follow the eager ones."""

import copy
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor, nn

from bngan.numerics import torch_internals
from bngan.serialization.problem import ConfigurationError
from bngan.training.config import ExecutionConfig, OptimizationConfig
from bngan.training.trainer import Trainer
from tests.unit.training.combinations import BATCH, DATA, Choice, configured, stored

_, CASES = stored()
FEW = CASES[::16]
"""Cases of which ``make test`` takes one run each; the full tier takes all."""
STEPS = 8
"""Steps of a training: each kind of step three times, of which the third runs its program."""


@pytest.fixture
def uncompiled() -> Iterator[None]:
    """Programs are the recorded operators, which nothing compiles."""

    def keep(program: nn.Module, **options: Any) -> nn.Module:
        return program

    with mock.patch.object(torch_internals.torch, "compile", keep):
        yield


def trainer(choice: Choice, compile: Any, dtype: torch.dtype = torch.float64) -> Trainer:
    model, optimization = configured(choice)
    optimization.precision = "float32"
    execution = ExecutionConfig(compile=compile)
    return Trainer(model, optimization, DATA.spec, seed=1, dtype=dtype, execution=execution)


def difference(one: Any, other: Any) -> float:
    """Greatest difference of tensors and numbers in two states."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        return max((difference(one[key], other[key]) for key in one), default=0.0)
    if isinstance(one, list | tuple):
        return max((difference(a, b) for a, b in zip(one, other, strict=True)), default=0.0)
    if isinstance(one, Tensor):
        return float((one - other).abs().max()) if one.numel() else 0.0
    return 0.0 if one == other else abs(one - other)


def compare(choice: Choice, compile: str) -> None:
    eager, program = trainer(choice, "off"), trainer(choice, compile)
    expected = eager.fit(DATA, STEPS * BATCH)
    means = program.fit(DATA, STEPS * BATCH)
    assert means.keys() == expected.keys()
    assert difference(dict(means), dict(expected)) < 1e-9
    assert difference(program.state_dict(), eager.state_dict()) < 1e-9


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("choice", FEW, ids=lambda choice: str(CASES.index(choice)))
def test_a_recorded_step_is_the_eager_step(choice: Choice) -> None:
    compare(choice, "step")


@pytest.mark.full
@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("choice", [case for case in CASES if case not in FEW])
def test_every_recorded_step_is_the_eager_step(choice: Choice) -> None:
    compare(choice, "step")


@pytest.mark.full
@pytest.mark.parametrize("compile", ["step", "networks"])
@pytest.mark.parametrize("choice", FEW, ids=lambda choice: str(CASES.index(choice)))
def test_a_compiled_step_is_the_eager_step(choice: Choice, compile: str) -> None:
    compare(choice, compile)


def small(compile: Any = "off", dtype: torch.dtype = torch.float64, **options: Any) -> Trainer:
    model, _ = configured(dict.fromkeys(CASES[0], 0))
    optimization = OptimizationConfig(batch_size=BATCH, **options)
    execution = ExecutionConfig(compile=compile)
    return Trainer(model, optimization, DATA.spec, seed=1, dtype=dtype, execution=execution)


@pytest.mark.parametrize("compile", ["step", pytest.param("networks", marks=pytest.mark.full)])
def test_a_compiled_step_in_float32_is_the_eager_step(compile: str) -> None:
    eager, program = small(dtype=torch.float32), small(compile, torch.float32)
    for each in (eager, program):
        each.fit(DATA, 2 * BATCH)
    program.load_state_dict(copy.deepcopy(eager.state_dict()))
    program.fit(DATA, 4 * BATCH)  # one step as it is, one recorded
    state = copy.deepcopy(program.state_dict())
    eager.load_state_dict(copy.deepcopy(state))
    for each in (eager, program):
        each.fit(DATA, 5 * BATCH)
    assert difference(program.state_dict(), eager.state_dict()) < 1e-5


@pytest.mark.usefixtures("uncompiled")
def test_programs_resume_and_roll_back() -> None:
    options = {"lr_schedule": "linear", "lr_decay_end": 20 * BATCH, "rollback_lr_factor": 0.5}
    eager, program = small("off", **options), small("step", **options)
    for each in (eager, program):
        each.fit(DATA, 4 * BATCH)
    states = [copy.deepcopy(each.state_dict()) for each in (eager, program)]
    assert {type(group["lr"]) for group in states[1]["optimizer_g"]["param_groups"]} == {float}
    for each, state in zip((eager, program), states, strict=True):
        each.fit(DATA, 8 * BATCH)
        each.roll_back(state)
        each.fit(DATA, 10 * BATCH)
    assert difference(program.state_dict(), eager.state_dict()) < 1e-9
    resumed = small("step", **options)
    resumed.load_state_dict(program.state_dict())
    for each in (eager, resumed):
        each.fit(DATA, 14 * BATCH)
    assert difference(resumed.state_dict(), eager.state_dict()) < 1e-9


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_a_program_leaves_all_as_it_is_after_gradients_that_are_not_finite(optimizer: str) -> None:
    program = small("step", optimizer=optimizer, weight_decay=0.1)
    program.fit(DATA, 3 * BATCH)
    parameters = [p.clone() for net in program.networks.values() for p in net.parameters()]
    moments = copy.deepcopy(program.state_dict()["optimizer_d"]["state"])
    real = torch.full((BATCH, 3, 9, 9), torch.nan, dtype=torch.float64)
    program.step(real)
    program.step(torch.zeros_like(real))
    after = [p for net in program.networks.values() for p in net.parameters()]
    assert all(map(torch.equal, parameters, after))
    assert difference(program.state_dict()["optimizer_d"]["state"], moments) == 0


def test_what_python_reads_from_a_tensor_cannot_be_recorded() -> None:
    state = torch.ones(3)

    def step(values: Tensor) -> dict[str, Tensor]:
        state.add_(1 if float(values.sum()) > 0 else 2)
        return {"state": state.clone()}

    with pytest.raises(RuntimeError, match="data-dependent control flow"):
        torch_internals.recorded(step, [torch.ones(3)])


@pytest.mark.parametrize(
    ("version", "tools", "device", "reason"),
    [
        ("2.13.0", "g++", "cpu", "compile needs torch 2.14, not 2.13.0"),
        ("2.14.1", "", "cpu", "compile needs a C++ compiler on CPUs, and there is no g++"),
        ("2.14.1", "", "cuda", None),
        ("2.14.1", "g++", "cpu", None),
    ],
)
def test_a_machine_that_cannot_compile_is_refused(
    monkeypatch: pytest.MonkeyPatch, version: str, tools: str, device: str, reason: str | None
) -> None:
    from bngan.training import config

    found: Callable[[str], str | None] = {"g++": tools or None}.get
    monkeypatch.setattr(config.shutil, "which", found)
    monkeypatch.setattr(config.torch, "__version__", torch.torch_version.TorchVersion(version))
    problem = config.execution_problem(ExecutionConfig("networks"), device)
    assert (problem and problem.message) == reason
    if device == "cpu" and reason:
        with pytest.raises(ConfigurationError, match="compile needs"):
            small("step")
    assert config.execution_problem(ExecutionConfig("step"), "cuda") is None
