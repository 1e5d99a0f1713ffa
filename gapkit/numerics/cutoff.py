"""Radial weights w(r) and the quantity w'(r)/r that Cartesian gradients need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gapkit.typing import FloatArray


def radial_weight(weighting: Mapping[str, Any], r_p: FloatArray) -> tuple[FloatArray, FloatArray]:
    """dscribe's weighting of the atomic density and its slope.

    Parameters
    ----------
    weighting
        dscribe's dictionary: ``function`` one of ``poly`` (c, m, r0), ``pow`` (c, d, m, r0),
        ``exp`` (c, d, r0), or absent for w = 1.
    r_p
        Distances > 0, shape (P,), Å.

    Returns
    -------
    w(r) and w'(r)/r (Å⁻²), each of shape (P,). Source: documentation of dscribe.descriptors.SOAP.
    """
    function = weighting.get("function")
    if function is None:
        return np.ones_like(r_p), np.zeros_like(r_p)
    x, c = r_p / weighting["r0"], weighting["c"]
    if function == "poly":
        return _poly(x, c, weighting["m"], weighting["r0"])
    if function == "pow":
        base = weighting["d"] + x ** weighting["m"]
        power = weighting["m"] * x ** (weighting["m"] - 1.0) if weighting["m"] else 0.0
        return c / base, -c * power / (base**2 * weighting["r0"] * r_p)
    decay = np.exp(-x)
    base = weighting["d"] + decay
    return c / base, c * decay / (base**2 * weighting["r0"] * r_p)


def _poly(x: FloatArray, c: float, m: float, r0: float) -> tuple[FloatArray, FloatArray]:
    """c (1 + 2x³ - 3x²)^m inside x < 1 and its slope over r; 1 + 2x³ - 3x² = (1-x)²(1+2x)."""
    inside = x < 1.0
    x = np.where(inside, x, 0.0)
    base = (1.0 - x) ** 2 * (1.0 + 2.0 * x)
    power = np.ones_like(base) if m == 1 else base ** (m - 1.0)
    value = c * power * base
    slope = c * m * power * 6.0 * (x - 1.0) / r0**2
    return np.where(inside, value, 0.0), np.where(inside, slope, 0.0)


def weight_at_centre(weighting: Mapping[str, Any]) -> float:
    """Weight of the central atom itself, at r = 0: ``w0`` if given, else w(0)."""
    if weighting.get("w0") is not None:
        return float(weighting["w0"])
    function = weighting.get("function")
    if function is None:
        return 1.0
    if function == "poly":
        return float(weighting["c"])
    at_zero = 1.0 if function == "exp" or weighting["m"] == 0 else 0.0
    return float(weighting["c"]) / (float(weighting["d"]) + at_zero)


def gentle_step(r_p: FloatArray, r_cut: float, width: float) -> tuple[FloatArray, FloatArray]:
    """The same as `smooth_step`, with four continuous derivatives: it stays near 0 and 1 for longer.

    f = v⁵ (126 - 420 v + 540 v² - 315 v³ + 70 v⁴) with v = (r_cut - r)/width.
    """
    v = np.clip((r_cut - r_p) / width, 0.0, 1.0)
    value = v**5 * (126.0 - v * (420.0 - v * (540.0 - v * (315.0 - 70.0 * v))))
    slope = -630.0 * (v * (1.0 - v)) ** 4 / width
    return value, slope / r_p


def smooth_step(r_p: FloatArray, r_cut: float, width: float) -> tuple[FloatArray, FloatArray]:
    """Cutoff f(r): 1 below r_cut - width, 0 beyond r_cut, and f'(r)/r; two continuous derivatives.

    f = 1 - 10 u³ + 15 u⁴ - 6 u⁵ with u = (r - r_cut + width)/width. Shapes (P,); Å⁻².
    """
    u = np.clip((r_p - (r_cut - width)) / width, 0.0, 1.0)
    value = 1.0 - u**3 * (10.0 - 15.0 * u + 6.0 * u * u)
    slope = -30.0 * (u * (1.0 - u)) ** 2 / width
    return value, slope / r_p
