"""The figure of a Pareto front."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gapkit._drawing import STYLE, check_format, sheet, write
from gapkit.typing import KINDS, BoolArray
from gapkit.units import SIGMA_UNITS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

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


def save_front(found: Any, path: str | os.PathLike[str]) -> None:
    """Every pair of objectives against each other, at most three; ConfigError for a format that cannot be written."""
    from matplotlib import rc_context

    check_format(path)
    names = found.objectives
    pairs = list(combinations(names, 2))[:_MOST] or [(names[0], "")]
    with rc_context(STYLE):
        figure = sheet(1.8 + 5.4 * len(pairs), 5.6, h_pad=0.08)
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
        write(figure, path)


class _Colours:
    """The ratio of the first two σ of each point, or the only one, on a logarithmic scale of those that are shown."""

    def __init__(self, points: Sequence[Any], shown: BoolArray) -> None:
        from matplotlib.colors import LogNorm

        kinds = [kind for kind in KINDS if all(getattr(p.noise, kind) is not None for p in points)][:2]
        sigma_kx = [np.array([getattr(p.noise, kind) for p in points]) for kind in kinds]
        self.value_x, self.text = np.ones(len(points)), ""
        if len(kinds) == 2:
            self.value_x = sigma_kx[1] / sigma_kx[0]
            self.text = f"σ of {kinds[1]} / σ of {kinds[0]}  ({SIGMA_UNITS[kinds[1]]} per {SIGMA_UNITS[kinds[0]]})"
        elif kinds:
            self.value_x, self.text = sigma_kx[0], f"σ of {kinds[0]}  ({SIGMA_UNITS[kinds[0]]})"
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
    (x_limits, x_inside), (y_limits, y_inside) = (_inside(found, name) for name in pair)
    shown = x_inside & y_inside
    rest = shown & ~front
    axes.scatter(x[rest], y[rest], c=colours.value_x[rest], label="dominated", **plain)
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
    axes.set(xlim=x_limits, ylim=y_limits, xlabel=_label(found, pair[0]), ylabel=_label(found, pair[1]))
    for axis, name, limits in ((axes.xaxis, pair[0], x_limits), (axes.yaxis, pair[1], y_limits)):
        if name and 0.0 < _WIDE * limits[0] < limits[1]:
            _logarithmic(axes, axis, limits)
    n_outside = int((~shown).sum())
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
    if name and 0.0 < _WIDE * low < top:  # logarithmic
        factor = (top / low) ** 0.06
        return (low / factor, top * factor), np.asarray(values_x <= top * factor)
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
