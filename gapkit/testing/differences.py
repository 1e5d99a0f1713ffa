"""Derivatives by central differences that know their own error: the tolerance DERIVATIVE.

Truncation comes from Richardson's tableau, as in Ridders, Adv. Eng. Softw. 4, 75 (1982): the extrapolated value differs
from one of lower order, and from one of larger steps, by more than it is wrong. Rounding is measured on the function
itself by the difference table of Moré and Wild, SIAM J. Sci. Comput. 33, 1292 (2011).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from gapkit.testing.tolerances import STATISTICS
from gapkit.typing import FloatArray

Function = Callable[[float], Any]

_HIGHER: Final = np.array([1.0, -20.0, 64.0]) / 45.0  # of D(h), D(h/2), D(h/4): error O(h⁶)
_LOWER: Final = np.array([-1.0, 4.0, 0.0]) / 3.0  # the same without h/4: error O(h⁴)
_TINY: Final = 1e-7  # a step in which only rounding shows, after four differences
_LEVELS: Final = 6
_GOOD: Final = 1e-8  # relative error with which a slope is taken without trying smaller steps
_USELESS: Final = 1e-4
_ZERO: Final = 1e-6  # eV/Å or eV: what passes for no slope


@dataclass(frozen=True, eq=False)
class Slope:
    """A derivative and a bound of its error, the same for all components."""

    value: FloatArray
    error: float


def rounding(f: Function) -> float:
    """Standard deviation of the rounding errors of f near 0, the largest over components."""
    values = np.array([np.asarray(f(k * _TINY), dtype=float) for k in range(8)])
    fourth = np.diff(values, n=4, axis=0)
    # (4!)²/8! turns the mean square of fourth differences of white noise into its variance
    measured = np.sqrt((fourth**2).mean(axis=0) * (24.0**2 / 40320.0))
    return float(max(measured.max(initial=0.0), 0.5 * np.finfo(float).eps * np.abs(values).max(initial=0.0)))


def slope(f: Function, step: float = 0.008, noise: float | None = None) -> Slope:
    """df/dx at 0 of a function that returns a number or an array.

    Parameters
    ----------
    f
        The function.
    step
        Largest step, for a function that is only rounded to 1e-14; for others up to five times as large. It is divided
        by four as long as that helps, as it does where the second derivative has a kink (a pair at the cutoff).
    noise
        `rounding(f)` if it is known.

    Raises
    ------
    AssertionError
        At no step is the slope known to 1e-4 of itself or to 1e-6: f jumps, or is not a number.
    """
    sigma = rounding(f) if noise is None else noise
    step *= min(5.0, max(1.0, sigma / 1e-14) ** (1.0 / 7.0))  # h⁶ and σ/h are in balance
    steps = step * np.array([1.0, 0.5, 0.25])
    central, previous, best = _central(f, steps), None, Slope(np.array(np.nan), np.inf)
    for _ in range(_LEVELS):
        value, lower = np.tensordot(_HIGHER, central, 1), np.tensordot(_LOWER, central, 1)
        round_off = STATISTICS * sigma * float(np.sqrt(np.sum(_HIGHER**2 / (2.0 * steps**2))))
        if previous is not None:
            truncation = float(max(np.abs(value - other).max(initial=0.0) for other in (lower, previous)))
            if truncation + round_off < best.error:
                best = Slope(value, truncation + round_off)
            if truncation <= max(_GOOD * np.abs(value).max(initial=0.0), round_off):
                break
        previous, steps = value, steps / 4.0
        central = np.concatenate([central[2:], _central(f, steps[1:])])
    if not best.error <= max(_USELESS * np.abs(best.value).max(initial=0.0), _ZERO):
        raise AssertionError(f"there is no derivative: {best.value} is known to {best.error:.1e} only")
    return best


def _central(f: Function, steps: FloatArray) -> FloatArray:
    return np.array([(np.asarray(f(float(h))) - np.asarray(f(-float(h)))) / (2.0 * h) for h in steps])


def agrees(analytic: Any, numeric: Slope, what: str, accuracy: float = 0.0) -> None:
    """AssertionError unless an analytic derivative is within the error of a difference.

    Parameters
    ----------
    analytic, numeric
        The two derivatives.
    what
        The law that is broken otherwise.
    accuracy
        Error of an "analytic" derivative that is itself numerical, relative to its largest component.
    """
    a = np.asarray(analytic, dtype=float)
    error, largest = np.abs(a - numeric.value).max(initial=0.0), np.abs(a).max(initial=0.0)
    if not error <= numeric.error + accuracy * largest:
        raise AssertionError(
            f"{what}: {error:.3e} off, where the difference is known to {numeric.error:.1e} (largest {largest:.3g})"
        )
