"""Convert raw images, and assign each to the split that it is prepared for."""

import shutil
import warnings
from collections.abc import Mapping
from functools import partial

import numpy as np

from bngan.data.dataset import Split
from bngan.data.split_names import SourceSplit
from pipeline.config.schema import FEWEST, DataConfig
from pipeline.core.errors import UserError
from pipeline.data.conversion import ImagePool, PixelFormat, convert_images, image_shape
from pipeline.data.groups import (
    Groups,
    described_groups,
    few_groups,
    group_keys,
    group_names,
    require_groups,
    share_warnings,
    shared_groups,
)
from pipeline.data.raw import RawImages
from pipeline.data.splits import (
    Shares,
    by_content,
    by_order,
    content_key,
    joined_keys,
    permutation,
)
from pipeline.data.volume import array_bytes, described_volume, size_problem
from pipeline.workflow.stage import StageContext

Orders = dict[Split, np.ndarray]
"""Images of each prepared split in their order, as indices of their source."""


def converted(context: StageContext, raw: RawImages) -> tuple[Orders, dict[SourceSplit, ImagePool]]:
    """Convert all images that may be used, and divide those that can be used into splits.

    Returns:
        the splits, and the converted images by split of the data.

    Raises:
        UserError: if a split would have too few images, ``data.group`` finds no groups, or the
            arrays would have no room.
    """
    data = context.config.data
    candidates = raw.candidates(labelled=data.classes is not None)
    for split, chosen in candidates.items():
        require_enough(data, split, len(chosen))
    groups = _groups(context, raw, candidates)
    orders = _limited(data, _by_order(data, raw, candidates)) if data.split_by == "order" else {}
    if orders:
        candidates = {
            each: np.unique(
                np.concatenate([o for s, o in orders.items() if raw.source_of(s) == each])
            )
            for each in candidates
        }
    first = orders.get("train", _shuffled(data, candidates["train"]))
    wanted = PixelFormat(data.size, data.channels, data.fit, data.white)
    shape = image_shape(raw.sources["train"], first, wanted, data.path)
    _require_room(context, shape, candidates)
    pools = {
        split: ImagePool(context.output / f"{split}.pool", raw.sources[split], chosen, shape)
        for split, chosen in candidates.items()
    }
    total = sum(len(pool.chosen) for pool in pools.values())
    with warnings.catch_warnings(action="ignore"):  # Pillow's, about odd files
        key = None if orders else partial(content_key, data.split_seed)
        for done, _ in enumerate(convert_images(pools.values(), wanted, key), 1):
            if done % 500 == 0:
                unusable = sum(len(pool.skipped) for pool in pools.values())
                context.events.progress(done, total, f"{unusable} skipped")
    if not orders:
        own = _own_keys(pools["train"]) if groups else None
        orders = _limited(data, _by_content(context, raw, pools, groups), own)
    return {
        split: order[np.isin(order, pools[raw.source_of(split)].used)]
        for split, order in orders.items()
    }, pools


def _shuffled(data: DataConfig, chosen: np.ndarray) -> np.ndarray:
    return np.asarray(chosen[permutation(data.split_seed, len(chosen))])


def _by_order(
    data: DataConfig, raw: RawImages, candidates: Mapping[SourceSplit, np.ndarray]
) -> Orders:
    """Return splits by one permutation of all images; ``data.classes`` moves no image."""
    count = len(raw.sources["train"])
    orders = by_order(data.split_seed, count, *data.held_out(count, raw.test is not None))
    if raw.test:
        orders["test"] = permutation(data.split_seed, len(raw.sources[raw.test]), part=1)
    return {
        split: order[np.isin(order, candidates[raw.source_of(split)])]
        for split, order in orders.items()
    }


def _groups(
    context: StageContext, raw: RawImages, candidates: Mapping[SourceSplit, np.ndarray]
) -> dict[SourceSplit, np.ndarray]:
    """Return the group of each image, by split of the data; empty if ``data.group`` is not set."""
    rule, found = context.config.data.group, dict[SourceSplit, np.ndarray]()
    if rule is None:
        return found
    names = {split: group_names(raw.sources[split].groups or []) for split in candidates}
    used: dict[SourceSplit, Groups] = {
        split: [names[split][i] for i in chosen] for split, chosen in candidates.items()
    }
    require_groups(rule, used["train"], 2 if raw.test else 3)
    context.events.message(described_groups(rule, used["train"]))
    if raw.test and (shared := shared_groups(used["train"], used[raw.test])):
        context.events.message(shared)
    return {split: np.array(each, object) for split, each in names.items()}


def _by_content(
    context: StageContext,
    raw: RawImages,
    pools: Mapping[SourceSplit, ImagePool],
    groups: Mapping[SourceSplit, np.ndarray],
) -> Orders:
    """Return splits by the keys of the images, or of the groups that they are in."""
    data, keys = context.config.data, dict[SourceSplit, np.ndarray]()
    for split, pool in pools.items():
        own, together = np.array(pool.keys, np.uint64), [np.array(pool.decoded, np.uint64)]
        if groups:
            own, numbers = group_keys(data.split_seed, own, groups[split][pool.used].tolist())
            together.append(numbers)
        keys[split] = joined_keys(own, *together)
    shares = Shares(data.select, 0 if raw.test else data.test, FEWEST)
    places = by_content(keys["train"], shares)
    for warning in share_warnings(shares, places, keys["train"]) if groups else ():
        context.events.message(warning)
    if raw.test:
        places["test"] = np.argsort(keys[raw.test], kind="stable")
    if groups and (warning := few_groups(keys[raw.source_of("test")][places["test"]])):
        context.events.message(warning)
    return {
        split: np.array(pools[raw.source_of(split)].used, np.int64)[chosen]
        for split, chosen in places.items()
    }


def _own_keys(pool: ImagePool) -> dict[int, int]:
    """Return the key of each image's content, by the image's index in its source."""
    return dict(zip(pool.used, pool.keys, strict=True))


def _limited(data: DataConfig, orders: Orders, own_keys: Mapping[int, int] | None = None) -> Orders:
    """Return the orders with ``data.limit`` images to train on, the first ones.

    With ``own_keys`` those of the smallest keys are kept, in their order: images of a group are
    neighbours, and the first ones are few groups.

    Raises:
        UserError: if a split has too few images.
    """
    if data.limit is not None:
        kept = orders["train"]
        if own_keys is not None:
            ranks = np.argsort(np.argsort([own_keys[index] for index in kept.tolist()]))
            kept = kept[ranks < data.limit]
        kept = kept[: data.limit]
        if len(kept) < data.limit:
            raise UserError(
                f"data.limit: {data.limit} images, and there are {len(kept)} to train on"
            )
        orders = {**orders, "train": kept}
    for split, order in orders.items():
        require_enough(data, split, len(order))
    return orders


def require_enough(data: DataConfig, split: str, count: int) -> None:
    """Raise ``UserError`` if a split would have too few images to be worked with."""
    if count < FEWEST:
        raise UserError(
            f"data.path: {count} images are left for the {split} split of {data.path}, and fewer "
            f"than {FEWEST} cannot be worked with"
        )


def _require_room(
    context: StageContext,
    shape: tuple[int, int, int],
    candidates: Mapping[SourceSplit, np.ndarray],
) -> None:
    """Raise ``UserError`` if the arrays are larger than was asked for, or than the disk has room.

    Each image is there twice for a while.
    """
    counts = {split: len(chosen) for split, chosen in candidates.items()}
    if problem := size_problem(shape, counts, context.config.data.max_image_size):
        raise UserError(problem)
    free = shutil.disk_usage(context.output).free
    largest = (*shape[:2], context.config.data.channels or 3)  # one coloured image makes all RGB
    if free < 2 * array_bytes(largest, counts):
        raise UserError(
            f"workspace: {free / 1e9:,.2f} GB are free at {context.output}, and twice as much is "
            f"needed as what follows: {described_volume(largest, counts)}"
        )
