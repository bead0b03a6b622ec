"""A training's course: what it is known by, whether a run may go on with it, whether it is over."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from bngan.diagnostics.collapse import out_of_patience
from bngan.serialization.manifest import digest
from bngan.training.config import SHAPING
from pipeline.config.schema import Config
from pipeline.core.errors import UserError
from pipeline.storage.checkpoints import Checkpoints
from pipeline.workflow.fingerprint import Fingerprint
from pipeline.workflow.stage import StageContext

ORIGIN = "origin.json"
"""File, beside the checkpoints, of what made them."""


def trajectory(context: StageContext) -> str:
    """Name of the training: what shapes its course, so that it is found again whatever else changes.

    How far it goes, how often it is scored and on how many workers belong to the same course. Code and
    versions are compared instead (``_origins``).
    """
    config = context.config
    adapt = {"adapt": asdict(replace(config.adapt, base=None))} if config.adapt.base else {}
    shape = {
        "seed": config.seed,
        "flip": config.data.flip,
        "model": asdict(config.model),
        "train": {key: getattr(config.train, key) for key in SHAPING},
        "inputs": context.input_digests,
        **adapt,
    }
    return f"{config.name}-{digest(shape)[:16]}"


def origins(
    context: StageContext, store: Checkpoints, code: dict[str, str], begun: bool
) -> list[dict[str, Any]]:
    """What made this training so far, and what goes on with it now, if that is another.

    ``code``: of the stage, as a fingerprint has it.

    Raises:
        UserError: if it is another and nobody said that it may be.
    """
    name, now = f"{store.name}/{ORIGIN}", Fingerprint(code, {}, dict(context.input_digests))
    if not begun:
        return [asdict(now)]
    try:
        known: list[dict[str, Any]] = json.loads(context.storage.read(name))
        difference = now.difference(Fingerprint(**known[-1]))
    except (OSError, ValueError, TypeError, LookupError):
        known, difference = [], f"there is no record of it at {name}"
    if not difference:
        return known
    if not context.allow_mismatch:
        raise UserError(
            f"the training in {store.where} was made differently: {difference}. --allow-mismatch goes "
            "on with it all the same; to begin anew give it another seed, or delete that folder"
        )
    context.events.message(f"goes on although {difference}")
    return [*known, asdict(now)]


def refuse_to_go_back(where: str, state: Mapping[str, Any] | None, config: Config) -> None:
    """A training that has gone further than asked for cannot be taken back."""
    if state is None:
        return
    seen, history = state["trainer"]["images_seen"], state["progress"]["history"]
    hint = f"to have it end earlier give it another seed, or delete {where}"
    if seen > config.train.images + config.train.batch_size:
        raise UserError(f"train.images: this training has seen {seen:,} images already; {hint}")
    limit = out_of_patience(history, config.train.patience)
    if limit is not None and limit < len(history):
        images = history[limit - 1]["images"]
        raise UserError(
            f"train.patience: this training went on after {images:,.0f} images, where "
            f"{config.train.patience} scores had brought nothing better; {hint}"
        )


def ended(config: Config, state: Mapping[str, Any]) -> str | None:
    """Why a training with this state is at its end, in words; None if it is not."""
    seen = state["trainer"]["images_seen"]
    if seen >= config.train.images:
        return f"{seen:,} images seen"
    patience = config.train.patience
    if out_of_patience(state["progress"]["history"], patience) is None:
        return None
    return f"no better score in {patience} after {seen:,} images (train.patience)"
