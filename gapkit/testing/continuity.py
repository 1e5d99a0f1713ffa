"""Law 7: nothing jumps when an atom crosses a cutoff."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from ase import Atoms

from gapkit.testing.law import Model, cutoffs, derivative_accuracy, there
from gapkit.testing.tolerances import ALGEBRA, require
from gapkit.typing import FloatArray

_GRID: Final = 50
_NARROW: Final = 1e-11  # Å; forces with a slope of 50 eV/Å² change by less than ALGEBRA over it


def nothing_jumps(model: Model, atoms: Atoms) -> None:
    """Law 7: energy and forces are continuous while an atom leaves, at each cutoff of the model and in between."""
    leaving = atoms[[0]]
    start = atoms.positions[:, 0].max() - atoms.positions[0, 0]

    def at(x: float) -> FloatArray:
        leaving.positions[0] = atoms.positions[0] + [start + x, 0.7, 0.4]
        p = model.predict(atoms + leaving, {"energy", "forces"})
        return np.append(there(p.forces), p.energy)

    scale = max(1.0, float(np.abs(at(0.5 * model.reach)).max()))
    offsets = (atoms.positions - atoms.positions[0] - [start, 0.7, 0.4]).T
    tolerance = (ALGEBRA + derivative_accuracy(model)) * scale
    for cutoff in cutoffs(model):
        across2 = cutoff**2 - offsets[1] ** 2 - offsets[2] ** 2
        for x in offsets[0][across2 > 0] + np.sqrt(across2[across2 > 0]):
            jump = np.abs(at(x + _NARROW) - at(x - _NARROW)).max()
            require(jump <= tolerance, f"energy or forces jump by {jump:.2e} at the cutoff of {cutoff:g} Å")
    jump, x = largest_jump(at, 0.5 * model.reach, 1.1 * model.reach, tolerance)
    require(jump <= tolerance, f"energy or forces jump by {jump:.2e} when the atom is at {x:.6f} Å")


def largest_jump(f: Callable[[float], FloatArray], a: float, b: float, enough: float) -> tuple[float, float]:
    """Largest change of f over an interval of no length, if it is above `enough`, and where it is.

    A grid finds the two intervals around the largest second difference, bisection follows the larger change in each:
    at a step it stays, elsewhere it vanishes.
    """
    x = np.linspace(a, b, _GRID + 1)
    values = np.array([f(float(t)) for t in x])
    change = np.abs(np.diff(values, n=2, axis=0)).reshape(_GRID - 1, -1).max(axis=1)
    worst = (0.0, a)
    for first in np.argmax(change) + np.arange(2):
        left, right, f_left, f_right = x[first], x[first + 1], values[first], values[first + 1]
        while right - left > _NARROW and np.abs(f_right - f_left).max() > enough:
            middle = 0.5 * (left + right)
            f_middle = f(float(middle))
            if np.abs(f_middle - f_left).max() > np.abs(f_right - f_middle).max():
                right, f_right = middle, f_middle
            else:
                left, f_left = middle, f_middle
        worst = max(worst, (float(np.abs(f_right - f_left).max()), float(left)))
    return worst
