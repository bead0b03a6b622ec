"""Labels that matplotlib would read as something else."""

import io
import warnings

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from pipeline.reports.plots import figure, gamma_histogram, plain_text
from tests.unit.reports.names import NASTY


def shown(label: str) -> list[str]:
    """Return the texts of a legend that has this label, as matplotlib draws them."""
    axes = Figure().subplots()
    axes.plot([0, 1], label=plain_text(label))
    texts: list[Text] = axes.legend().get_texts()
    drawn = [text._preprocess_math(text.get_text()) for text in texts]  # type: ignore[attr-defined]
    assert not any(mathematics for _, mathematics in drawn)
    return [text for text, _ in drawn]


@pytest.mark.parametrize("name", NASTY, ids=ascii)
def test_a_legend_has_every_name_as_text(name: str) -> None:
    (text,) = shown(name)
    assert text.isprintable() or "\u200d" in text
    assert 0 < len(text) <= 41
    if name.isprintable() and len(name) <= 40:
        assert text.removeprefix(" ") == name


@pytest.mark.parametrize("name", NASTY, ids=ascii)
def test_a_picture_is_drawn_without_a_word(name: str) -> None:
    """Glyphs that the font lacks included: a title, a label of an axis, and a legend."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        axes, finish = figure(name, name, (8, 4))
        axes.plot([0, 1], label=plain_text(name))
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
        with Image.open(io.BytesIO(finish())) as picture:
            assert picture.size == (1200, 600)


def test_a_histogram_takes_any_layers() -> None:
    import numpy as np

    assert gamma_histogram({"_8x8$": np.ones(3), "$": np.zeros(3)}).startswith(b"\x89PNG")
