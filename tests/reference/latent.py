"""Latent functions of atomic structures, and the exact covariances of the energies, forces and stresses made of them.

A term is a latent function g of a point (a normalised SOAP vector, a distance) with covariance k, independent between
groups (central species, species pair). Each observation is a linear functional Σ_e a_e g(x_e) + v_e·∇g(x_e):

    total energy    Σ_e w_e g(x_e)                      w_e = 1 (SOAP) or f(r)/2 (each directed pair)
    ∂E/∂b           Σ_e (∂w_e/∂b) g(x_e) + w_e (∂x_e/∂b)·∇g(x_e)      force: −∂E/∂x;  stress: V⁻¹ ∂E/∂strain

so that every covariance is a, v contracted with k, ∂k, ∂∂k. Points and their derivatives are float64 (complex step);
the kernels work in floats and in `decimal.Decimal` alike. All labels are relative to a mean of zero: subtract e0 first.
"""

from __future__ import annotations

import decimal
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from dscribe.descriptors import SOAP

from tests.reference.soap_legendre import STEP, Array, displacements, jacobian, neighbours


@dataclass(frozen=True, eq=False)
class Functional:
    """One observable: "energy" (), "local" (atom,), "force" (atom, axis) or "stress" (voigt,). eV, Å, ASE signs."""

    atoms: Atoms
    kind: str
    index: tuple[int, ...] = ()

    def sigma(self, energy: float, force: float, stress: float) -> float:
        """Noise of this row: energy (eV/atom) grows as √N, forces (eV/Å) do not, virial (eV/atom) as √N over volume."""
        root_n = np.sqrt(len(self.atoms))
        if self.kind == "stress":
            return float(stress * root_n / self.atoms.get_volume())
        return float({"energy": energy * root_n, "force": force}[self.kind])


def all_functionals(atoms: Atoms, kinds: Sequence[str] = ("energy", "force", "stress")) -> list[Functional]:
    """Every observable of one structure, in the order energy, forces (atom-major), stress (Voigt)."""
    n = len(atoms)
    index: dict[str, list[tuple[int, ...]]] = {
        "energy": [()],
        "local": [(e,) for e in range(n)],
        "stress": [(v,) for v in range(6)],
    }
    index["force"] = [(e, c) for e in range(n) for c in range(3)]
    return [Functional(atoms, kind, i) for kind in kinds for i in index[kind]]


def labelled(atoms: Atoms, kinds: Sequence[str] = ("energy", "force", "stress")) -> tuple[list[Functional], Array]:
    """The observables of `all_functionals` and the values that the calculator of `atoms` has for them, shape (n,)."""
    getters = {"energy": atoms.get_potential_energy, "force": atoms.get_forces, "stress": atoms.get_stress}
    return all_functionals(atoms, kinds), np.concatenate([np.ravel(getters[kind]()) for kind in kinds])


@dataclass(frozen=True, eq=False)
class Points:
    """Functionals of one group: points x (E, D), values a (n, E), gradients v (n, E, D) (None: no gradients)."""

    x: Array
    a: Array
    v: Array | None


class Term:
    """A latent function: where it is evaluated (`sites`) and its covariance (`_value`, `_left`, `_both`)."""

    def sites(self, atoms: Atoms) -> tuple[list[Any], Array, Array, Array, Array, Array]:
        """group_e, owner_e (the atom), x_ed, dx_ebd, w_e, dw_eb; b runs over the 3N coordinates, then the 6 strains."""
        raise NotImplementedError

    def points(self, atoms: Atoms, observables: Sequence[Functional]) -> dict[Hashable, Points]:
        """The functionals as coefficients of g and ∇g at the points of `atoms`, group by group."""
        group_e, owner_e, x_ed, dx_ebd, w_e, dw_eb = self.sites(atoms)
        a_ne, v_ned = np.zeros((len(observables), len(x_ed))), np.zeros((len(observables), *x_ed.shape))
        for row, o in enumerate(observables):
            if o.kind in ("energy", "local"):
                a_ne[row] = w_e if o.kind == "energy" else w_e * (owner_e == o.index[0])
                continue
            force = o.kind == "force"
            scale, b = (-1.0, 3 * o.index[0] + o.index[1]) if force else (1.0 / atoms.get_volume(), -6 + o.index[0])
            a_ne[row], v_ned[row] = scale * dw_eb[:, b], scale * w_e[:, None] * dx_ebd[:, b]
        result = {}
        for group in dict.fromkeys(group_e):
            mine = np.array([g == group for g in group_e])
            result[group] = Points(x_ed[mine], a_ne[:, mine], v_ned[:, mine])
        return result

    def inducing(self, x: Array) -> Array:
        """Points where inducing variables are g itself, from what the caller holds, shape (M, D)."""
        raise NotImplementedError

    def covariance(self, left: Points, right: Points) -> Array:
        """Covariance of two sets of functionals of one group, shape (n, m), eV²."""
        total = left.a @ self._value(left.x, right.x) @ right.a.T
        if left.v is not None:
            total = total + self._left(left.x, left.v, right.x) @ right.a.T
        if right.v is not None:
            total = total + (self._left(right.x, right.v, left.x) @ left.a.T).T
        if left.v is not None and right.v is not None:
            total = total + self._both(left.x, left.v, right.x, right.v)
        return total

    def _value(self, x: Array, y: Array) -> Array:
        """k(x_e, y_f), shape (E, F)."""
        raise NotImplementedError

    def _left(self, x: Array, v: Array, y: Array) -> Array:
        """Σ_e v_ne·∂_x k(x_e, y_f), shape (n, F)."""
        raise NotImplementedError

    def _both(self, x: Array, v: Array, y: Array, u: Array) -> Array:
        """Σ_ef v_ne·∂_x ∂_y k(x_e, y_f)·u_mf, shape (n, m)."""
        raise NotImplementedError


class SoapGP(Term):
    """Local energy of a normalised SOAP vector: k = δ² (x·y)^ζ, independent between central species."""

    def __init__(self, soap: SOAP, zeta: int, delta: float) -> None:
        self.soap, self.zeta, self.delta = soap, zeta, delta

    def sites(self, atoms: Atoms) -> tuple[list[Any], Array, Array, Array, Array, Array]:
        q_ed, dq_ebd = jacobian(atoms, self.soap, normalise=True)
        n, b = len(atoms), 3 * len(atoms) + 6
        return [int(z) for z in atoms.numbers], np.arange(n), q_ed, dq_ebd, np.ones(n), np.zeros((n, b))

    def inducing(self, x: Array) -> Array:
        return np.asarray(x / np.sqrt(np.sum(x * x, axis=1, keepdims=True)))  # power spectra p

    def _value(self, x: Array, y: Array) -> Array:
        return _like(self.delta, x) ** 2 * (x @ y.T) ** self.zeta

    def _left(self, x: Array, v: Array, y: Array) -> Array:
        slope_ef = _like(self.delta, x) ** 2 * self.zeta * (x @ y.T) ** (self.zeta - 1)
        return ((v @ y.T) * slope_ef).sum(axis=1)

    def _both(self, x: Array, v: Array, y: Array, u: Array) -> Array:
        d2, zeta, s_ef = _like(self.delta, x) ** 2, self.zeta, x @ y.T
        slope_ef = d2 * zeta * s_ef ** (zeta - 1)
        total = sum(v[:, :, d] @ slope_ef @ u[:, :, d].T for d in range(x.shape[1]))
        if zeta > 1:
            curve_ef = d2 * zeta * (zeta - 1) * s_ef ** (zeta - 2)
            vy_nef, ux_mef = v @ y.T, np.swapaxes(u @ x.T, 1, 2)
            total = total + (vy_nef * curve_ef).reshape(len(v), -1) @ ux_mef.reshape(len(u), -1).T
        return np.asarray(total)


class PairGP(Term):
    """Energy f(r) g(r) / 2 of each directed pair, k = δ² exp(−(r−r')²/2θ²), independent between species pairs.

    `cutoff` is f, a function of (real or complex) distances, Å; `only` restricts the term to one species pair.
    """

    def __init__(
        self,
        r_cut: float,
        cutoff: Callable[[Array], Array],
        theta: float,
        delta: float,
        only: tuple[int, int] | None = None,
    ) -> None:
        self.r_cut, self.cutoff, self.theta, self.delta, self.only = r_cut, cutoff, theta, delta, only

    def sites(self, atoms: Atoms) -> tuple[list[Any], Array, Array, Array, Array, Array]:
        i_p, j_p, r_pc = neighbours(atoms, self.r_cut)
        group_p = [tuple(sorted((int(atoms.numbers[i]), int(atoms.numbers[j])))) for i, j in zip(i_p, j_p, strict=True)]
        keep = np.array([self.only is None or g == tuple(sorted(self.only)) for g in group_p], dtype=bool)
        i_p, j_p, r_pc = i_p[keep], j_p[keep], r_pc[keep]
        moved_bpc = r_pc + 1j * STEP * displacements(i_p, j_p, r_pc, len(atoms))
        r_bp = np.sqrt(np.sum(moved_bpc * moved_bpc, axis=-1))
        w_bp = 0.5 * self.cutoff(r_bp)
        group_p = [g for g, k in zip(group_p, keep, strict=True) if k]
        derivatives = (r_bp.imag / STEP).T[:, :, None], (w_bp.imag / STEP).T
        return group_p, i_p, r_bp[0].real[:, None], derivatives[0], w_bp[0].real, derivatives[1]

    def inducing(self, x: Array) -> Array:
        return np.reshape(x, (-1, 1))  # distances

    def _parts(self, x: Array, y: Array) -> tuple[Array, Array, Any]:
        d_ef, t2 = x - y.T, _like(self.theta, x) ** 2
        return _like(self.delta, x) ** 2 * np.exp(-d_ef * d_ef / (2 * t2)), d_ef, t2

    def _value(self, x: Array, y: Array) -> Array:
        return self._parts(x, y)[0]

    def _left(self, x: Array, v: Array, y: Array) -> Array:
        k_ef, d_ef, t2 = self._parts(x, y)
        return v[:, :, 0] @ (-d_ef / t2 * k_ef)

    def _both(self, x: Array, v: Array, y: Array, u: Array) -> Array:
        k_ef, d_ef, t2 = self._parts(x, y)
        return v[:, :, 0] @ ((1 / t2 - d_ef * d_ef / t2**2) * k_ef) @ u[:, :, 0].T


def _like(number: float, array: Array) -> Any:
    """The number in the arithmetic of the array."""
    return decimal.Decimal(float(number)) if array.dtype == object else number
