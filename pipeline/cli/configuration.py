"""load_config, with the base of an adaptation resolved."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from bngan.networks.config import ModelConfig
from bngan.serialization.problem import Problem
from pipeline.config.loader import Further, located, no_further, plain
from pipeline.config.parser import flatten, read
from pipeline.config.schema import Config
from pipeline.config.validation import config_errors
from pipeline.registry.base_model import load_base, opened_base, pin_base


def load_config(
    path: Path,
    overrides: Sequence[str],
    tell: Callable[[str], None],
    further: Further = no_further,
) -> Config:
    """As ``pipeline.config.load_config``; with ``adapt.base``, as the base wants it.

    The base's alias is replaced by the version that has it now, ``model`` is the base's but for the
    discriminator, and only gamma and beta are trained unless ``train.trainable`` is given.

    Args:
        path: YAML file.
        overrides: ``key=value``.
        tell: called with what a person should know.
        further: looks for more problems.

    Raises:
        UserError: with a problem for each key that is wrong, or contradicts the base.
    """
    given = read(Config, path, overrides)
    config = given.values
    for note in given.notes:
        tell(note)
    if not config.adapt.base:
        return plain(given, further)
    given.raise_if_invalid([*located(config), *config_errors(config, known=False)])
    base = config.adapt.base = pin_base(config, tell)
    with opened_base(config) as found:
        theirs = load_base(found.generator, base).model
    given.raise_if_invalid(_contradictions(config, theirs, given.keys, base))
    config.model = replace(theirs, discriminator=config.model.discriminator)
    if "train.trainable" not in given.keys:
        config.train.trainable = "affine"
    if config.adapt.method == "supervised" and config.train.trainable != "affine":
        message = "train.trainable must be affine with adapt.method=supervised"
        given.raise_if_invalid([Problem("train.trainable", message)])
    wrong = list(config_errors(config))
    given.raise_if_invalid([*wrong, *further(config, wrong)])
    return config


def _contradictions(
    config: Config, theirs: ModelConfig, given: set[str], base: str
) -> Iterator[Problem]:
    ours, known = (flatten(asdict(model), "model.") for model in (config.model, theirs))
    for key in sorted(given & set(ours)):
        if not key.startswith("model.discriminator.") and ours[key] != known[key]:
            message = f"{key}={ours[key]}, but {base} has {known[key]}: leave it out"
            yield Problem(key, message)
