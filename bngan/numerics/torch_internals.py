"""Private and undocumented parts of torch that the library uses.

No other module of ``bngan`` names such parts. ``tests/unit/numerics/test_torch_internals.py``
checks each of them with the installed torch. ``pyproject.toml`` bounds torch's version: raise the
bound when that test passes with the new version.
"""

import weakref
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from inspect import unwrap
from operator import getitem
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

BatchNormBase = _BatchNorm
"""Base class of ``torch.nn.BatchNorm1d/2d/3d`` and of ``torch.nn.SyncBatchNorm``."""
NormBase = _NormBase
"""Base class of ``BatchNormBase`` and of ``torch.nn.InstanceNorm1d/2d/3d``."""
_Optimizer = TypeVar("_Optimizer", bound=torch.optim.Optimizer)
_WRAPPED = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
"""Methods that optimisers inherit with a ``torch.compile`` wrapper; that of ``step`` differs."""
_OPERATORS = torch.library.Library("bngan", "FRAGMENT")  # type: ignore[no-untyped-call]
_DRAWS = torch.Tensor.normal_, torch.Tensor.uniform_


class UncheckedBatchNorm(BatchNormBase):
    """Batch norm over dimension 1, whose subclasses check the number of dimensions themselves."""

    def _check_input_dim(self, input: Tensor) -> None:
        pass


def batch_moments(values: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance ``(C,)`` of ``(n, C, ...)``, by the kernel of batch norm.

    Args:
        values: n > 0 samples.
        dtype: type of the results: float64 for float64 values, otherwise float32.
    """
    # The kernel also moves running statistics, by a momentum of 0: it needs a place for them.
    running = values.new_zeros(2, values.shape[1], dtype=dtype)
    mean, variance = torch.ops.aten.batch_norm_update_stats(values, *running, 0.0)
    return mean, variance


def batch_norm_gradients(
    gradient: Tensor, values: Tensor, weight: Tensor, mean: Tensor, inverse: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of batch norm's input, weight and bias, by the kernel of batch norm.

    The gradient of the input is that of a batch whose statistics are functions of ``values`` alone.

    Args:
        gradient: gradient of the output, ``(n, C, ...)``, n > 0.
        values: the input, ``(n, C, ...)``.
        weight: gamma, ``(C,)``.
        mean: mean that normalised the input, ``(C,)``.
        inverse: one over the standard deviation that normalised the input, ``(C,)``.
        eps: the layer's constant.
    """
    gradients: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.native_batch_norm_backward(
        gradient, values, weight, None, None, mean, inverse, True, eps, [True] * 3
    )
    return gradients


def copy_all(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    """Copy each source to its target; on a GPU few kernels do it for all of one type."""
    if targets:
        torch._foreach_copy_(list(targets), list(sources))


def divide_all(tensors: Iterable[Tensor], number: float) -> list[Tensor]:
    """Return each tensor over ``number``; on a GPU one kernel does it for all."""
    return list(torch._foreach_div(list(tensors), number))


def without_compiler(kind: type[_Optimizer]) -> type[_Optimizer]:
    """Return a subclass of an optimiser without torch's wrappers for ``torch.compile``.

    The wrappers import the compiler on the first call, only for it to leave the method alone. That
    costs a third of a worker's start-up time, and 150 MB in every process. Where torch has no such
    wrappers, the result is ``kind`` itself.

    Args:
        kind: an optimiser whose ``step`` runs without gradients, such as ``torch.optim.Adam``.
    """
    step = unwrap(kind.step)
    if step is kind.step:
        return kind
    methods: dict[str, Any] = {name: unwrap(getattr(kind, name)) for name in _WRAPPED}
    # The wrapper of ``step`` also turns gradients off.
    methods["step"] = torch.no_grad()(step)
    return cast(type[_Optimizer], type(kind.__name__, (kind,), methods))


def opaque_operator(
    schema: str, fake: Callable[..., Any]
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a function an operator of torch without a gradient: a message among workers.

    ``torch.compile`` and ``make_fx`` record the call, and a compiled program makes it. Unlike
    ``torch.library.custom_op``, the operator imports no compiler: that would cost each worker 1.1 s.

    Args:
        schema: name and types, such as ``"double(Tensor x) -> Tensor"``. Results must be new
            tensors.
        fake: returns results of the right shapes, types and strides for tensors without values.

    The operator has one more argument, ``after``, which ``recorded`` sets: the result of the
    message before. A compiler thus keeps the order of messages, which all workers must share.
    """
    extended = schema.replace(") ->", ", *, Tensor? after=None) ->")

    def ordered(call: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments, after=None: call(*arguments)

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        name = f"bngan::{schema.partition('(')[0]}"
        _OPERATORS.define(extended)  # type: ignore[no-untyped-call]
        _OPERATORS.impl(  # type: ignore[no-untyped-call]
            name, ordered(function), "CompositeExplicitAutograd"
        )
        torch.library.register_fake(name, ordered(fake), lib=_OPERATORS)
        operator: Callable[..., Any] = getattr(torch.ops.bngan, name.removeprefix("bngan::"))
        return operator

    return register


def recorded(
    function: Callable[..., dict[str, Tensor]], tensors: Sequence[Tensor]
) -> tuple[Callable[..., list[Tensor]], dict[str, Tensor]]:
    """Run ``function(*tensors)`` once, and record its operators.

    Autograd's operators are among them, and those that change tensors from outside. Numbers that
    Python reads from such tensors would be constants: reading raises ``RuntimeError``.

    Returns:
        A function of the same tensors that returns the values in a list, and compiles at its first
        call; and the values of this run.
    """
    # This import loads the compiler.
    from torch.fx.experimental.proxy_tensor import make_fx

    values: dict[str, Tensor] = {}

    def run(*tensors: Tensor) -> list[Tensor]:
        values.update(function(*tensors))
        return list(values.values())

    adam, adamw = torch.ops.aten._fused_adam_, torch.ops.aten._fused_adamw_
    kernels: dict[Any, Callable[..., Any]] = {
        adam.tensor_lr: _adam,
        adamw.tensor_lr: partial(_adam, decoupled=True),
    }
    graph = make_fx(run, decomposition_table=kernels)(*tensors)
    for node in reversed(graph.graph.nodes):
        if str(node.target).startswith("profiler."):
            graph.graph.erase_node(node)
    _order_messages(graph.graph)
    graph.recompile()
    options: dict[str, Any] = {"reorder_for_peak_memory": False}
    return torch.compile(graph, fullgraph=True, dynamic=False, options=options), values


def _order_messages(graph: torch.fx.Graph) -> None:
    """Make each message depend on the one before it."""
    last = None
    for node in list(graph.nodes):
        if not str(node.target).startswith("bngan."):
            continue
        if last is not None:
            node.update_kwarg("after", last)
        results = len(node.target._schema.returns)
        last = node if results == 1 else node.args[0]  # without a result it changes its argument
        if results > 1:
            with graph.inserting_after(node):
                last = graph.call_function(getitem, (node, 0))


def _adam(
    parameters: list[Tensor],
    gradients: list[Tensor],
    first: list[Tensor],
    second: list[Tensor],
    greatest: list[Tensor],
    steps: list[Tensor],
    *,
    lr: Tensor,
    beta1: float,
    beta2: float,
    weight_decay: float,
    eps: float,
    found_inf: Tensor,
    decoupled: bool = False,
    **others: Any,
) -> None:
    """Do what the fused kernels do, in operators that a compiler can fuse with others."""
    applied = found_inf == 0
    for parameter, gradient, m, v, step in zip(
        parameters, gradients, first, second, steps, strict=True
    ):
        start = parameter * (1 - lr * weight_decay) if decoupled else parameter
        if not decoupled and weight_decay:
            gradient = gradient + weight_decay * parameter
        moment = torch.lerp(m, gradient, 1 - beta1)
        square = v * beta2 + gradient * gradient * (1 - beta2)
        rate = lr / (1 - beta1 ** step.double())
        root = (square / (1 - beta2 ** step.double()).to(v.dtype)).sqrt()
        moved = start - rate.to(m.dtype) * moment / (root + eps)
        for target, value in ((m, moment), (v, square), (parameter, moved)):
            target.copy_(torch.where(applied, value, target))


def peak_memory(function: Callable[[], object], before: Iterable[Tensor]) -> int:
    """Return the greatest number of bytes of all tensors that exist at once in ``function()``.

    No tensor of ``function`` has values or takes memory.

    Args:
        before: tensors that exist from the start.
    """
    # This import loads a part of the compiler.
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(allow_non_fake_inputs=True), _Meter() as meter:
        meter.see(before)
        function()
    peak: int = meter.peak
    return peak


class _Meter(TorchDispatchMode):
    """Sums the sizes of all tensors that exist at the same time."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self._known = set[int]()

    def see(self, values: Iterable[Any]) -> None:
        """Count the memory of tensors that are new."""
        for storage in (v.untyped_storage() for v in values if isinstance(v, Tensor)):
            key, size = storage._cdata, storage.nbytes()
            if key not in self._known:
                self._known.add(key)
                self.live += size
                self.peak = max(self.peak, self.live)
                weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        self.see(tree_leaves(result))
        return result


class skip_initialization(TorchFunctionMode):
    """Leave tensors as they are in ``torch.nn.init`` and random draws, inside the block.

    This is for networks on the device ``meta``, whose tensors have no values: the code that draws
    such values takes seconds to import.
    """

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(function, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return args[0] if function in _DRAWS else function(*args, **kwargs)
