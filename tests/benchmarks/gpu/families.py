"""Training steps of the larger families."""

from tests.benchmarks.gpu.library import DiscriminatorConfig, GeneratorConfig, ModelConfig
from tests.benchmarks.gpu.session import Session
from tests.benchmarks.gpu.timing import Memory, anatomy, figures, turns
from tests.benchmarks.gpu.works import fitting, noise, trainer

FAMILIES = (("resnet", 64, 64, 128), ("transformer", 32, 256, 128))
"""Network, side, width and batch."""
TINY = (("resnet", 16, 8, 4), ("transformer", 16, 32, 4))


def run(session: Session) -> None:
    """Make a row for each."""
    for family in session.choose(FAMILIES, TINY):
        network, side, _, batch = family
        what = f"{network} {side}x{side}, batch {batch}, bfloat16, ours"
        session.attempt(what, lambda f=family, w=what: _row(session, w, *f), session.choose(6.0, 0))


def _row(session: Session, what: str, network: str, side: int, width: int, batch: int) -> None:
    model = ModelConfig(
        network,  # type: ignore[arg-type]
        128,
        False,
        GeneratorConfig(width),
        DiscriminatorConfig(width),
    )
    memory = Memory(session.device)
    work = fitting(trainer(model, side, batch, session.device, precision="bfloat16"), noise(side))
    work(2)
    peak = memory.peak()
    timing = turns({"ours": work}, session)["ours"]
    found = figures(timing, batch) | peak | anatomy(work, timing, session, "bfloat16")
    session.add(f"{what}, width {width}", found)
