"""Load a configuration: read the file, check the values, make the paths absolute."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

from omegaconf import OmegaConf

from bngan.data.sources import is_symbolic
from bngan.serialization.problem import Problem
from pipeline.config.parser import ParsedConfig, read
from pipeline.config.schema import Config
from pipeline.config.validation import config_errors, not_on_all_nodes
from pipeline.core.environment import inside_a_job
from pipeline.core.errors import UserError
from pipeline.core.uris import REGISTERED, absolute_workspace, is_uri


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file and ``key=value`` overrides, with every path made absolute.

    Raises:
        UserError: with a problem for each key that is unknown, missing or wrong, and for a base.
    """
    return plain(read(Config, path, overrides))


def silent(note: str) -> None:
    """Ignore a note."""


Further = Callable[[Config, Sequence[Problem]], Iterable[Problem]]
"""Function from a configuration and its known problems to further problems."""


def no_further(config: Config, known: Sequence[Problem]) -> Iterable[Problem]:
    """Return no problems."""
    return ()


def plain(given: ParsedConfig[Config], further: Further = no_further) -> Config:
    """Check a parsed configuration like ``load_config``, with ``further`` checks, and return it."""
    config, wrong = given.values, located(given.values)
    if config.adapt.base:
        message = "adapt.base: only bngan adapt, run, plan, check and submit take a base"
        wrong.append(Problem("adapt.base", message))
    wrong += config_errors(config, known=not given.wrong)
    given.raise_if_invalid([*wrong, *further(config, [*given.wrong.values(), *wrong])])
    return config


def located(config: Config) -> list[Problem]:
    """Make every path absolute; return the problems of the workspace's place."""
    data, base = config.data, config.adapt.base
    if not (is_symbolic(data.path) or is_uri(data.path)):
        data.path = str(Path(data.path).expanduser().absolute())
    if weights := config.extractor.weights:
        config.extractor.weights = str(Path(weights).expanduser().absolute())
    if base and not base.startswith(REGISTERED) and not is_uri(base):
        config.adapt.base = str(Path(base).expanduser().absolute())
    return located_workspace(config)


class InWorkspace(Protocol):
    """Settings with a workspace: those of an experiment, a study or a schedule."""

    workspace: str


def located_workspace(settings: InWorkspace) -> list[Problem]:
    """Make the path of a workspace absolute, and return its problems.

    A relative path is a problem in a Ray job: the folder would vanish with the cluster's session.
    """
    if inside_a_job() and (problem := not_on_all_nodes("workspace", settings.workspace)):
        return [problem]
    try:
        settings.workspace = absolute_workspace(settings.workspace)
    except UserError as error:
        return error.problems
    return []


def to_yaml(config: Config) -> str:
    """Return the complete configuration as YAML."""
    return OmegaConf.to_yaml(OmegaConf.create(asdict(config)))
