"""Rename weights of earlier code, which called layers by their position in a flat list.

Registered generators, checkpoints and base generators of that time hold keys such as
``layers.7.residual.3.weight``. The tables here give the layers of each family's list, in order. The
list of a network had no places for layers that the network does not have.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from torch import Tensor, nn

from bngan.networks.base import Discriminator, Generator
from bngan.networks.config import ModelConfig

_Names = list[str | None]
"""Present names of the layers in an old list; None: a layer without weights, which has no name now.
``{first}`` and ``{second}`` are norm and activation, in the configured order."""


class _Layout(NamedTuple):
    """Old list: layers at its start, layers of each present block, layers at its end."""

    start: _Names
    block: _Names
    end: _Names


_PAIR: _Names = ["blocks.{i}.{first}", "blocks.{i}.{second}"]
_GENERATORS = {
    "mlp": _Layout([], ["blocks.{i}.linear", *_PAIR], ["to_image.linear", "to_image.output_norm"]),
    "dcgan": _Layout(
        ["stem.linear", None, "stem.{first}", "stem.{second}", "stem.attention"],
        ["blocks.{i}.conv", *_PAIR, "blocks.{i}.attention"],
        ["to_image.conv", "to_image.output_norm"],
    ),
    "resnet": _Layout(
        ["stem.linear", None, "stem.attention"],
        ["blocks.{i}", "blocks.{i}.attention"],
        ["to_image.{first}", "to_image.{second}", "to_image.conv", "to_image.output_norm"],
    ),
    "transformer": _Layout(
        ["stem.linear", None, "stem.position_embedding"],
        ["blocks.{i}"],
        ["to_image.norm", "to_image.linear", "to_image.output_norm"],
    ),
}
_DISCRIMINATORS = {
    "mlp": _Layout([None], ["blocks.{i}.linear", *_PAIR], []),
    "dcgan": _Layout([], ["blocks.{i}.conv", *_PAIR, "blocks.{i}.attention"], []),
    "resnet": _Layout([], ["blocks.{i}", "blocks.{i}.attention"], []),
    "transformer": _Layout(
        [None, "from_image.conv", None, None, "from_image.position_embedding"],
        ["blocks.{i}"],
        ["norm"],
    ),
}
_RESIDUAL: _Names = [
    *("{first}1", "{second}1", "upsample", "conv1"),
    *("{first}2", "{second}2", "conv2"),
]
"""Old list within each block of a residual network."""
_TRANSFORMER_BLOCK = {
    "attention.0": "norm1",
    "attention.1": "attention",
    "attention.1.inputs": "attention.qkv",
    "mlp.0": "norm2",
    "mlp.1": "mlp.hidden",
    "mlp.3": "mlp.output",
}
_MAPPING: _Names = ["mapping.blocks.{i}.linear", "mapping.blocks.{i}.norm", None]
_MODULATION = {".of_latent.0.": ".of_latent.hidden.", ".of_latent.2.": ".of_latent.output."}
_DEPTH = 5
"""Parts of the longest old name of a module, such as ``layers.1.attention.1.inputs``."""


def with_current_keys(
    state: Mapping[str, Tensor], network: nn.Module, model: ModelConfig
) -> dict[str, Tensor]:
    """Return a network's ``state`` with old keys replaced by those that ``network`` has now.

    Present keys stay. Unknown keys stay too; ``load_state_dict`` refuses them by name.

    Args:
        state: parameters and buffers by name; untrusted.
        network: the generator or discriminator that ``model`` describes, or another module.
        model: the configuration of both networks.
    """
    table = _modules(network, model)
    renamed = {_renamed(key, table): value for key, value in state.items()}
    # Two keys for one tensor: bngan never wrote this.
    return renamed if len(renamed) == len(state) else dict(state)


def _renamed(key: str, table: Mapping[str, str]) -> str:
    parts = key.split(".", _DEPTH)
    for length in range(len(parts) - 1, 0, -1):
        if module := table.get(".".join(parts[:length])):
            key = ".".join([module, *parts[length:]])
            for old, present in _MODULATION.items():
                key = key.replace(old, present)
            break
    return key


def _modules(network: nn.Module, model: ModelConfig) -> dict[str, str]:
    """Return the present names of modules by their old ones; nothing for other kinds of network."""
    if not isinstance(network, Generator | Discriminator):
        return {}
    judge = isinstance(network, Discriminator)
    config = model.discriminator if judge else model.generator
    if (layout := (_DISCRIMINATORS if judge else _GENERATORS).get(model.network)) is None:
        return {}
    present = {name for name, _ in network.named_modules()}
    pair = ["norm", "activation"]
    first, second = pair if config.norm_place == "before_activation" else pair[::-1]

    def numbered(prefix: str, names: Iterable[str | None], within: str = "") -> dict[str, str]:
        """Return present names by old ones, ``prefix.0``, ``prefix.1``, ..., of existing layers."""
        full = [name and within + name.format(first=first, second=second) for name in names]
        there = [name for name in full if name is None or name in present]
        return {f"{prefix}.{i}": name for i, name in enumerate(there) if name is not None}

    blocks = sum(name.startswith("blocks.") and name.count(".") == 1 for name in present)
    table = numbered("layers", [*layout.start, *_repeated(layout.block, blocks), *layout.end])
    for old, new in list(table.items()):
        block = new.startswith("blocks.") and new.count(".") == 1
        if block and model.network == "resnet":
            table |= numbered(f"{old}.residual", _RESIDUAL, f"{new}.residual.")
            # A generator's shortcut had a second layer, which enlarges.
            table |= {f"{old}.shortcut": f"{new}.skip", f"{old}.shortcut.0": f"{new}.skip"}
        elif block and model.network == "transformer":
            table |= {f"{old}.{k}": f"{new}.{v}" for k, v in _TRANSFORMER_BLOCK.items()}
        elif new == "to_image.linear" and model.network == "transformer":
            table[f"{old}.0"] = new  # the second layer joined patches, without weights
    if judge:
        return {**table, "output": "logit"}
    hidden = _repeated(_MAPPING, model.generator.mapping)
    return table | numbered("mapping", [*hidden, "mapping.output.linear", "mapping.output.norm"])


def _repeated(names: _Names, times: int) -> _Names:
    """Return the names of every block; ``{first}`` and ``{second}`` stay for later."""
    return [name and name.replace("{i}", str(i)) for i in range(times) for name in names]
