"""The figure of how similar elements are."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any, Final

from gapkit.errors import ConfigError, nearest
from gapkit.typing import FloatArray

FORMATS: Final = ("png", "pdf", "svg")
ALIKE, OPPOSITE, PLAIN = "#0072B2", "#D55E00", "#FFFFFF"
"""Colours of the cosines 1, -1 and 0 (after Okabe and Ito)."""

_INK: Final = "#333333"
_DARK: Final = 0.75  # cosines beyond which numbers are white
_STYLE: Final[Any] = {"font.size": 12, "savefig.dpi": 200, "svg.hashsalt": "gapkit"}


def save_similarity(species: Sequence[str], similarity_ss: FloatArray, path: str | os.PathLike[str]) -> None:
    """A square for each pair of elements, with its cosine; ConfigError for a format that cannot be written."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    n, suffix = len(species), Path(path).suffix.lower().lstrip(".")
    if suffix not in FORMATS:
        raise ConfigError(f"a figure cannot be written as '{Path(path).name}'", fix=nearest(suffix, FORMATS))
    with rc_context(_STYLE):
        figure = Figure((2.2 + 0.62 * n, 1.2 + 0.62 * n), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        colours = LinearSegmentedColormap.from_list("cosine", [OPPOSITE, PLAIN, ALIKE])
        image = axes.imshow(similarity_ss, cmap=colours, vmin=-1.0, vmax=1.0)
        for row, column in product(range(n), repeat=2):
            value = similarity_ss[row, column]
            number, colour = f"{value:.2f}".replace("-", "−"), "white" if abs(value) > _DARK else _INK
            axes.text(column, row, number, ha="center", va="center", color=colour, fontsize=10)
        axes.set_xticks(range(n), species)
        axes.set_yticks(range(n), species)
        axes.set_xticks([k - 0.5 for k in range(1, n)], minor=True)
        axes.set_yticks([k - 0.5 for k in range(1, n)], minor=True)
        axes.grid(which="minor", color="white", linewidth=2)
        axes.tick_params(which="both", length=0)
        axes.xaxis.tick_top()
        axes.spines[:].set_visible(False)
        bar = figure.colorbar(image, ax=axes, shrink=0.8, aspect=18, ticks=[-1.0, -0.5, 0.0, 0.5, 1.0])
        bar.outline.set_visible(False)
        bar.ax.tick_params(length=0)
        bar.set_label("similarity")
        figure.savefig(path)
