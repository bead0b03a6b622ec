"""The five stages, in order."""

from pipeline.stage import Stage
from pipeline.stages import evaluate, prepare, reference, register, train

STAGES: tuple[Stage, ...] = (
    prepare.STAGE,
    reference.STAGE,
    train.STAGE,
    evaluate.STAGE,
    register.STAGE,
)
