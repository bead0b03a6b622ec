"""Send a run to a Ray cluster as a job."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from bngan.serialization.manifest import digest
from bngan.serialization.problem import Problem
from pipeline.cluster.jobs import Submission, Work, job_client, job_name, require_room, submit_work
from pipeline.cluster.working_dir import FILE, code_digest
from pipeline.config.loader import silent
from pipeline.config.parser import flatten, read
from pipeline.config.schema import Config
from pipeline.config.validation import config_errors, not_on_all_nodes
from pipeline.core.uris import REGISTERED, secrets


def submit_run(
    path: Path,
    overrides: Sequence[str],
    address: str,
    allow_mismatch: bool = False,
    tell: Callable[[str], None] = silent,
) -> Submission:
    """Have a cluster bring an experiment up to date; if it is at it, the job that does.

    ``tell`` is called with what a person should know.

    Raises:
        UserError: if nodes would not find what the configuration names, the cluster is too small, or
            does not answer.
    """
    given = read(Config, path, overrides)
    config = given.values
    for note in given.notes:
        tell(note)
    known = not (given.wrong or config.adapt.base)
    problems = config_errors(config, here=False, known=known)
    given.raise_if_invalid([*problems, *_not_for_all(config)])
    options = ("--allow-mismatch",) if allow_mismatch else ()
    identity = digest({"config": asdict(config), "code": code_digest(), "options": options})
    name = job_name(config.name, identity[:12])
    work = Work(name, path, ("run", FILE, *overrides, *options))
    with job_client(address) as client:
        require_room(address, config.train.workers, config.train.accelerator)
        return submit_work(client, work)


def _not_for_all(config: Config) -> Iterator[Problem]:
    """Yield what nodes of a cluster would not find, or everybody would see."""
    paths = {"workspace": config.workspace, "data.path": config.data.path}
    if config.extractor.weights:
        paths["extractor.weights"] = config.extractor.weights
    if config.adapt.base and not config.adapt.base.startswith(REGISTERED):
        paths["adapt.base"] = config.adapt.base
    for key, path in paths.items():
        if problem := not_on_all_nodes(key, path):
            yield problem
    yield from secrets(flatten(asdict(config)))
