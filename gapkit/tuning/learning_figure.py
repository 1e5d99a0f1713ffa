"""The figure of a learning curve."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gapkit._drawing import STYLE, check_format, sheet, write
from gapkit.errors import ConfigError
from gapkit.typing import Kind
from gapkit.units import REPORTED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RMSE, MAE, FIT = "#0072B2", "#D55E00", "#9A9A9A"
"""Colours of the two errors and of the power law (after Okabe and Ito)."""

LAST: Final = 3
"""Fits at the end of a curve that say how fast the error falls."""

_LEAST: Final = 1e-9  # an error that a logarithmic axis can show
_FITTED: Final = f"power law of the last {LAST} RMSE"


def save_curve(curve: Any, path: str | os.PathLike[str]) -> None:
    """A row for each kind of label: errors against frames (left) and sparse points (right), logarithmic axes.

    The power law that fits the rms errors is drawn with its exponent. ConfigError for a format that cannot be written,
    or a curve without any point.
    """
    from matplotlib import rc_context

    check_format(path)
    columns = [(points, by) for points, by in ((curve.by_frames, "n_frames"), (curve.by_sparse, "n_sparse")) if points]
    if not columns or not curve.kinds:
        raise ConfigError("the learning curve has no points to draw", fix="give frames with labels")
    with rc_context(STYLE):
        figure = sheet(0.6 + 4.7 * len(columns), 0.5 + 2.9 * len(curve.kinds), h_pad=0.08, wspace=0.04)
        axes = figure.subplots(len(curve.kinds), len(columns), squeeze=False, sharex="col", sharey="row")
        for row, kind in zip(axes, curve.kinds, strict=True):
            for panel, (points, by) in zip(row, columns, strict=True):
                _panel(panel, points, by, kind, curve.exponent(kind) if by == "n_frames" else float("nan"))
            row[0].set_ylabel(f"error of {kind} ({REPORTED[kind].text})")
        for panel, (_, by) in zip(axes[-1], columns, strict=True):
            panel.set_xlabel("training frames" if by == "n_frames" else "sparse points")
        for panel, (points, by) in zip(axes[0], columns, strict=True):
            panel.set_title(_title(points, by))
        figure.suptitle(f"errors of {curve.n_test} held-out frames", fontsize=14)
        handles, names = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=len(names), columnspacing=2.5)
        figure.align_ylabels(axes)
        write(figure, path)


def _title(points: Sequence[Any], by: str) -> str:
    fixed = points[-1].n_sparse if by == "n_frames" else points[-1].n_frames
    return f"{fixed} sparse points" if by == "n_frames" else f"{fixed} training frames"


def _panel(axes: Axes, points: Sequence[Any], by: str, kind: Kind, exponent: float) -> None:
    """Both errors of one kind, and the power law of the rms error where there is one."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    scale = REPORTED[kind].of_evaluation
    x = np.array([getattr(point, by) for point in points], dtype=float)
    rmse = np.maximum([scale * point.rmse[kind] for point in points], _LEAST)
    mae = np.maximum([scale * point.mae[kind] for point in points], _LEAST)
    axes.plot(x, rmse, color=RMSE, marker="o", markersize=6, linewidth=2, label="RMSE")
    axes.plot(x, mae, color=MAE, marker="s", markersize=5.5, linewidth=2, label="MAE")
    if np.isfinite(exponent):
        end, line = x[-LAST:], rmse[-LAST:]
        centre = np.exp(np.mean(np.log(line)) - exponent * np.mean(np.log(end)))
        axes.plot(end, centre * end**exponent, color=FIT, linestyle="--", linewidth=1.5, zorder=1, label=_FITTED)
        text = f"∝ n$^{{{exponent:.2f}}}$"
        axes.text(0.98, 0.97, text, transform=axes.transAxes, ha="right", va="top", color="0.35")
    axes.set(xscale="log", yscale="log")
    axes.set_xticks(x, [f"{value:.0f}" for value in x])
    axes.xaxis.set_minor_locator(NullLocator())
    low, high = 0.85 * float(mae.min()), 1.15 * float(rmse.max())
    axes.set_ylim(min(low, axes.get_ylim()[0]), max(high, axes.get_ylim()[1]))
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.grid(axis="y", color="0.92", linewidth=0.8)
    axes.set_axisbelow(True)
