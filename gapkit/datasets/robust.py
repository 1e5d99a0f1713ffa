"""Statistics that a few wrong values do not move."""

from __future__ import annotations

import numpy as np

from gapkit.typing import FloatArray

_NORMAL = 1.4826  # standard deviation over median absolute deviation, of a normal distribution


def deviations(x: FloatArray, floor: float) -> FloatArray:
    """|x - median| in units of the spread (of the median absolute deviation), which is at least `floor`."""
    off = np.abs(x - np.median(x))
    found: FloatArray = off / max(_NORMAL * float(np.median(off)), floor)
    return found


def slope(x: FloatArray, y: FloatArray) -> float:
    """k that minimises Σ |y - k x|: the median of y/x with weights |x|; 0 where all x are."""
    use = np.abs(x) > 1e-12 * max(1.0, float(np.abs(x).max(initial=0.0)))
    if not use.any():
        return 0.0
    ratio, weight = y[use] / x[use], np.abs(x[use])
    order = np.argsort(ratio, kind="stable")
    part = np.cumsum(weight[order])
    return float(ratio[order][np.searchsorted(part, 0.5 * part[-1])])


def typical(x: FloatArray) -> float:
    """Median of the sizes."""
    return float(np.median(np.abs(x))) if len(x) else 0.0
