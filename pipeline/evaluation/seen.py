"""Find out which images registered versions have seen."""

from collections.abc import Iterator, Mapping
from contextlib import suppress

from mlflow import MlflowClient
from mlflow.entities import Run

from pipeline.core.errors import RetryableError, UserError
from pipeline.data.digests import SeenImages
from pipeline.registry.aliases import MISSING, suppressed
from pipeline.registry.integrity import IntegrityError
from pipeline.registry.registry import OpenedModel, open_generator
from pipeline.registry.removal import uri_of
from pipeline.storage.artifacts import DIGESTS
from pipeline.storage.workspace import Workspace
from pipeline.tracking.mlflow_internals import MLFLOW_PARENT_RUN_ID
from pipeline.tracking.tracker import USES, existing_client, models, versions_of


def seen_by(storage: Workspace, model: OpenedModel) -> SeenImages | None:
    """Return the digests of the images of a version's data; None if they are not known.

    Versions of earlier code carry no digests. Those come from the prepared data that the version was
    trained on, in this workspace or in its own.

    Raises:
        IntegrityError: if the version's digests cannot be read.
    """
    file = model.reference / DIGESTS
    try:
        if file.is_file():
            return SeenImages.load(file)
        return _recovered(storage, str(model.version.run_id))
    except ValueError as error:
        raise IntegrityError(f"{uri_of(model.version)}: {error}") from error


def versions_that_saw(
    storage: Workspace, contents: Mapping[str, bytes]
) -> Iterator[tuple[str, dict[str, list[str]] | str]]:
    """Yield each version of all models, newest first, and what it has seen of some images.

    Args:
        contents: content of an image file, by a name.

    Yields:
        the version's address, and the splits in which each image is, by its name; or, in place of
        the splits, the reason why they are not known.
    """
    client = existing_client(storage.local)
    for registered in models(client):
        found = versions_of(client, registered.name)
        for version in sorted(found, key=lambda each: -int(each.version)):
            uri = uri_of(version)
            try:
                with open_generator(storage.local, uri) as model:
                    seen = seen_by(storage, model)
                    shape = model.sampler.spec.shape
            except UserError as problem:
                yield uri, str(problem)
                continue
            if seen is None:
                yield uri, "it carries no digests, and its prepared data are gone"
            else:
                splits = {name: seen.find(content, shape) for name, content in contents.items()}
                yield uri, splits


def _recovered(storage: Workspace, run_id: str) -> SeenImages | None:
    """Return the digests of the prepared data that a registration's invocation used, or None."""
    client = existing_client(storage.local)
    with suppressed(MISSING):
        stage = client.get_run(run_id)
        run = client.get_run(stage.data.tags.get(MLFLOW_PARENT_RUN_ID, run_id))
        return _of_prepared(storage, client, run)
    return None


def _of_prepared(storage: Workspace, client: MlflowClient, run: Run) -> SeenImages | None:
    name = f"stages/prepare/{run.data.tags.get(f'{USES}prepare')}"
    own = run.data.params.get("workspace")
    for place in (storage, *([Workspace(own)] if own else [])):
        with suppress(UserError, RetryableError, OSError):
            if not place.damage(name):
                fit, white = (run.data.params.get(f"data.{key}", "") for key in ("fit", "white"))
                return SeenImages.of_prepared(
                    place.path(name), fit or "crop", int(white) if white.isdigit() else None
                )
    return None
