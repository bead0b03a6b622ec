"""Read the digests of the images that the generator of a run has seen."""

from dataclasses import replace

from pipeline.data.digests import SeenImages
from pipeline.storage.artifacts import BASE_DIGESTS, DIGESTS
from pipeline.workflow.stage import StageContext


def seen_images(context: StageContext) -> SeenImages:
    """Return the digests of a run's images, with those of the images that its base was trained on.

    The stage must declare both files as inputs.
    """
    seen = SeenImages.load(context.inputs["prepare"] / DIGESTS)
    base = context.inputs["reference"] / BASE_DIGESTS
    return replace(seen, base=SeenImages.load(base).before("select")) if base.is_file() else seen
