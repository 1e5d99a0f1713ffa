"""A textbook Gaussian process with derivative observations, and the dense formulas of its sparse (DTC) approximation.

Notation of Quiñonero-Candela and Rasmussen, JMLR 6, 1939 (2005). With `digits` the linear algebra is done in decimal
arithmetic of that many digits, in which K_mm⁻¹ may be written down without tricks. That costs about 0.3 µs per
multiplication: 60 inducing points and 200 rows take seconds. Pair terms have many points: use small clusters there.

A sparse process whose inducing *values* are all training and test environments equals the exact one for energies. For
forces and stresses it does so only if the inducing points span the feature space of the kernel: see `spanning.py`.
"""

from __future__ import annotations

import contextlib
import decimal
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tests.reference.latent import Functional, PairGP, Points, SoapGP, Term, all_functionals, labelled
from tests.reference.soap_legendre import Array

__all__ = [
    "Functional",
    "PairGP",
    "ReferenceGP",
    "SoapGP",
    "SparseReference",
    "all_functionals",
    "arithmetic",
    "labelled",
    "log_normal",
    "solve",
]

Inducing = Sequence[Mapping[Any, Array]]  # per term: group → power spectra (M, D) or distances (M,)
Rows = list[tuple[list[int], list[dict[Hashable, Points]]]]  # per structure: its row numbers, its points of each term


@contextlib.contextmanager
def arithmetic(digits: int | None) -> Iterator[Callable[[Any], Array]]:
    """Converter of float arrays to the arithmetic in use: float64 (None) or decimals of so many digits."""
    with decimal.localcontext() as context:
        context.prec = digits or context.prec
        exact = np.frompyfunc(lambda number: decimal.Decimal(float(number)), 1, 1)
        yield (lambda a: np.asarray(exact(a), dtype=object)) if digits else (lambda a: np.asarray(a, dtype=float))


def solve(a_nn: Array, b_nk: Array) -> tuple[Array, float]:
    """A⁻¹B and log det A for a symmetric positive definite A by Gaussian elimination, in floats or decimals."""
    a, b, log_det = a_nn.copy(), b_nk.copy(), 0.0
    for k in range(len(a)):
        if not a[k, k] > 0:
            raise np.linalg.LinAlgError(f"pivot {k} of {len(a)} is {a[k, k]}: the matrix is not positive definite")
        log_det += float(a[k, k].ln()) if a.dtype == object else np.log(a[k, k])
        factor = a[k + 1 :, k] / a[k, k]
        a[k + 1 :, k:] -= factor[:, None] * a[k, k:]
        b[k + 1 :] -= factor[:, None] * b[k]
    for k in reversed(range(len(a))):
        b[k] = (b[k] - a[k, k + 1 :] @ b[k + 1 :]) / a[k, k]
    return b, float(log_det)


def log_normal(y_n: Array, covariance_nn: Array) -> float:
    """log N(y | 0, covariance)."""
    alpha_n, log_det = solve(covariance_nn, y_n[:, None])
    return float(-0.5 * float(y_n @ alpha_n[:, 0]) - 0.5 * log_det - 0.5 * len(y_n) * np.log(2.0 * np.pi))


class ReferenceGP:
    """The exact process: posterior of any functionals given noisy values of others.

    Parameters
    ----------
    terms
        Independent latent functions whose energies add up.
    digits
        Decimal digits of the linear algebra; None is float64.
    """

    def __init__(self, terms: Sequence[Term], digits: int | None = None) -> None:
        self.terms, self.digits = list(terms), digits

    def covariance(self, left: Sequence[Functional], right: Sequence[Functional]) -> Array:
        """Prior covariance of two lists of functionals, shape (n, m)."""
        with arithmetic(self.digits) as convert:
            return self._covariance(self._rows(left, convert), self._rows(right, convert)).astype(float)

    def fit(self, observables: Sequence[Functional], y: Array, sigma: Array) -> ReferenceGP:
        """Condition on values y (n,) with independent Gaussian noise of standard deviations sigma (n,)."""
        with arithmetic(self.digits) as convert:
            self._train, self._y = self._rows(observables, convert), convert(y)
            self._noisy = self._covariance(self._train, self._train) + np.diag(convert(sigma) ** 2)
            self._alpha = solve(self._noisy, self._y[:, None])[0][:, 0]
        return self

    def mean(self, observables: Sequence[Functional]) -> Array:
        """Posterior mean, shape (m,)."""
        with arithmetic(self.digits) as convert:
            return (self._covariance(self._rows(observables, convert), self._train) @ self._alpha).astype(float)

    def variance(self, observables: Sequence[Functional]) -> Array:
        """Posterior variance without noise, k** − k*ᵀ (K + Λ)⁻¹ k*, shape (m,)."""
        with arithmetic(self.digits) as convert:
            rows = self._rows(observables, convert)
            k_mn = self._covariance(rows, self._train)
            explained_m = (k_mn * solve(self._noisy, k_mn.T.copy())[0].T).sum(axis=1)
            return (self._prior_variance(rows) - explained_m).astype(float)

    def log_evidence(self) -> float:
        """log N(y | 0, K + Λ)."""
        with arithmetic(self.digits):
            return log_normal(self._y, self._noisy)

    def _rows(self, observables: Sequence[Functional], convert: Callable[[Any], Array]) -> Rows:
        by_structure: dict[int, list[int]] = {}
        for row, observable in enumerate(observables):
            by_structure.setdefault(id(observable.atoms), []).append(row)
        result: Rows = []
        for rows in by_structure.values():
            mine = [observables[row] for row in rows]
            floats = [term.points(mine[0].atoms, mine) for term in self.terms]
            result.append((rows, [{g: _convert(p, convert) for g, p in groups.items()} for groups in floats]))
        return result

    def _block(self, left: list[dict[Hashable, Points]], right: list[dict[Hashable, Points]]) -> Any:
        """Covariance of two structures; the scalar 0 where they have no group in common."""
        pairs = zip(self.terms, left, right, strict=True)
        return sum(term.covariance(a[g], b[g]) for term, a, b in pairs for g in a if g in b)

    def _covariance(self, left: Rows, right: Rows) -> Array:
        shape = [sum(len(rows) for rows, _ in side) for side in (left, right)]
        k_nm = np.zeros(shape, dtype=object if self.digits else float) + _zero(self.digits)
        for rows, a in left:
            for columns, b in right:
                k_nm[np.ix_(rows, columns)] = k_nm[np.ix_(rows, columns)] + self._block(a, b)
        return k_nm

    def _prior_variance(self, rows: Rows) -> Array:
        variance_n = np.zeros(sum(len(r) for r, _ in rows), dtype=object if self.digits else float) + _zero(self.digits)
        for r, points in rows:
            variance_n[r] = variance_n[r] + np.diag(self._block(points, points))
        return variance_n


class SparseReference(ReferenceGP):
    """DTC with inducing values u_m = g(x_m), dense inverses and no cleverness.

    Parameters
    ----------
    terms
        As in `ReferenceGP`.
    inducing
        For each term the inducing points of each group. Columns: term by term, group by group as given.
    jitter
        Added to the diagonal of K_mm wherever K_mm occurs: a number or shape (M,), eV².
    digits
        50 by default, so that nearly singular K_mm are harmless.
    """

    def __init__(
        self, terms: Sequence[Term], inducing: Inducing, jitter: float | Array = 0.0, digits: int | None = 50
    ) -> None:
        super().__init__(terms, digits)
        self.inducing = [{g: t.inducing(x) for g, x in m.items()} for t, m in zip(self.terms, inducing, strict=True)]
        self.jitter = np.broadcast_to(jitter, (sum(len(x) for groups in self.inducing for x in groups.values()),))

    def fit(self, observables: Sequence[Functional], y: Array, sigma: Array) -> SparseReference:
        """A = K_mm + K_mn Λ⁻¹ K_nm; weights A⁻¹ K_mn Λ⁻¹ y."""
        with arithmetic(self.digits) as convert:
            self._m = self._inducing_rows(convert)
            self._y, self._lambda = convert(y), convert(sigma) ** 2
            self._k_mm = self._covariance(self._m, self._m) + np.diag(convert(self.jitter))
            self._k_nm = self._covariance(self._rows(observables, convert), self._m)
            scaled_nm = self._k_nm / self._lambda[:, None]
            self._a_mm = self._k_mm + self._k_nm.T @ scaled_nm
            self._weights = solve(self._a_mm, (scaled_nm.T @ self._y)[:, None])[0][:, 0]
        return self

    def weights(self) -> Array:
        """Coefficients of the kernel columns, shape (M,)."""
        return self._weights.astype(float)

    def mean(self, observables: Sequence[Functional]) -> Array:
        """k*ᵀ A⁻¹ K_mn Λ⁻¹ y, shape (m,)."""
        with arithmetic(self.digits) as convert:
            return (self._covariance(self._rows(observables, convert), self._m) @ self._weights).astype(float)

    def variance(self, observables: Sequence[Functional]) -> Array:
        """k** − k*ᵀ K_mm⁻¹ k* + k*ᵀ A⁻¹ k*, shape (m,)."""
        with arithmetic(self.digits) as convert:
            rows = self._rows(observables, convert)
            k_sm = self._covariance(rows, self._m)
            nystroem_s = (k_sm * solve(self._k_mm, k_sm.T.copy())[0].T).sum(axis=1)
            posterior_s = (k_sm * solve(self._a_mm, k_sm.T.copy())[0].T).sum(axis=1)
            return (self._prior_variance(rows) - nystroem_s + posterior_s).astype(float)

    def log_evidence(self) -> float:
        """log N(y | 0, K_nm K_mm⁻¹ K_mn + Λ)."""
        with arithmetic(self.digits):
            q_nn = self._k_nm @ solve(self._k_mm, self._k_nm.T.copy())[0]
            return log_normal(self._y, q_nn + np.diag(self._lambda))

    def _inducing_rows(self, convert: Callable[[Any], Array]) -> Rows:
        """Each group as if it were a structure: the functionals are the values g(x_m) themselves."""
        result: Rows = []
        for t, groups in enumerate(self.inducing):
            for group, x in groups.items():
                start = sum(len(rows) for rows, _ in result)
                points: list[dict[Hashable, Points]] = [{} for _ in self.terms]
                points[t] = {group: _convert(Points(x, np.eye(len(x)), None), convert)}
                result.append((list(range(start, start + len(x))), points))
        return result


def _convert(points: Points, convert: Callable[[Any], Array]) -> Points:
    return Points(convert(points.x), convert(points.a), None if points.v is None else convert(points.v))


def _zero(digits: int | None) -> Any:
    return decimal.Decimal(0) if digits else 0.0
