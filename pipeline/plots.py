"""Plots of a training's course."""

import io
from collections.abc import Sequence

_PANELS = {
    "Losses": {"loss_d": "discriminator", "loss_g": "generator"},
    "Mean logits": {"logit_real": "real", "logit_fake": "generated"},
    "FID on the select split": {"fid_select": "averaged generator"},
}


def training_curves(history: Sequence[dict[str, float]]) -> bytes:
    """PNG of losses, logits and scores over images seen, from ``Trainer.fit``'s records."""
    # Imported where it is drawn with: a run that finds everything cached does not pay for it.
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    figure = Figure(figsize=(12, 3.4), layout="constrained")
    for axes, (title, lines) in zip(figure.subplots(1, len(_PANELS)), _PANELS.items(), strict=True):
        for key, label in lines.items():
            points = [(record["images"], record[key]) for record in history if key in record]
            if points:
                axes.plot(
                    *zip(*points, strict=True), label=label, marker="." if len(points) < 20 else ""
                )
        axes.set(title=title, xlabel="images seen")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.grid(alpha=0.3)
        axes.legend()
        if title.startswith("FID"):
            axes.set_yscale("log")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
