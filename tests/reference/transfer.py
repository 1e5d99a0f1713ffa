"""Extension, fine-tuning and removal written down as dense Gaussians of the weights, in decimals of 60 digits.

A model has the weights w with the prior precision K/δ² and sees rows R: y = R w + noise. Everything below follows from
this with plain inverses; of gapkit only the factor of K/δ² and the rows of the structures are used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from gapkit import GAP
from gapkit.atoms.labels import to_frame
from gapkit.atoms.neighbours import NeighbourList
from gapkit.baselines.isolated import is_isolated
from gapkit.gp.design import frame_rows
from gapkit.gp.term import SparseTerm
from tests.reference.gaussian_process import arithmetic, log_normal, solve
from tests.reference.soap_legendre import Array

DIGITS, ISOLATED_SIGMA = 60, 1e-5


@dataclass
class Data:
    """Rows, targets and σ."""

    rows_nm: Array
    y_n: Array
    sigma_n: Array

    def plus(self, other: Data) -> Data:
        """Both, one after the other."""
        pairs = ((self.rows_nm, other.rows_nm), (self.y_n, other.y_n), (self.sigma_n, other.sigma_n))
        return Data(*(np.concatenate(pair) for pair in pairs))

    def on(self, carry_on: Array) -> Data:
        """The same on other sparse points."""
        return Data(self.rows_nm @ carry_on, self.y_n, self.sigma_n)


def rows_of(terms: Sequence[SparseTerm], atoms: Atoms) -> tuple[Array, Array, Array]:
    """Rows of energy (M,), forces (3N, M) and virial (6, M) of a structure."""
    reach = max(term.descriptor.reach for term in terms)
    frame = to_frame(atoms, labels=False)
    rows = frame_rows(terms, NeighbourList(reach).pairs(frame), {"energy", "forces", "stress"})
    return rows.energy_m, np.asarray(rows.forces_nm), np.asarray(rows.virial_vm)


def observed(
    terms: Sequence[SparseTerm], structures: Sequence[Atoms], e0: Mapping[str, float], sigmas: Mapping[str, float]
) -> Data:
    """What a fit sees of labelled structures without baselines; isolated atoms are not among them."""
    found: list[tuple[Array, Array, Array]] = []
    for atoms in structures:
        if is_isolated(to_frame(atoms)):
            continue
        (energy_m, forces_nm, virial_vm), labels, n = rows_of(terms, atoms), atoms.calc.results, len(atoms)
        if "energy" in labels and "energy" in sigmas:
            y = labels["energy"] - sum(e0[s] for s in atoms.get_chemical_symbols())
            found.append((energy_m[None], np.array([y]), np.array([sigmas["energy"] * n**0.5])))
        if "forces" in labels and "forces" in sigmas:
            found.append((forces_nm, labels["forces"].ravel(), np.full(3 * n, sigmas["forces"])))
        if "stress" in labels and "stress" in sigmas:
            y_v = labels["stress"] * atoms.get_volume()
            found.append((virial_vm, y_v, np.full(6, sigmas["stress"] * n**0.5)))
    return Data(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def isolated(terms: Sequence[SparseTerm], symbols: Sequence[str]) -> Data:
    """The rows that hold isolated atoms at e0."""
    rows = np.array([rows_of(terms, Atoms(symbol))[0] for symbol in symbols])
    return Data(rows, np.zeros(len(rows)), np.full(len(rows), ISOLATED_SIGMA))


@dataclass
class Weights:
    """A Gaussian of the weights: mean (M,) and covariance (M, M), in decimals."""

    mean_m: Array
    covariance_mm: Array

    @classmethod
    def prior(cls, factor_mm: Array, scale: float = 1.0) -> Weights:
        """From the triangular factor of K/δ², for `scale` δ."""
        with arithmetic(DIGITS) as exact:
            u_mm = exact(factor_mm)
            eye = exact(np.eye(len(u_mm)))
            inverse = solve(u_mm.T @ u_mm, eye)[0] * exact(scale) ** 2
            return cls(exact(np.zeros(len(u_mm))), inverse)

    def given(self, data: Data) -> Weights:
        """Conditioned on data: C - C Rᵀ (R C Rᵀ + Λ)⁻¹ R C."""
        with arithmetic(DIGITS) as exact:
            rows, error_n, noisy_nn = self._seen(data, exact)
            gain = solve(noisy_nn, rows @ self.covariance_mm)[0]
            return Weights(self.mean_m + gain.T @ error_n, self.covariance_mm - (rows @ self.covariance_mm).T @ gain)

    def log_evidence(self, data: Data) -> float:
        """log p(y)."""
        with arithmetic(DIGITS) as exact:
            _, error_n, noisy_nn = self._seen(data, exact)
            return log_normal(error_n, noisy_nn)

    def moved(self, prior: Weights, difference: float) -> Weights:
        """Plus an independent difference whose prior has `difference` times the standard deviation of another."""
        with arithmetic(DIGITS) as exact:
            return Weights(self.mean_m, self.covariance_mm + exact(difference) ** 2 * prior.covariance_mm)

    def says(self, rows_xm: Array) -> tuple[Array, Array]:
        """Mean and variance of some rows, as floats."""
        with arithmetic(DIGITS) as exact:
            rows = exact(rows_xm)
            variance = (rows @ self.covariance_mm * rows).sum(axis=1)
            return (rows @ self.mean_m).astype(float), variance.astype(float)

    def _seen(self, data: Data, exact: object) -> tuple[Array, Array, Array]:
        convert = exact
        rows, y_n, sigma_n = (convert(a) for a in (data.rows_nm, data.y_n, data.sigma_n))  # type: ignore[operator]
        return rows, y_n - rows @ self.mean_m, rows @ self.covariance_mm @ rows.T + np.diag(sigma_n**2)


def carry(old: Sequence[SparseTerm], new: Sequence[SparseTerm], prior_mm: Array) -> Array:
    """K_oo⁻¹ K_o,all, shape (M_old, M_new), where the old points of a channel come first among its new ones.

    K_oo is that of the factor of the old prior.
    """
    blocks = [(t, c) for t, term in enumerate(old) for c in term.points]
    start = np.cumsum([0] + [term.n_columns for term in new])
    place = [start[t] + new[t].columns[c].start + np.arange(len(old[t].points[c].x_md)) for t, c in blocks]
    here = np.concatenate(place)
    k_nn = np.zeros((start[-1], start[-1]))
    for t, term in enumerate(new):
        k_nn[start[t] : start[t + 1], start[t] : start[t + 1]] = term.covariance() / term.delta**2
    with arithmetic(DIGITS) as exact:
        u_mm = exact(prior_mm)
        carry_on = solve(u_mm.T @ u_mm, exact(k_nn[here]))[0].astype(float)
    carry_on[:, here] = np.eye(len(here))
    return carry_on


def rows_and_stds(model: GAP, structures: Sequence[Atoms]) -> tuple[Array, Array, Array]:
    """Rows of all properties, what the model predicts of them without e0, and the data part of its variances."""
    terms, e0 = model.state_.terms, model.e0_
    rows, means = [], []
    for atoms in structures:
        parts = rows_of(terms, atoms)
        crystal = atoms.pbc.all()
        rows += [parts[0][None], parts[1], *([parts[2]] if crystal else [])]
        p = model.predict(atoms)
        means += [[p.energy - sum(e0[int(z)] for z in atoms.numbers)], p.forces.ravel()]
        means += [p.stress * atoms.get_volume()] if crystal else []
    rows_xm = np.concatenate(rows)
    known, _ = model.state_.posterior.variances(rows_xm, np.zeros(len(rows_xm)))
    return rows_xm, np.concatenate(means), known
