"""Configurations that between them have every value of every choice, one choice at a time."""

from dataclasses import dataclass, field
from typing import Any, get_args, get_type_hints

from tests.benchmarks.gpu.library import (
    LOSSES,
    PENALTIES,
    DiscriminatorConfig,
    GeneratorConfig,
    ModelConfig,
    OptimizationConfig,
)

BATCH, SIDE = 8, 16


@dataclass(frozen=True)
class Case:
    """What is not as in the base: DCGAN with batch norm in both networks, and no penalty."""

    name: str
    generator: dict[str, Any] = field(default_factory=dict)
    discriminator: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    steps: int = 1

    def configured(self, precision: str) -> tuple[ModelConfig, OptimizationConfig]:
        """Return the networks and their training, of tiny sizes."""
        model: dict[str, Any] = {"network": "dcgan", "latent_dim": 8} | self.model
        size = {"width": 32, "depth": 2} if model["network"] == "transformer" else {"width": 8}
        generator = GeneratorConfig(**size | self.generator)
        discriminator = DiscriminatorConfig(**size | {"norm": "batch"} | self.discriminator)
        training = {"batch_size": BATCH, "lr": 0.1, "precision": precision} | self.training
        networks = {"generator": generator, "discriminator": discriminator}
        return ModelConfig(**model, **networks), OptimizationConfig(**training)


def _choices(kind: type, key: str) -> list[Any]:
    """Return the values that a setting may have."""
    return list(get_args(get_type_hints(kind)[key]))


def _both(name: str, **values: Any) -> Case:
    return Case(name, dict(values), dict(values))


def _networks() -> list[Case]:
    """Every family, norm, activation, weight norm and start."""
    found = [Case(f"network {n}", model={"network": n}) for n in _choices(ModelConfig, "network")]
    found += [
        Case(
            f"{network}, norm {norm} in both", {"norm": norm}, {"norm": norm}, {"network": network}
        )
        for network in ("resnet", "transformer")
        for norm in ("layer", "group", "none")
    ]
    for norm in _choices(GeneratorConfig, "norm"):
        found.append(Case(f"generator norm {norm}", {"norm": norm}))
    for norm in _choices(DiscriminatorConfig, "norm"):
        found.append(Case(f"discriminator norm {norm}", {}, {"norm": norm}))
    for key in ("activation", "weight_norm", "initialization", "norm_place"):
        found += [
            _both(f"{key} {value}", **{key: value}) for value in _choices(GeneratorConfig, key)
        ]
    return found


def _details() -> list[Case]:
    """What else there is about the networks."""
    mapped = {"norm": "self_modulated_batch", "mapping": 1}
    classes = {"conditional": True}
    return [
        _both("attention at 8 pixels", attention=[8]),
        Case("output_norm", {"output_norm": True}),
        Case("output_activation none", {"output_activation": "none"}),
        Case("mapping", mapped),
        Case("norm_first", {}, {"norm_first": True}),
        Case("batch_statistics joint", {}, {"batch_statistics": "joint"}),
        Case("conditional", model=classes),
        Case("conditional, self-modulated", {"norm": "self_modulated_batch"}, model=classes),
        Case("conditional, layer norm", {"norm": "layer"}, model=classes),
    ]


def _training() -> list[Case]:
    """Every loss and penalty, and what else shapes a step."""
    found = [Case(f"loss {name}", training={"loss": name}) for name in LOSSES]
    found += [Case(f"penalty {name}", training={"penalty": name}) for name in ("none", *PENALTIES)]
    others: dict[str, dict[str, Any]] = {
        "norm_batch 4": {"norm_batch": 4},
        "micro_batch 4": {"norm_batch": 4, "micro_batch": 4},
        "label_smoothing": {"label_smoothing": 0.1},
        "augment": {"augment": ["translation", "cutout", "color"]},
        "trainable affine": {"trainable": "affine"},
        "adamw, weight decay": {"optimizer": "adamw", "weight_decay": 0.01},
    }
    found += [Case(name, training=values) for name, values in others.items()]
    return [*found, Case("discriminator_steps 2", training={"discriminator_steps": 2}, steps=2)]


def _different(cases: list[Case]) -> list[Case]:
    """Leave out what is configured as one before it is: every choice has the base's value."""
    found: dict[str, Case] = {}
    for case in cases:
        found.setdefault(repr(case.configured("float32")), case)
    return list(found.values())


CASES = _different([*_networks(), *_details(), *_training()])
