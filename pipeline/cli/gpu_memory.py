"""The memory that training would take on a GPU, before there is one."""

from collections.abc import Sequence

from bngan.data.dataset import ImageSpec
from pipeline.config.schema import Config
from pipeline.workflow.results import Decision


def gpu_memory(config: Config, decisions: Sequence[Decision]) -> str | None:
    """Return in words the memory that a step takes on each GPU.

    None: for a training on CPUs, and for the supervised method, which has no discriminator.
    The shape of the images is that of prepared data, or of the configuration if that has it.
    """
    from pipeline.cluster.launch import local_device

    if config.adapt.method == "supervised":
        return None
    if config.train.accelerator != "gpu" and local_device(config.train.accelerator) == "cpu":
        return None
    spec = _images(config, decisions)
    if spec is None:
        return "memory of a GPU: known when the data are prepared"
    from bngan.training.memory import peak_bytes

    optimization, workers = config.train, config.train.workers[0]
    passes = optimization.images_per_pass
    bytes_ = peak_bytes(config.model, optimization, spec, workers)
    share = f"{passes} images in one pass over {workers} worker{'s'[: workers != 1]}"
    return f"memory of a GPU: a step takes about {bytes_ / 1e6:,.0f} MB on each, for {share}"


def _images(config: Config, decisions: Sequence[Decision]) -> ImageSpec | None:
    summary = next((d.summary for d in decisions if d.stage == "prepare" and d.summary), None)
    if summary:
        (height, width, channels), classes = summary["image_shape"], len(summary["classes"])
    elif config.data.size and config.data.channels:
        height, width = config.data.size
        channels, classes = config.data.channels, len(config.data.classes or ())
    else:
        return None
    if config.model.conditional and not classes:
        return None  # the classes are in the data
    return ImageSpec((channels, height, width), (1 / classes,) * classes if classes else ())
