"""Coulomb energies in e²/(4πε0 Å), in other ways than the package's: textbook loops, growing crystals, plane waves."""

from __future__ import annotations

import cmath
import itertools
import math
from typing import Any

import numpy as np

SQUARE = -3.90026492000195588
"""4ζ(½)β(½): potential at a unit charge of a square lattice in a uniform plane, times the lattice constant."""


def looped_potentials(positions_ec: Any, charges_e: Any, cell_cc: Any, eta: float, most: int = 4) -> list[float]:
    """Potential at each charge from all others and all images, with erfc(√η r) and a uniform background.

    C. Kittel, Introduction to Solid State Physics, 8th ed., appendix B, in plain loops over `most` cells to each side.
    """
    points, a = [list(map(float, x)) for x in positions_ec], [list(map(float, x)) for x in cell_cc]
    cross = [_cross(a[1], a[2]), _cross(a[2], a[0]), _cross(a[0], a[1])]
    volume = sum(x * y for x, y in zip(a[0], cross[0], strict=True))
    g_cc = [[2.0 * math.pi * x / volume for x in row] for row in cross]
    potentials = []
    for i, here in enumerate(points):
        total = -2.0 * math.sqrt(eta / math.pi) * float(charges_e[i]) - math.pi / (eta * volume) * float(sum(charges_e))
        for n in itertools.product(range(-most, most + 1), repeat=3):
            shift = [sum(n[b] * a[b][c] for b in range(3)) for c in range(3)]
            wave = [sum(n[b] * g_cc[b][c] for b in range(3)) for c in range(3)]
            square = sum(x * x for x in wave)
            for j, there in enumerate(points):
                r = math.hypot(*(there[c] + shift[c] - here[c] for c in range(3)))
                if r > 0.0:
                    total += float(charges_e[j]) * math.erfc(math.sqrt(eta) * r) / r
                if any(n):
                    phase = cmath.exp(1j * sum(wave[c] * (here[c] - there[c]) for c in range(3))).real
                    weight = 4.0 * math.pi / volume * math.exp(-square / (4.0 * eta)) / square
                    total += float(charges_e[j]) * weight * phase
        potentials.append(total)
    return potentials


def growing_cube(positions_ec: Any, charges_e: Any, a: float, sizes: tuple[int, ...] = (2, 4, 8, 16)) -> float:
    """Energy of a neutral cubic cell in the middle of ever larger cubes of such cells, without its surface charge.

    Plain sums of 1/r, extrapolated. The surface of a large cube, as that of a sphere, adds 2πM²/3V with the dipole M:
    S. W. de Leeuw, J. W. Perram and E. R. Smith, Proc. R. Soc. A 373, 27 (1980).
    """
    energies = []
    for n in sizes:
        steps = np.arange(-n, n + 1)
        shifts = a * np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
        energy = 0.0
        for i, j in itertools.product(range(len(charges_e)), repeat=2):
            r = np.linalg.norm(positions_ec[j] + shifts - positions_ec[i], axis=1)
            energy += 0.5 * charges_e[i] * charges_e[j] * float((1.0 / r[r > 0.0]).sum())
        energies.append(energy)
    # the error is a series in even powers of 1/(2n + 1)
    x, table = [(2 * n + 1.0) ** -2 for n in sizes], energies
    for k in range(1, len(sizes)):
        table = [(x[i] * table[i + 1] - x[i + k] * table[i]) / (x[i] - x[i + k]) for i in range(len(table) - 1)]
    dipole = charges_e @ positions_ec
    return table[0] - 2.0 * math.pi / (3.0 * a**3) * float(dipole @ dipole)


def plane_wave_slab(positions_ec: Any, charges_e: Any, a: float, most: int = 12) -> Any:
    """Energy of each charge of a neutral slab on a square lattice in the xy plane, all at different heights.

    A sum over plane waves that fall off between the heights, D. E. Parry, Surf. Sci. 49, 433 (1975); `SQUARE` for the
    images of a charge itself, which are at its height.
    """
    energies = 0.5 * charges_e**2 * SQUARE / a
    for i, j in itertools.permutations(range(len(charges_e)), 2):
        x, y, z = positions_ec[i] - positions_ec[j]
        potential = -abs(z)
        for h, k in itertools.product(range(-most, most + 1), repeat=2):
            if h or k:
                g = 2.0 * math.pi / a * math.hypot(h, k)
                potential += math.cos(2.0 * math.pi / a * (h * x + k * y)) * math.exp(-g * abs(z)) / g
        energies[i] += 0.5 * charges_e[i] * charges_e[j] * 2.0 * math.pi / a**2 * potential
    return energies


def _cross(a: list[float], b: list[float]) -> list[float]:
    return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
