"""Plots of a training's course, in a grey that is readable on white and on black."""

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bngan.data.class_names import short_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_PANELS: dict[str, tuple[str, dict[str, str]]] = {
    "losses.png": ("Losses", {"loss_d": "discriminator", "loss_g": "generator"}),
    "logits.png": ("Mean logits", {"logit_real": "real", "logit_fake": "generated"}),
    "fid.png": ("FID on the select split", {"fid_select": "averaged generator"}),
    "gradients.png": (
        "Gradient norms",
        {"gradient_norm_d": "discriminator", "gradient_norm_g": "generator"},
    ),
}
_LOGARITHMIC = ("fid.png", "gradients.png")
GREY = "#808080"
_COLOURS = ("#3b82f6", "#e0852b")


def training_curves(history: Sequence[dict[str, float]]) -> dict[str, bytes]:
    """Return PNGs by name: losses, logits, scores and gradient norms over images seen."""
    from matplotlib.ticker import EngFormatter, ScalarFormatter

    pictures = {}
    for name, (title, lines) in _PANELS.items():
        if not any(key in point for point in history for key in lines):
            continue  # a training without a discriminator has no logits
        axes, finish = figure(title, "images seen")
        for (key, label), colour in zip(lines.items(), _COLOURS, strict=False):
            points = [(point["images"], point[key]) for point in history if key in point]
            if points:
                marker = "." if len(points) < 20 else ""
                axes.plot(*zip(*points, strict=True), label=label, marker=marker, color=colour)
        if name in _LOGARITHMIC:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(ScalarFormatter())
            axes.yaxis.set_minor_formatter(ScalarFormatter())
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.legend(frameon=False, labelcolor=GREY)
        pictures[name] = finish()
    return pictures


def gamma_histogram(gammas: Mapping[str, np.ndarray]) -> bytes:
    """Return a PNG with a histogram of the scales of every batch norm."""
    axes, finish = figure("Batch-norm scales of the generator", "gamma")
    low, high = (f(float(f(values)) for values in gammas.values()) for f in (min, max))
    bins = np.linspace(low - 1e-3, high + 1e-3, 41).tolist()
    for layer, values in gammas.items():
        axes.hist(values, bins, density=True, histtype="step", label=plain_text(layer))
    axes.legend(frameon=False, labelcolor=GREY, fontsize="small")
    return finish()


def figure(
    title: str, x: str, size: tuple[float, float] = (5, 3)
) -> tuple["Axes", Callable[[], bytes]]:
    """Return axes to draw on, ``size`` in inches, and a function that returns the PNG."""
    # Imported here, so that a run that finds everything cached does not pay for it.
    from matplotlib import rcdefaults
    from matplotlib.figure import Figure

    rcdefaults()  # a matplotlibrc in the current folder is for the user's own plots
    drawing = Figure(figsize=size, layout="constrained")
    axes = drawing.subplots()
    axes.set_title(plain_text(title), color=GREY)
    axes.set_xlabel(plain_text(x), color=GREY)
    axes.tick_params(colors=GREY, which="both")
    for spine in axes.spines.values():
        spine.set_color(GREY)
    axes.grid(alpha=0.3)

    def finish() -> bytes:
        buffer = io.BytesIO()
        with warnings.catch_warnings():
            # The font has no picture of some characters; a box stands for each.
            warnings.filterwarnings("ignore", r"(?s)Glyph .* missing from")
            drawing.savefig(buffer, format="png", dpi=150, transparent=True)
        return buffer.getvalue()

    return axes, finish


def plain_text(label: str) -> str:
    """Return a label that matplotlib shows as it is: no mathematics, and never left out.

    Matplotlib reads what is between two dollars as a formula, and keeps a label that begins with an
    underscore out of legends.
    """
    text = short_name(label).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text
