"""Triangles and symmetry functions as latent functions, by loops over atoms, with derivatives by a complex step.

Both have k = δ² exp(−|x−x'|²/2θ²). Formulas are written from the definitions. Nothing of the geometry is
gapkit's: cos θ is a dot product here, and a difference of squares there.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from ase import Atoms

from tests.reference.latent import Term, _like
from tests.reference.soap_legendre import STEP, Array, displacements, neighbours


def length(r: Array) -> Array:
    """|r| of vectors in the last axis, analytic in complex r."""
    return np.sqrt(np.sum(r * r, axis=-1))


def smooth_cutoff(r: Array, r_cut: float, width: float) -> Array:
    """1 − 10u³ + 15u⁴ − 6u⁵ over the last `width` before `r_cut`."""
    u = (r - (r_cut - width)) / width
    inside = np.where(np.real(u) < 0.0, 0.0, np.where(np.real(u) > 1.0, 1.0, u))
    return 1.0 - inside**3 * (10.0 - 15.0 * inside + 6.0 * inside**2)


def cosine_cutoff(r: Array, r_cut: float) -> Array:
    """(1 + cos(πr/r_cut))/2 inside."""
    return np.where(np.real(r) < r_cut, 0.5 * (1.0 + np.cos(np.pi * r / r_cut)), 0.0)


class GaussianGP(Term):
    """A latent function of D features; subclasses say where it is evaluated."""

    theta: float
    delta: float

    def inducing(self, x: Array) -> Array:
        return np.asarray(x)

    def _parts(self, x: Array, y: Array) -> tuple[Array, list[Array], Any]:
        """k_ef, the differences of each feature, θ²."""
        apart = [np.subtract.outer(x[:, d], y[:, d]) for d in range(x.shape[1])]
        t2 = _like(self.theta, x) ** 2
        square_ef = sum(a * a for a in apart)
        return _like(self.delta, x) ** 2 * np.exp(-square_ef / (2 * t2)), apart, t2

    def _value(self, x: Array, y: Array) -> Array:
        return self._parts(x, y)[0]

    def _left(self, x: Array, v: Array, y: Array) -> Array:
        k_ef, apart, t2 = self._parts(x, y)
        return np.asarray(sum(v[:, :, d] @ (-a / t2 * k_ef) for d, a in enumerate(apart)))

    def _both(self, x: Array, v: Array, y: Array, u: Array) -> Array:
        k_ef, apart, t2 = self._parts(x, y)
        total: Any = 0
        for d, a in enumerate(apart):
            for f, b in enumerate(apart):
                curve_ef = ((1 / t2 if d == f else 0) - a * b / t2**2) * k_ef
                total = total + v[:, :, d] @ curve_ef @ u[:, :, f].T
        return np.asarray(total)


class TripletGP(GaussianGP):
    """Energy f(r_ij) f(r_ik) g(x) of each centre i and unordered pair of neighbours j, k; x over `scales`."""

    theta = 1.0

    def __init__(self, r_cut: float, width: float, scales: Sequence[float], delta: float) -> None:
        self.r_cut, self.width, self.scales, self.delta = r_cut, width, scales, delta

    def sites(self, atoms: Atoms) -> tuple[list[Any], Array, Array, Array, Array, Array]:
        i_p, j_p, r_pc = neighbours(atoms, self.r_cut)
        moved_bpc = r_pc + 1j * STEP * displacements(i_p, j_p, r_pc, len(atoms))
        groups, owners, features, weights = [], [], [], []
        for i in range(len(atoms)):
            for p, q in combinations(np.flatnonzero(i_p == i), 2):
                if atoms.numbers[j_p[p]] > atoms.numbers[j_p[q]]:
                    p, q = q, p
                light, heavy = atoms.numbers[j_p[p]], atoms.numbers[j_p[q]]
                one, other = length(moved_bpc[:, p]), length(moved_bpc[:, q])
                far = length(moved_bpc[:, p] - moved_bpc[:, q])
                apart = (one - other) ** 2 if light == heavy else one - other
                features.append(np.stack([one + other, apart, far], axis=-1) / self.scales)
                weights.append(np.prod([smooth_cutoff(r, self.r_cut, self.width) for r in (one, other)], axis=0))
                groups.append((int(atoms.numbers[i]), int(light), int(heavy)))
                owners.append(i)
        x_ebd = np.reshape(features, (len(groups), len(moved_bpc), 3))
        w_eb = np.reshape(weights, (len(groups), len(moved_bpc)))
        return groups, np.array(owners), x_ebd[:, 0].real, x_ebd.imag / STEP, w_eb[:, 0].real, w_eb.imag / STEP


class AcsfGP(GaussianGP):
    """Local energy of symmetry functions over a scale for each feature, independent between central elements.

    Parameters
    ----------
    arguments
        Those of dscribe's ACSF.
    scale
        Atomic number to what divides the features, shape (F,).
    """

    def __init__(self, arguments: dict[str, Any], scale: dict[int, Array], theta: float, delta: float) -> None:
        self.arguments, self.scale, self.theta, self.delta = arguments, scale, theta, delta

    def sites(self, atoms: Atoms) -> tuple[list[Any], Array, Array, Array, Array, Array]:
        i_p, j_p, r_pc = neighbours(atoms, self.arguments["r_cut"])
        moved_bpc = r_pc + 1j * STEP * displacements(i_p, j_p, r_pc, len(atoms))
        x_ebd = np.array(
            [
                symmetry_functions(moved_bpc[:, i_p == i], atoms.numbers[j_p[i_p == i]], **self.arguments)
                / self.scale.get(int(atoms.numbers[i]), 1.0)
                for i in range(len(atoms))
            ]
        )
        n, b = x_ebd.shape[:2]
        groups = [int(z) for z in atoms.numbers]
        return groups, np.arange(n), x_ebd[:, 0].real, x_ebd.imag / STEP, np.ones(n), np.zeros((n, b))


def symmetry_functions(
    r_bpc: Array,
    numbers_p: Array,
    *,
    r_cut: float,
    species: Sequence[int],
    g2_params: Sequence[Sequence[float]] = (),
    g3_params: Sequence[float] = (),
    g4_params: Sequence[Sequence[float]] = (),
    g5_params: Sequence[Sequence[float]] = (),
) -> Array:
    """Features of one centre from the vectors to its neighbours, shape (B, F), in the order of dscribe."""
    columns = []
    for z in species:
        r = length(r_bpc[:, numbers_p == z])
        f = cosine_cutoff(r, r_cut)
        columns.append(f.sum(axis=1))
        columns += [(np.exp(-eta * (r - centre) ** 2) * f).sum(axis=1) for eta, centre in g2_params]
        columns += [(np.cos(kappa * r) * f).sum(axis=1) for kappa in g3_params]
    for high, z in enumerate(species):
        for y in species[: high + 1]:
            sums = np.zeros((len(g4_params) + len(g5_params), len(r_bpc)), dtype=r_bpc.dtype)
            for p, q in combinations(range(len(numbers_p)), 2):
                if sorted((numbers_p[p], numbers_p[q])) != [y, z]:
                    continue
                a, b, far = length(r_bpc[:, p]), length(r_bpc[:, q]), length(r_bpc[:, p] - r_bpc[:, q])
                cosine = np.sum(r_bpc[:, p] * r_bpc[:, q], axis=-1) / (a * b)
                ff = cosine_cutoff(a, r_cut) * cosine_cutoff(b, r_cut)
                for k, (eta, zeta, lam) in enumerate([*g4_params, *g5_params]):
                    is_4 = k < len(g4_params)
                    square = a**2 + b**2 + (far**2 if is_4 else 0.0)
                    cut = ff * cosine_cutoff(far, r_cut) if is_4 else ff
                    sums[k] += 2.0 ** (1.0 - zeta) * (1.0 + lam * cosine) ** zeta * np.exp(-eta * square) * cut
            columns += list(sums)
    return np.stack(columns, axis=-1)
