"""The figure of a Pareto front."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gapkit.errors import ConfigError, nearest
from gapkit.typing import KINDS, BoolArray, Kind
from gapkit.units import GPA

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

FORMATS: Final = ("png", "pdf", "svg")
UNITS: Final[dict[Kind, tuple[str, float]]] = {
    "energy": ("meV/atom", 1e3),
    "forces": ("eV/Å", 1.0),
    "stress": ("GPa", 1.0 / GPA),
}
"""Unit of the errors of each kind, and its number per eV/atom, eV/Å or eV/Å³."""

_MOST: Final = 3  # panels side by side
_INK: Final = "#222222"
_MARKS: Final = {
    "start": ("*", 420, "#CC3377", "as it was"),
    "evidence": ("D", 150, "#D55E00", "most probable σ"),
    "best": ("o", 230, "#0072B2", "least product"),
}
"""Marker, size, colour and text of points with a role."""
_WIDE: Final = 3.0  # ratio of the limits of an axis from which on it is logarithmic
_ROOM: Final = 0.8  # how far beyond the front an axis goes, in units of what the front spans
_SIGMA_UNITS: Final[dict[Kind, str]] = {"energy": "eV/atom", "forces": "eV/Å", "stress": "eV/atom"}
_STYLE: Final[Any] = {
    "font.size": 12,
    "axes.labelsize": 13,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.9,
    "legend.frameon": False,
    "savefig.dpi": 200,
    "svg.hashsalt": "gapkit",
}


def save_front(found: Any, path: str | os.PathLike[str]) -> None:
    """Every pair of objectives against each other, at most three; ConfigError for a format that cannot be written."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    suffix = Path(path).suffix.lower().lstrip(".")
    if suffix not in FORMATS:
        raise ConfigError(f"a figure cannot be written as '{Path(path).name}'", fix=nearest(suffix, FORMATS))
    names = found.objectives
    pairs = list(combinations(names, 2))[:_MOST] or [(names[0], "")]
    with rc_context(_STYLE):
        figure = Figure((1.8 + 5.4 * len(pairs), 5.6), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08))
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, len(pairs), squeeze=False)[0]
        shown = np.any([np.logical_and(*(_inside(found, name)[1] for name in pair)) for pair in pairs], axis=0)
        colours = _Colours(found.points, shown)
        for panel, pair in zip(axes, pairs, strict=True):
            _panel(panel, found, pair, colours)
        if colours.text:
            bar = figure.colorbar(colours.mappable(), ax=list(axes), shrink=0.9, aspect=26)
            bar.outline.set_visible(False)
            bar.set_label(colours.text)
        handles, texts = axes[0].get_legend_handles_labels()
        figure.legend(handles, texts, loc="outside lower center", ncols=3, handletextpad=0.3, columnspacing=1.5)
        figure.savefig(path)


class _Colours:
    """The ratio of the first two σ of each point, or the only one, on a logarithmic scale of those that are shown."""

    def __init__(self, points: Sequence[Any], shown: BoolArray) -> None:
        from matplotlib.colors import LogNorm

        kinds = [kind for kind in KINDS if all(getattr(p.noise, kind) is not None for p in points)][:2]
        sigma_kx = [np.array([getattr(p.noise, kind) for p in points]) for kind in kinds]
        self.value_x, self.text = np.ones(len(points)), ""
        if len(kinds) == 2:
            self.value_x = sigma_kx[1] / sigma_kx[0]
            self.text = f"σ of {kinds[1]} / σ of {kinds[0]}  ({_SIGMA_UNITS[kinds[1]]} per {_SIGMA_UNITS[kinds[0]]})"
        elif kinds:
            self.value_x, self.text = sigma_kx[0], f"σ of {kinds[0]}  ({_SIGMA_UNITS[kinds[0]]})"
        low, high = self.value_x[shown].min(), self.value_x[shown].max()
        self.span: Any = {"norm": LogNorm(low, max(high, 1.001 * low)), "cmap": "viridis"}

    def mappable(self) -> Any:
        """What a colour bar is made of: without the transparency of any point."""
        from matplotlib.cm import ScalarMappable

        return ScalarMappable(**self.span)


def _panel(axes: Axes, found: Any, pair: tuple[str, str], colours: _Colours) -> None:
    """One pair of objectives; of a single one, against the log evidence."""
    x, y = (np.array([_coordinate(p, name) for p in found.points]) for name in pair)
    front = np.array([p.on_front for p in found.points])
    plain: Any = {"linewidths": 0, "alpha": 0.5, "s": 30, "zorder": 2, **colours.span}
    edged: Any = {"linewidths": 1.0, "edgecolors": _INK, "s": 70, "zorder": 4, **colours.span}
    axes.scatter(x[~front], y[~front], c=colours.value_x[~front], label="dominated", **plain)
    order = np.flatnonzero(front)[np.argsort(x[front], kind="stable")]
    if len(found.objectives) == 2:
        axes.step(x[order], y[order], where="post", color=_INK, linewidth=1.0, zorder=3)
    axes.scatter(x[front], y[front], c=colours.value_x[front], label="front", **edged)
    best = found.best()
    marked = [k for k, p in enumerate(found.points) if p.role or p is best]
    for k in marked:
        for name, (marker, size, colour, text) in _MARKS.items():
            if name == found.points[k].role or (name == "best" and found.points[k] is best):
                style: Any = {"marker": marker, "s": size, "edgecolors": colour, "linewidths": 2.2, "zorder": 5}
                axes.scatter(x[k], y[k], facecolors="none", label=text, **style)
    (x_limits, x_inside), (y_limits, y_inside) = (_inside(found, name) for name in pair)
    axes.set(xlim=x_limits, ylim=y_limits, xlabel=_label(found, pair[0]), ylabel=_label(found, pair[1]))
    for axis, name, limits in ((axes.xaxis, pair[0], x_limits), (axes.yaxis, pair[1], y_limits)):
        if name and 0.0 < _WIDE * limits[0] < limits[1]:
            _logarithmic(axes, axis, limits)
    n_outside = int((~(x_inside & y_inside)).sum())
    if n_outside:
        text = f"{n_outside} of {len(x)} models are worse, outside"
        axes.text(0.98, 0.98, text, transform=axes.transAxes, ha="right", va="top", fontsize=10, color="0.4")


def _inside(found: Any, name: str) -> tuple[tuple[float, float], BoolArray]:
    """Limits of an axis that keep to what is near the front and the marks, and which points are inside, shape (X,)."""
    values_x = np.array([_coordinate(p, name) for p in found.points])
    shown = np.array([bool(p.on_front or p.role) for p in found.points])
    if not name:
        shown[:] = True
    low, high = float(np.nanmin(values_x[shown])), float(np.nanmax(values_x[shown]))
    top = min(high + _ROOM * (high - low), float(np.nanmax(values_x)))
    margin = 0.06 * (top - low) or 0.01 * abs(top) or 1.0
    bottom = low - margin if low <= 0.0 else max(low - margin, 0.9 * low)
    return (bottom, top + margin), np.asarray(values_x <= top + margin)


def _logarithmic(axes: Axes, axis: Axis, limits: tuple[float, float]) -> None:
    """A logarithmic axis with plain numbers, for values that span more than a factor of three."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    (axes.set_xscale if axis is axes.xaxis else axes.set_yscale)("log")
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 3.0, 5.0, 7.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
    axis.set_view_interval(*limits, ignore=True)


def _coordinate(point: Any, name: str) -> float:
    return float(point.values[name] if name else point.log_evidence)


def _label(found: Any, name: str) -> str:
    """Error and unit of an axis."""
    if not name:
        return "log evidence"
    unit = found.units[name]
    kind, _, how = name.partition("_")
    return f"{kind} {(how or 'mae').upper()} ({unit})" if unit else name
