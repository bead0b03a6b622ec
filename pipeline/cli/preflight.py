"""Look for what would stop a run and is not in its configuration, before anything is begun.

Nothing is written, and no cluster is asked: a cluster says itself what it lacks.
"""

import itertools
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from bngan.data.dataset import ImageSpec
from bngan.data.folder import nearest_existing_parent
from bngan.diagnostics import checks
from bngan.serialization.problem import Problem
from bngan.training.config import execution_problem
from pipeline.cli.configuration import load_config
from pipeline.cli.image_checks import (
    ImageFolder,
    array_bytes_of,
    describe_images,
    too_few_images,
    too_large_images,
)
from pipeline.cluster.address import require_cluster, socket_folder_problem
from pipeline.config.parser import top_level_keys
from pipeline.config.schema import Config
from pipeline.core.environment import cluster_address
from pipeline.core.errors import UserError
from pipeline.monitoring.schedule import load_schedule
from pipeline.storage.permissions import access_problem
from pipeline.storage.workspace import Workspace

_ROOM = 100_000_000
"""Bytes that a small experiment wants: MLflow's database, pictures, reports."""
_COPIES = 4
"""Checkpoints that lie there at once: the last ones, the healthy one, and one being written."""
_NUMBERS = 20
"""Bytes of a checkpoint for each parameter: weights, their average, Adam's two moments, and buffers."""


def obstacles(config: Config, known: Sequence[Problem] = ()) -> Iterator[Problem]:
    """Yield what would stop a run; a look at values that ``known`` calls wrong says nothing."""
    wrong, folder = {problem.key for problem in known}, ImageFolder(config)
    sizes = ("data.image_size", "data.max_image_size", "data.channels", "model")
    for keys, look in (
        (("data.path", "data.select", "data.test", "data.group"), partial(too_few_images, folder)),
        (sizes, partial(too_large_images, folder)),
        (("train.num_workers", "train.accelerator"), partial(_workers, config)),
        (("train.compile", "train.accelerator"), partial(_compiler, config)),
        (("workspace",), partial(_workspace, config)),
        (("workspace", "model", "data.image_size", "data.channels"), partial(_room, folder)),
    ):
        if not any(key == seen or key.startswith(f"{seen}.") for key in wrong for seen in keys):
            yield from look()


def all_problems(path: Path, overrides: Sequence[str], tell: Callable[[str], None]) -> str:
    """Look at the file of an experiment, a study or a schedule, and return which of them it is.

    Raises:
        UserError: with all that is wrong.
    """
    keys = top_level_keys(path)
    if "cron" in keys:
        if overrides:
            raise UserError("a schedule's values are not replaced on the command line")
        load_schedule(path)
        return "schedule"
    if "arms" in keys:
        _look_at_study(path, overrides, tell)
        return "study"

    def further(config: Config, known: Sequence[Problem]) -> Iterator[Problem]:
        yield from obstacles(config, known)
        yield from _store(config)

    for line in describe_images(load_config(path, overrides, tell, further)):
        tell(line)
    return "experiment"


def _look_at_study(path: Path, overrides: Sequence[str], tell: Callable[[str], None]) -> None:
    """Look at the settings of every arm on every task, at every point."""
    from pipeline.studies.design import load_study, points, task_name, trial
    from pipeline.studies.trial import settings

    study, wrong = load_study(path, overrides, tell), dict[Problem, None]()
    for task, arm, point in itertools.product(study.tasks, study.arms, points(study)):
        try:
            settings(trial(study, task, arm, point, 0, tuning=False))
        except UserError as error:
            for p in error.problems:
                wrong[p._replace(message=f"{arm} on {task_name(task)}: {p.message}")] = None
    if wrong:
        raise UserError(*wrong)


def _workers(config: Config) -> Iterator[Problem]:
    from pipeline.cluster.launch import cores, local_device, missing_workers, resolve_workers

    if cluster_address():
        return
    accelerator, gpus = config.train.accelerator, 0
    if local_device(accelerator) == "cuda":
        import torch

        gpus = torch.cuda.device_count()
    have = {"CPU": float(cores()), "GPU": float(gpus)}
    (least, _), use_gpu = resolve_workers(have, config.train.workers, accelerator)
    lacking = missing_workers(have, least, use_gpu, "this machine")
    for key, message in (("train.num_workers", lacking), ("", socket_folder_problem())):
        if message and _training_progress(config) != "finished":
            yield Problem(key, message)


def require_ray(config: Config) -> None:
    """Check that the cluster at RAY_ADDRESS answers, unless the training is finished.

    Raises:
        UserError: like ``require_cluster``.
    """
    try:
        require_cluster()
    except UserError:
        if _training_progress(config) != "finished":
            raise


def _compiler(config: Config) -> Iterator[Problem]:
    from pipeline.cluster.launch import local_device

    if cluster_address():
        return
    if problem := execution_problem(config.train, local_device(config.train.accelerator)):
        yield problem.within("train")


def _workspace(config: Config) -> Iterator[Problem]:
    if problem := access_problem(Workspace(config.workspace).local):
        yield Problem("workspace", f"workspace: {problem}")


def _room(folder: ImageFolder) -> Iterator[Problem]:
    config = folder.config
    there = nearest_existing_parent(Workspace(config.workspace).local)
    arrays, checkpoints = array_bytes_of(folder), _checkpoints(config)
    free, needed = shutil.disk_usage(there).free, _ROOM + arrays + checkpoints
    if free < needed:  # what is there already has its place
        from pipeline.workflow.progress import is_prepared

        arrays *= not is_prepared(config)
        needed = _ROOM + arrays + checkpoints * (_training_progress(config) == "not begun")
    if free < needed:
        message = (
            f"workspace: {free / 1e6:,.0f} MB are free at {there}, and "
            f"{'prepared images, ' if arrays else ''}checkpoints and reports take "
            f"{needed / 1e6:,.0f} MB"
        )
        yield Problem("workspace", message)


def _training_progress(config: Config) -> str:
    """Return how far the training has come. The imports take seconds, so ask only about a problem."""
    from pipeline.workflow.progress import training_progress

    return training_progress(config)


def _checkpoints(config: Config) -> int:
    """Return the checkpoints' bytes, as far as they are known before the images are."""
    height, width = config.data.size or (32, 32)
    images = ImageSpec((config.data.channels or 3, height, width), (0.5, 0.5))
    try:
        return _COPIES * _NUMBERS * checks.parameters(config.model, images)
    except ValueError:  # of other images: prepare will know
        return 0


def _store(config: Config) -> Iterator[Problem]:
    """Yield what is wrong with MLflow's server or database."""
    from pipeline.tracking.server import require_store
    from pipeline.tracking.tracker import tracking_uri

    try:
        require_store(tracking_uri(Workspace(config.workspace).local), writes=True)
    except UserError as error:
        yield from error.problems
