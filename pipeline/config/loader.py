"""Load a configuration: read the file, check the values, make the paths absolute."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

from omegaconf import OmegaConf

from bngan.data import embedded
from bngan.data.sources import is_symbolic
from pipeline.config.parser import ParsedConfig, read
from pipeline.config.schema import Config
from pipeline.config.validation import not_everywhere, problems
from pipeline.core.environment import inside_a_job
from pipeline.core.errors import UserError
from pipeline.core.uris import REGISTERED, absolute_workspace, is_uri


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file and ``key=value`` overrides, with every path made absolute.

    Raises:
        UserError: with a line for each key that is unknown, missing or wrong, as a base is here.
    """
    return plain(read(Config, path, overrides))


Further = Callable[[Config, Sequence[str]], Iterable[str]]
"""What else is wrong with an experiment, but for what is told already."""


def no_further(config: Config, told: Sequence[str]) -> Iterable[str]:
    """Nothing."""
    return ()


def plain(given: ParsedConfig[Config], further: Further = no_further) -> Config:
    """What is given, as ``load_config`` does, with ``further`` looks at it."""
    config, wrong = given.values, located(given.values)
    if config.adapt.base:
        wrong.append("adapt.base: only bngan adapt, run, plan, check and submit take a base")
    wrong += problems(config, known=not given.wrong)
    given.refuse([*wrong, *further(config, [*given.wrong.values(), *wrong])])
    return config


def located(config: Config) -> list[str]:
    """Make every path absolute; what is wrong with where the workspace is."""
    data, base = config.data, config.adapt.base
    if not (is_symbolic(data.path) or is_uri(data.path) or data.path.startswith(embedded.PREFIX)):
        data.path = str(Path(data.path).expanduser().absolute())
    if weights := config.extractor.weights:
        config.extractor.weights = str(Path(weights).expanduser().absolute())
    if base and not base.startswith(REGISTERED) and not is_uri(base):
        config.adapt.base = str(Path(base).expanduser().absolute())
    return located_workspace(config)


class InWorkspace(Protocol):
    """What a file says that names a workspace: an experiment, a study or a schedule."""

    workspace: str


def located_workspace(settings: InWorkspace) -> list[str]:
    """Make a workspace absolute, from wherever it is looked for; what is wrong with where it is.

    A relative one in a Ray job would go with the cluster's session.
    """
    if inside_a_job() and (problem := not_everywhere("workspace", settings.workspace)):
        return [problem]
    try:
        settings.workspace = absolute_workspace(settings.workspace)
    except UserError as error:
        return [str(error)]
    return []


def to_yaml(config: Config) -> str:
    """The complete configuration as YAML."""
    return OmegaConf.to_yaml(OmegaConf.create(asdict(config)))
