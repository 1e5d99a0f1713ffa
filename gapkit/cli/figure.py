"""The parity figure: predictions against labels, for a talk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from gapkit import Evaluation
from gapkit._drawing import STYLE, sheet
from gapkit.cli.report import counted
from gapkit.model.evaluation import Comparison
from gapkit.typing import KINDS, FloatArray, Kind

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Part: TypeAlias = tuple[str, str, Sequence[Evaluation]]
"""Label, colour and groups of one entry of the legend."""

COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A4FA3", "#8C6D31", "#1B1B1B")
"""One per config_type, distinct also for the colour-blind (after Okabe and Ito)."""
OTHERS: Final = "#9A9A9A"
"""Colour of the groups for which no colour is left."""

_QUANTITY: Final[dict[Kind, tuple[str, str]]] = {
    "energy": ("energy − e0", "eV/atom"),
    "forces": ("force", "eV/Å"),
    "stress": ("stress", "GPa"),
}
_LEAST: Final = 1e-4
"""Margin of an axis in eV/atom, eV/Å or GPa; zero forces of perfect crystals shall not fill a panel."""


def parity_figure(evaluation: Evaluation, title: str = "") -> Figure:
    """Predictions against labels, a panel per kind, and below it the differences.

    Parameters
    ----------
    evaluation
        What `gapkit.evaluate` returned.
    title
        A line above the panels.
    """
    from matplotlib import rc_context

    found = {kind: evaluation.comparison(kind) for kind in KINDS}
    present = {kind: values for kind, values in found.items() if values is not None}
    parts = _coloured(evaluation)
    width = 0.4 + 4.5 * len(present)
    columns = max(1, min(len(parts), int(9 * width / (max(len(name) for name, _, _ in parts) + 5))))
    rows = -(-len(parts) // columns) if len(parts) > 1 else 0
    with rc_context(STYLE):
        figure = sheet(width, 6.05 + 0.28 * rows, h_pad=0.05)
        axes = figure.subplots(2, len(present), squeeze=False, height_ratios=[4, 1], sharex="col")
        for (kind, values), (above, below) in zip(present.items(), axes.T, strict=True):
            _panel(above, below, values, parts, kind)
        figure.align_ylabels(axes)
        count = f"{counted(evaluation.frames, 'frame')}, {counted(evaluation.atoms, 'atom')}"
        text = f"{title}: {count}" if title else count
        figure.suptitle(text, fontsize=14 * min(1.0, 9 * width / len(text)))
        if rows:
            _legend(figure, parts, columns)
    return figure


def _coloured(evaluation: Evaluation) -> list[Part]:
    """The entries of the legend, largest groups first; those without a colour of their own are one entry."""
    ranked = sorted(evaluation.by_group.items(), key=lambda item: (-item[1].atoms, item[0]))
    named = ranked if len(ranked) <= len(COLOURS) else ranked[: len(COLOURS) - 1]
    rest = ranked[len(named) :]
    parts: list[Part] = [(group, colour, [part]) for (group, part), colour in zip(named, COLOURS, strict=False)]
    return parts + ([(f"{len(rest)} others", OTHERS, [part for _, part in rest])] if rest else [])


def _panel(above: Axes, below: Axes, whole: Comparison, parts: Sequence[Part], kind: Kind) -> None:
    """Parity above, differences below, of one kind."""
    from matplotlib.ticker import MaxNLocator

    quantity, unit = _QUANTITY[kind]
    scale, small = (1e3, "meV/atom") if kind == "energy" else (1.0, unit)
    true_n, predicted_n, colour_n = _layers(parts, kind)
    size = float(np.clip(3e4 / len(true_n), 2.0, 30.0))
    alpha = float(np.clip(60.0 / np.sqrt(len(true_n)), 0.25, 0.85))
    points: Any = {"s": size, "c": colour_n, "alpha": alpha, "linewidths": 0, "rasterized": True, "zorder": 2}
    above.scatter(true_n, predicted_n, **points)
    below.scatter(true_n, scale * (predicted_n - true_n), **points)
    above.axline((0.0, 0.0), slope=1.0, color="0.25", linewidth=0.8, zorder=4)
    below.axhline(0.0, color="0.25", linewidth=0.8, zorder=4)
    low, high = _limits(np.concatenate([true_n, predicted_n]))
    above.set(xlim=(low, high), ylim=(low, high), ylabel=f"predicted {quantity} ({unit})", box_aspect=1.0)
    for axis in (above.xaxis, above.yaxis):
        axis.set_major_locator(MaxNLocator(_intervals(low, high), steps=[1, 2, 2.5, 5, 10]))
    most = scale * max(_LEAST, 1.15 * float(np.abs(predicted_n - true_n).max()))
    below.set(ylim=(-most, most), ylabel=f"error\n({small})", xlabel=f"reference {quantity} ({unit})")
    text = f"MAE {_short(scale * whole.mae)} {small}\nRMSE {_short(scale * whole.rmse)} {small}"
    # data lie along the diagonal: of the two other corners take the emptier
    x_n, y_n = (true_n - low) / (high - low), (predicted_n - low) / (high - low)
    left = ((x_n < 0.6) & (y_n > 0.8)).sum() <= ((x_n > 0.4) & (y_n < 0.2)).sum()
    place: Any = {"ha": "left", "va": "top"} if left else {"ha": "right", "va": "bottom"}
    above.text(*((0.04, 0.96) if left else (0.96, 0.04)), text, transform=above.transAxes, linespacing=1.35, **place)


def _layers(parts: Sequence[Part], kind: Kind) -> tuple[FloatArray, FloatArray, Any]:
    """True and predicted values and colours in an order of drawing that hides no group.

    The topmost points are of all colours alike: where the smallest has n points, n of each
    colour lie on top in random order, and what is left of the larger groups lies below them.
    """
    groups = [(colour, c) for _, colour, own in parts for part in own if (c := part.comparison(kind)) is not None]
    true_n = np.concatenate([c.true_n for _, c in groups])
    predicted_n = np.concatenate([c.predicted_n for _, c in groups])
    colour_n = np.repeat([colour for colour, _ in groups], [len(c.true_n) for _, c in groups])
    _, index_n, sizes = np.unique(colour_n, return_inverse=True, return_counts=True)
    order = np.argsort(-np.random.default_rng(0).random(len(true_n)) * sizes[index_n])
    return true_n[order], predicted_n[order], colour_n[order]


def _limits(values_n: FloatArray) -> tuple[float, float]:
    """Range of an axis with a margin, also for values that are all equal."""
    low, high = float(values_n.min()), float(values_n.max())
    margin = max(_LEAST, 0.05 * (high - low))
    return low - margin, high + margin


def _intervals(low: float, high: float) -> int:
    """Number of intervals between ticks for which the labels, with all their digits, have room."""
    decimals = max(0, int(np.ceil(-np.log10((high - low) / 6))))
    return int(np.clip(30 // max(len(f"{edge:.{decimals}f}") for edge in (low, high)), 2, 6))


def _short(value: float) -> str:
    """Three digits."""
    return f"{value:#.3g}".rstrip(".")


def _legend(figure: Figure, parts: Sequence[Part], columns: int) -> None:
    """The groups below the panels, outside of all data."""
    from matplotlib.lines import Line2D

    marks = [Line2D([], [], marker="o", linestyle="", markersize=7, color=colour) for _, colour, _ in parts]
    names = [name for name, _, _ in parts]
    figure.legend(marks, names, loc="outside lower center", ncols=columns, handletextpad=0.2, columnspacing=1.4)
