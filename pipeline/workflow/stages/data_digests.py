"""Read the digests of the images that the generator of a run has seen."""

from dataclasses import replace

from pipeline.data.digests import DataDigests
from pipeline.storage.artifacts import BASE_DIGESTS, DIGESTS
from pipeline.workflow.stage import StageContext


def data_digests(context: StageContext) -> DataDigests:
    """Return the digests of a run's images, with those of the images that shaped its base.

    The stage must declare both files as inputs.
    """
    own = DataDigests.load(context.inputs["prepare"] / DIGESTS)
    if not context.config.adapt.base:
        return own
    file = context.inputs["reference"] / BASE_DIGESTS
    base = DataDigests.load(file) if file.is_file() else None
    before = base.before("test") if base and base.comparable(own) else None
    return replace(own, base=before and before.unique())
