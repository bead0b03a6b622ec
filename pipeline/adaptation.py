"""The generator that an adaptation starts from: found, pinned to a version, and what follows."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from safetensors import SafetensorError

from bngan.metrics.features import INFO
from bngan.networks import ModelConfig
from bngan.records import first_line
from bngan.sampling import DESCRIPTION, WEIGHTS, Sampler
from pipeline.config import Config, Further, located, no_further, plain
from pipeline.errors import UserError
from pipeline.reading import flatten, read
from pipeline.seal import require_trust
from pipeline.storage import Storage
from pipeline.uris import REGISTERED
from pipeline.validation import problems

_DISCRIMINATOR = "model.discriminator."


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
        further: looks for what else may be wrong.

    Raises:
        UserError: with a line for each key that is wrong, or contradicts the base.
    """
    given = read(Config, path, overrides)
    config = given.values
    if not config.adapt.base:
        return plain(given, further)
    given.refuse([*located(config), *problems(config, known=False)])
    base = config.adapt.base = _pinned(config, tell)
    with base_folders(config) as (generator, _):
        theirs = _base_of(generator, base).model
    given.refuse(_contradictions(config, theirs, given.keys, base))
    config.model = replace(theirs, discriminator=config.model.discriminator)
    if "train.trainable" not in given.keys:
        config.train.trainable = "affine"
    if config.adapt.method == "supervised" and config.train.trainable != "affine":
        given.refuse(["train.trainable must be affine with adapt.method=supervised"])
    wrong = list(problems(config))
    given.refuse([*wrong, *further(config, wrong)])
    return config


def _base_of(folder: Path, base: str) -> Sampler:
    try:
        return Sampler.load(folder)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        message = f"adapt.base: {base} is no generator of bngan's: {first_line(error)}"
        raise UserError(message) from error


@contextmanager
def base_folders(config: Config) -> Iterator[tuple[Path, Path | None]]:
    """Folders of ``adapt.base``: its generator, and what it was scored by, if it is known.

    Raises:
        UserError: if there is no such generator, or what it was scored by is not trusted.
    """
    base = str(config.adapt.base)
    if base.startswith(REGISTERED):
        from pipeline import registry  # MLflow takes seconds to import

        with registry.downloaded(Storage(config.workspace).local, base) as model:
            yield model / "generator", _trusted(model / "reference", base)
        return
    folder = Path(base)
    for name in (WEIGHTS, DESCRIPTION):
        if not (folder / name).is_file():
            raise UserError(f"adapt.base: there is no {name} in {folder}")
    yield folder, _trusted(folder, base)


def _trusted(folder: Path, base: str) -> Path | None:
    """The folder, if there is what images are scored by in it.

    Raises:
        UserError: if that may run any code, and nobody trusts it.
    """
    if not (folder / INFO).is_file():
        return None
    require_trust(folder, base)
    return folder


def base_files(config: Config) -> list[Path]:
    """Files of a base in a folder, which may change; a version does not."""
    if not config.adapt.base or config.adapt.base.startswith(REGISTERED):
        return []
    with base_folders(config) as (folder, _):
        return [file for file in sorted(folder.glob("*")) if file.is_file()]


def _pinned(config: Config, tell: Callable[[str], None]) -> str:
    """The base's address, which always means the same generator."""
    base = str(config.adapt.base)
    if not (alias := re.fullmatch(r"models:/([^/@]+)@([^/@]+)", base)):
        return base
    from pipeline import registry

    number = registry.version_of(Storage(config.workspace).local, *alias.groups())
    pinned = f"{REGISTERED}{alias[1]}/{number}"
    tell(f"{base} is {pinned}")
    return pinned


def _contradictions(
    config: Config, theirs: ModelConfig, given: set[str], base: str
) -> Iterator[str]:
    ours, known = (flatten(asdict(model), "model.") for model in (config.model, theirs))
    for key in sorted(given & set(ours)):
        if not key.startswith(_DISCRIMINATOR) and ours[key] != known[key]:
            yield f"{key}={ours[key]}, but {base} has {known[key]}: leave it out"
