"""Find the generator that an adaptation starts from, and pin it to a version."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from safetensors import SafetensorError

from bngan.generation.sampler import DESCRIPTION, WEIGHTS, Sampler
from bngan.metrics.features import INFO
from bngan.serialization.problem import first_line
from pipeline.config.schema import Config
from pipeline.core.errors import UserError
from pipeline.core.uris import REGISTERED
from pipeline.registry.integrity import require_trust
from pipeline.storage.workspace import Workspace

if TYPE_CHECKING:  # MLflow takes seconds to import
    from pipeline.registry.registry import OpenedModel


def load_base(folder: Path, base: str) -> Sampler:
    """Return the generator in ``folder``, which ``base`` names. Raises ``UserError`` if it is none."""
    try:
        return Sampler.load(folder)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        message = f"adapt.base: {base} is no generator of bngan's: {first_line(error)}"
        raise UserError(message) from error


class Base(NamedTuple):
    """Hold the generator that an adaptation starts from."""

    generator: Path
    """Folder of the generator."""
    scored_by: Path | None
    """Folder of its extractor; None if it has none."""
    model: "OpenedModel | None"
    """The registered version; None for a folder."""


@contextmanager
def opened_base(config: Config) -> Iterator[Base]:
    """Yield the generator that ``adapt.base`` names; its folders last as long as the block.

    Raises:
        UserError: if there is no such generator, or its extractor is not trusted.
    """
    base = str(config.adapt.base)
    if base.startswith(REGISTERED):
        from pipeline.registry import registry  # MLflow takes seconds to import

        with registry.open_generator(Workspace(config.workspace).local, base) as model:
            yield Base(model.generator, _trusted(model.reference, base), model)
        return
    folder = Path(base)
    for name in (WEIGHTS, DESCRIPTION):
        if not (folder / name).is_file():
            raise UserError(f"adapt.base: there is no {name} in {folder}")
    yield Base(folder, _trusted(folder, base), None)


def _trusted(folder: Path, base: str) -> Path | None:
    """Return the folder, or None if it has no extractor. Raise ``UserError`` for an untrusted one."""
    if not (folder / INFO).is_file():
        return None
    require_trust(folder, base)
    return folder


def base_files(config: Config) -> list[Path]:
    """Return the files of a base in a folder, which may change; none for a registered version."""
    if not config.adapt.base or config.adapt.base.startswith(REGISTERED):
        return []
    with opened_base(config) as base:
        return [file for file in sorted(base.generator.glob("*")) if file.is_file()]


def pin_base(config: Config, tell: Callable[[str], None]) -> str:
    """Return ``adapt.base`` with its alias replaced by the version that has it now."""
    base = str(config.adapt.base)
    if not (alias := re.fullmatch(r"models:/([^/@]+)@([^/@]+)", base)):
        return base
    from pipeline.registry import registry  # MLflow takes seconds to import

    number = registry.version_of(Workspace(config.workspace).local, *alias.groups())
    pinned = f"{REGISTERED}{alias[1]}/{number}"
    tell(f"{base} is {pinned}")
    return pinned
