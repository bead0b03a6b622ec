"""DCGAN's training step beside PyTorch's example and the bare loop, in turns."""

from dataclasses import dataclass
from functools import partial

from tests.benchmarks.gpu.library import exact_convolutions
from tests.benchmarks.gpu.session import Session, Values
from tests.benchmarks.gpu.timing import Memory, Steps, anatomy, figures, turns
from tests.benchmarks.gpu.works import dcgan_model, fitting, noise, peers, ready, repeated, trainer
from tests.benchmarks.loops import bare, example

NOTE = (
    "ours: Trainer.fit, with order, images and latents from the CPU; ours, ready: Trainer.step on "
    "batches that lie on the device, as the bare loop and the example have them; float32: ours "
    "without TF32 and with deterministic convolutions, the others as torch has it by default (TF32 "
    "in convolutions); MFU: operations by torch.utils.flop_counter, by time, by the peak named"
)


@dataclass(frozen=True)
class Setting:
    """A size of images, a batch and a precision."""

    side: int
    batch: int
    precision: str

    @property
    def name(self) -> str:
        """Return it in words."""
        return f"DCGAN {self.side}x{self.side}, batch {self.batch}, {self.precision}"


_AMPLE = 22.0
"""Seconds in which three turns and all else of a setting are done."""
SETTINGS = [
    Setting(side, batch, precision)
    for precision in ("bfloat16", "float32")
    for side, batch in ((64, 128), (64, 512), (32, 128), (64, 2048), (64, 64))
]
EXACT = {("bfloat16", 512), ("float32", 128), ("float32", 4)}
"""Where the bare loop runs once more, with convolutions that repeat their sums and no TF32."""
TINY = [Setting(16, 4, "bfloat16"), Setting(16, 4, "float32")]


def run(session: Session) -> None:
    """Make rows for each setting."""
    session.about["throughput"] = NOTE
    for setting in session.choose(SETTINGS, TINY):
        needs = 14.0 if setting.precision == "bfloat16" else 9.0
        work = partial(_rows, session, setting)
        session.attempt(setting.name, work, session.choose(needs, 0.0))


def _works(session: Session, setting: Setting) -> tuple[dict[str, Steps], dict[str, Values]]:
    """Return what takes turns, and the peak memory of each alone."""
    device, width = session.device, session.choose(64, 8)
    side, batch, precision = setting.side, setting.batch, setting.precision
    works, peaks = dict[str, Steps](), dict[str, Values]()

    def keep(name: str, work: Steps, memory: Memory) -> None:
        work(2)
        works[name], peaks[name] = work, memory.peak()

    memory = Memory(device)
    ours = trainer(dcgan_model(width), side, batch, device, precision=precision)
    keep("ours", fitting(ours, noise(side)), memory)
    if precision == "bfloat16":
        again = trainer(dcgan_model(width), side, batch, device, precision=precision)
        works["ours, ready"] = repeated(again.step, ready(side, batch, device, last=True))
    memory = Memory(device)
    step = bare(peers(side, width, device), precision)
    keep("bare loop", repeated(step, ready(side, batch, device, last=True)), memory)
    if (precision, batch) in EXACT:
        again = bare(peers(side, width, device), precision)
        steps = repeated(again, ready(side, batch, device, last=True))
        works["bare loop, convolutions as ours"] = exact_convolutions()(steps)
    if precision == "bfloat16":
        memory = Memory(device)
        step = example(peers(side, width, device))
        work = repeated(step, ready(side, batch, device, last=False))
        keep("PyTorch's example (float32)", work, memory)
    return works, peaks


def _rows(session: Session, setting: Setting) -> None:
    works, peaks = _works(session, setting)
    timings = turns(works, session, count=3 if session.left() > _AMPLE else 2)
    for name, work in works.items():
        found = figures(timings[name], setting.batch)
        if name.startswith("ours"):
            found["of the bare loop"] = timings["bare loop"].median / timings[name].median
        found |= peaks.get(name, {})
        peak = setting.precision
        if name.endswith("(float32)") or (peak == "float32" and name == "bare loop"):
            peak = "tf32"
        found |= anatomy(work, timings[name], session, peak)
        session.add(f"{setting.name}, {name}", found)
