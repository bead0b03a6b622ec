"""Find out which images registered versions have seen."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion

from bngan.data.dataset import ImageShape
from pipeline.core.errors import RetryableError, UserError
from pipeline.data.digests import DataDigests, ImageDigests
from pipeline.registry.changes import MISSING, suppressed
from pipeline.registry.integrity import IntegrityError
from pipeline.registry.registry import OpenedModel, open_generator
from pipeline.registry.removal import uri_of
from pipeline.storage.artifacts import DIGESTS
from pipeline.storage.workspace import Workspace
from pipeline.tracking.mlflow_internals import MLFLOW_PARENT_RUN_ID
from pipeline.tracking.tracker import USES, existing_client, models, versions_of

Seen = dict[str, list[str]]
"""Names of the splits that have an image, by the name of the image."""


def digests_of(storage: Workspace, model: OpenedModel) -> DataDigests | None:
    """Return the digests of the images of a version's data; None if they are not known.

    Versions of earlier code carry no digests. Those come from the prepared data that the version was
    trained on, in this workspace or in its own.

    Raises:
        IntegrityError: if the version's digests cannot be read.
    """
    file = model.reference / DIGESTS
    try:
        if file.is_file():
            return DataDigests.load(file)
        return _recovered(storage, str(model.version.run_id))
    except ValueError as error:
        raise IntegrityError(f"{uri_of(model.version)}: {error}") from error


def versions_that_saw(
    storage: Workspace, names: list[str], read: Callable[[str], bytes]
) -> Iterator[tuple[str, Seen | str, bool]]:
    """Yield each version of all models, newest first, and what it has seen of some images.

    Args:
        storage: the workspace.
        names: names of the images.
        read: returns the content of an image's file by its name.

    Yields:
        the version's address; the splits in which each image is, or the reason why they are not
        known; and whether the images that shaped its base are known.
    """
    prepared = dict[tuple[ImageShape, str, int | None], ImageDigests]()
    for version in _versions(storage):
        uri = uri_of(version)
        try:
            with open_generator(storage.local, uri) as model:
                digests, shape = digests_of(storage, model), model.sampler.spec.shape
        except UserError as problem:
            yield uri, str(problem), True
            continue
        if digests is None:
            yield uri, "it carries no digests, and its prepared data are gone", True
            continue
        form = shape, digests.fit, digests.white
        if form not in prepared:  # most versions of a model have one form
            images = (digests.prepared(read(name), shape) for name in names)
            prepared[form] = ImageDigests.join(images)
        places = digests.places(prepared[form])
        yield uri, dict(zip(names, places, strict=True)), digests.base is not None


def _versions(storage: Workspace) -> Iterator[ModelVersion]:
    client = existing_client(storage.local)
    for registered in models(client):
        found = versions_of(client, registered.name)
        yield from sorted(found, key=lambda each: -int(each.version))


def prepared_of(storage: Workspace, model: OpenedModel) -> Path | None:
    """Return the folder of the prepared data that a version was trained on; None if it is gone.

    It is looked for in this workspace, and in that of the version.
    """
    run = _invocation(storage, str(model.version.run_id))
    return _prepared(storage, run) if run else None


def _recovered(storage: Workspace, run_id: str) -> DataDigests | None:
    """Return the digests of the prepared data that a registration's invocation used, or None."""
    run = _invocation(storage, run_id)
    folder = _prepared(storage, run) if run else None
    if run is None or folder is None:
        return None
    params: Mapping[str, str] = run.data.params
    white = params.get("data.white", "")
    with suppress(OSError):
        return DataDigests.of_arrays(
            folder,
            params.get("data.fit", "crop"),
            int(white) if white.isdigit() else None,
            params.get("adapt.base", "None") != "None",
        )
    return None


def _invocation(storage: Workspace, run_id: str) -> Run | None:
    """Return the run that a registration's run belongs to; None if it is gone."""
    client = existing_client(storage.local)
    with suppressed(MISSING):
        stage = client.get_run(run_id)
        return client.get_run(stage.data.tags.get(MLFLOW_PARENT_RUN_ID, run_id))
    return None


def _prepared(storage: Workspace, run: Run) -> Path | None:
    name = f"stages/prepare/{run.data.tags.get(f'{USES}prepare')}"
    own = run.data.params.get("workspace")
    for place in (storage, *([Workspace(own)] if own else [])):
        with suppress(UserError, RetryableError, OSError):
            if not place.damage(name):
                return place.path(name)
    return None
