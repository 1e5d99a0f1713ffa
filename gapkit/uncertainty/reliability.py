"""The reliability figure: whether σ is as large as the errors, and whether it finds the large ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gapkit import Calibration, ConfigError
from gapkit._drawing import STYLE, sheet
from gapkit.numerics.stats import sparsification
from gapkit.typing import KINDS, FloatArray, Kind
from gapkit.uncertainty.calibrate import LEVELS
from gapkit.units import REPORTED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DATA: Final = "#0072B2"
LIGHT: Final = "#9CC9E3"
IDEAL: Final = "#9A9A9A"
_LEAST_PER_BIN: Final = 10
_REMOVED: Final = np.linspace(0.0, 0.95, 96)


def reliability_figure(calibration: Calibration, title: str = "") -> Figure:
    """Three panels for each kind, all of held-out values.

    Left: share of the components inside the central intervals, against the probability of these. Middle: error against
    σ, rms over components, of atoms or structures; the line is the rms error in ranges of σ. Right: rms error of what
    is left when the values with the largest σ are removed, beside that of the oracle, which knows the errors.

    Parameters
    ----------
    calibration
        What `gapkit.uncertainty.calibrate` returned, or ``model.calibration_``.
    title
        A line above the panels.

    Raises
    ------
    ConfigError
        The calibration holds no samples.
    """
    from matplotlib import rc_context

    kinds = [kind for kind in KINDS if kind in calibration.samples]
    if not kinds:
        raise ConfigError("the calibration holds nothing to draw", fix="call gapkit.uncertainty.calibrate again")
    with rc_context(STYLE):
        figure = sheet(13.0, 0.5 + 4.0 * len(kinds), w_pad=0.12)
        for kind, (left, middle, right) in zip(kinds, figure.subplots(len(kinds), 3, squeeze=False), strict=True):
            unit, scale = REPORTED[kind].text, REPORTED[kind].scale
            sigma_x, error_x = scale * calibration.samples[kind].T
            _coverage(left, calibration.report[kind], kind)
            _against(middle, sigma_x, error_x, unit)
            _removal(right, sigma_x, error_x, unit)
        if title:
            figure.suptitle(title, fontsize=14)
    return figure


def _coverage(axes: Axes, report: Any, kind: Kind) -> None:
    """Observed against expected coverage, the area between filled."""
    expected = np.array([0.0, *LEVELS, 1.0])
    observed = np.array([0.0, *report["observed_coverage"], 1.0])
    axes.fill_between(expected, expected, observed, color=LIGHT, linewidth=0)
    axes.plot([0, 1], [0, 1], color=IDEAL, linestyle="--", linewidth=1.3)
    axes.plot(expected, observed, color=DATA, linewidth=2)
    axes.set(xlim=(0, 1), ylim=(0, 1), box_aspect=1.0, title=kind)
    axes.set(xlabel="expected share in interval", ylabel="observed share")
    text = f"area {report['miscalibration_area']:.3f}\n{report['n_frames']} frames"
    axes.text(0.96, 0.06, text, transform=axes.transAxes, ha="right", va="bottom")


def _against(axes: Axes, sigma_x: FloatArray, error_x: FloatArray, unit: str) -> None:
    """Errors against σ, and their rms in ranges of σ."""
    low, high = _span(sigma_x)
    drawn = np.clip(error_x, low, high)  # tiny errors lie on the lower edge
    size = float(np.clip(3000.0 / len(sigma_x), 7.0, 25.0))
    axes.scatter(sigma_x, drawn, s=size, color=LIGHT, linewidths=0, alpha=0.7, rasterized=True)
    axes.plot([low, high], [low, high], color=IDEAL, linestyle="--", linewidth=1.3)
    parts = np.array_split(np.argsort(sigma_x), np.clip(len(sigma_x) // _LEAST_PER_BIN, 1, 12))
    binned = np.array([[np.sqrt(np.mean(x[own] ** 2)) for x in (sigma_x, error_x)] for own in parts])
    axes.plot(*binned.T, color=DATA, marker="o", markersize=5, linewidth=2, label="rms error")
    axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high), box_aspect=1.0)
    axes.set(xlabel=f"σ ({unit})", ylabel=f"error ({unit})")
    axes.legend(loc="upper left", handlelength=1.5)


def _span(sigma_x: FloatArray) -> tuple[float, float]:
    """Range of both axes: well below small σ, and above large σ all errors but the rarest."""
    low, high = np.quantile(sigma_x, [0.005, 1.0])
    return float(low / 5.0), float(high * 3.0)


def _removal(axes: Axes, sigma_x: FloatArray, error_x: FloatArray, unit: str) -> None:
    """The sparsification curve beside that of the oracle."""
    for by, colour, style, label in ((sigma_x, DATA, "-", "by σ"), (error_x, IDEAL, "--", "by error (oracle)")):
        curve = sparsification(error_x, by, _REMOVED)
        axes.plot(100.0 * _REMOVED, curve, color=colour, linestyle=style, linewidth=2, label=label)
    axes.set(xlim=(0, 100), ylim=(0.0, 1.35 * float(np.sqrt(np.mean(error_x**2)))), box_aspect=1.0)
    axes.set(xlabel="removed, largest first (%)", ylabel=f"rms error of the rest ({unit})")
    axes.legend(loc="upper right", handlelength=1.5)
