"""Figures of how similar elements are, and of what was tried."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import product
from typing import Any, Final

import numpy as np

from gapkit._drawing import STYLE, check_format, sheet, write
from gapkit.tuning.trial import Trial
from gapkit.typing import KINDS, FloatArray, Kind
from gapkit.units import REPORTED

ALIKE, OPPOSITE, PLAIN = "#0072B2", "#D55E00", "#FFFFFF"
"""Colours of the cosines 1, -1 and 0 (after Okabe and Ito)."""

_PLURAL: Final[dict[Kind, str]] = {"energy": "energies", "forces": "forces", "stress": "stresses"}
_MARKS: Final = (
    ("o", 110, "none", "#333333", "start"),
    ("D", 60, OPPOSITE, OPPOSITE, "largest evidence"),
    ("*", 190, ALIKE, ALIKE, "best"),
)
_INK: Final = "#333333"
_DARK: Final = 0.75  # cosines beyond which numbers are white


def save_similarity(species: Sequence[str], similarity_ss: FloatArray, path: str | os.PathLike[str]) -> None:
    """A square for each pair of elements, with its cosine; ConfigError for a format that cannot be written."""
    from matplotlib import rc_context
    from matplotlib.colors import LinearSegmentedColormap

    check_format(path)
    n = len(species)
    with rc_context(STYLE):
        figure = sheet(2.2 + 0.62 * n, 1.2 + 0.62 * n)
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
        write(figure, path)


def save_trials(trials: Sequence[Trial], best: Trial, by_evidence: Trial, path: str | os.PathLike[str]) -> None:
    """Errors of left-out structures against the evidence, a panel per kind and a point per trial; errors as above."""
    from matplotlib import rc_context

    check_format(path)
    known = [trial for trial in trials if trial.mae]
    kinds = [kind for kind in KINDS if any(kind in trial.mae for trial in known)]
    with rc_context(STYLE):
        figure = sheet(0.6 + 3.9 * len(kinds), 4.7, wspace=0.06)
        for axes, kind in zip(np.atleast_1d(figure.subplots(1, len(kinds))), kinds, strict=True):
            unit, scale = REPORTED[kind].text, REPORTED[kind].scale
            x, y = ([trial.log_evidence for trial in known], [scale * trial.mae[kind] for trial in known])
            axes.scatter(x, y, s=36, color="#9A9A9A", linewidths=0, zorder=2, label="trial")
            for trial, (marker, size, fill, edge, text) in zip((trials[0], by_evidence, best), _MARKS, strict=True):
                if trial.mae:
                    at = (trial.log_evidence, scale * trial.mae[kind])
                    style = {"facecolors": fill, "edgecolors": edge, "linewidths": 1.5, "zorder": 3}
                    axes.scatter(*at, s=size, marker=marker, label=text, **style)
            axes.set_xlabel("log evidence")
            axes.set_ylabel(f"left-out MAE of {_PLURAL[kind]} ({unit})")
            axes.grid(color="#DDDDDD", linewidth=0.8)
            axes.set_axisbelow(True)
            axes.ticklabel_format(style="plain")
            axes.xaxis.set_major_locator(_locator())
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=4, handletextpad=0.3)
        write(figure, path)


def _locator() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(4)
