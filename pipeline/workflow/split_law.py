"""Choose the law by which images are split, where the configuration leaves it open."""

from dataclasses import replace

from mlflow import MlflowClient

from bngan.data.embedded import EMBEDDED
from pipeline.config.schema import Config
from pipeline.core.errors import UserError
from pipeline.tracking.tracker import all_runs
from pipeline.workflow.fingerprint import recorded_fingerprint


def with_split_law(config: Config, client: MlflowClient) -> Config:
    """Return the configuration with ``data.split_by`` other than auto.

    Data that a workspace has split by order stays so: another law would test a champion on images
    that it was trained on. Earlier code knew no other law.

    Args:
        client: client of the store that has the workspace's runs.

    Raises:
        UserError: if the data stays split by order, and ``data.group`` is set.
    """
    data = config.data
    if data.split_by != "auto":
        return config
    by_order = data.path in EMBEDDED or _was_split_by_order(data.path, client)
    if by_order and data.group is not None:
        raise UserError(
            f"data.group: {data.path} is split by order in this workspace, which divides groups: write "
            "data.split_by=content, which splits it anew"
        )
    return replace(config, data=replace(data, split_by="order" if by_order else "content"))


def _was_split_by_order(path: str, client: MlflowClient) -> bool:
    """Return whether the newest finished preparation of the data went by order."""
    condition = "tags.stage = 'prepare' and attributes.status = 'FINISHED'"
    newest, law = 0, "content"
    for run in all_runs(client, condition):
        recorded = recorded_fingerprint(run)
        if recorded and recorded.config.get("data.path") == path and run.info.end_time >= newest:
            newest, law = run.info.end_time, recorded.config.get("data.split_by", "order")
    return law == "order"
