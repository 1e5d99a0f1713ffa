"""Tolerances with names, and the comparison that uses them."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

EXACT: Final = 1e-13
"""The same numbers in another order of summation."""

ALGEBRA: Final = 1e-9
"""The same quantity by another route: another frame of reference, factor or block size."""

STATISTICS: Final = 4.0
"""Standard errors that a seeded random estimate may be off."""

# The fourth tolerance, DERIVATIVE, is no number: a finite difference brings its own error (see `differences`).


def near(actual: Any, expected: Any, tolerance: float, what: str, floor: float = 1.0) -> None:
    """AssertionError unless the largest difference is below `tolerance` times the largest component expected.

    Parameters
    ----------
    actual, expected
        Numbers or arrays of one shape.
    tolerance
        One of the above.
    what
        The law that is broken otherwise, for the message.
    floor
        The largest component is taken to be at least this, in the unit of the quantity (eV, eV/Å): zero has no
        relative error.
    """
    a, b = np.asarray(actual, dtype=float), np.asarray(expected, dtype=float)
    if a.shape != b.shape:
        raise AssertionError(f"{what}: shape {a.shape} is not {b.shape}")
    if not a.size:
        return
    error, scale = np.abs(a - b).max(), max(floor, np.abs(b).max())
    if not error <= tolerance * scale:  # also when it is not a number
        raise AssertionError(
            f"{what}: largest difference {error:.3e}, {error / scale:.1e} of {scale:.3g} > {tolerance:g}"
        )


def require(condition: bool | np.bool_, what: str) -> None:
    """AssertionError with a message; unlike `assert` it is not optimised away."""
    if not condition:
        raise AssertionError(what)
