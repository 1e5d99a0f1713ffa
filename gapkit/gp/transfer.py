"""What a model passes on: its data on other sparse points, or the Gaussian summary of its posterior.

The likelihood of old data D depends on the new sparse points through the old ones alone, if these stay:
p(D | w) is that of the rows R_old K_oo⁻¹ K_o,all (Bui, Nguyen & Turner, Adv. Neural Inf. Process. Syst. 30 (2017),
eq. 5, for deterministic training conditionals).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from scipy.linalg import block_diag, cho_solve

from gapkit.errors import DataError
from gapkit.gp.compress import CompressedRows, Observations, RowKey
from gapkit.gp.posterior import Posterior
from gapkit.gp.term import Channel, SparseTerm
from gapkit.numerics.factor import qr_triangle, whiten
from gapkit.typing import FloatArray, IntArray

SUMMARY = RowKey("earlier fit", "energy", own=True)
"""Key of the rows that stand for the posterior of an earlier fit."""

_NOTHING = 1e-10  # of a prior variance: directions of which the data say less have no row
_WEAK = 1e-8  # of the largest singular value: the share of a row in weaker directions is rounding
_FOUND = 1e-6  # of rows that may be missing in the factor that they are taken from


class Summary:
    """What the posterior of an old function says about a new one.

    The new function is the old one plus a difference, whose prior is f times that of the old one: the prior of both
    together is K (1 + f²), and the weights have the covariance A⁻¹ + f² K⁻¹ about the old weights.
    """

    def __init__(self, old: Posterior) -> None:
        # in the basis of the singular vectors, A = Uᵀ V g Vᵀ U with the factor U of K⁻¹ and g ≥ 1
        _, singular, turned_mm = np.linalg.svd(whiten(old.prior_mm, old.data_mm))
        self._g = np.maximum(singular**2, 1.0)
        self._basis_mm = turned_mm @ old.prior_mm
        self._turned_m = self._basis_mm @ old.weights_m

    def carried(self, terms: Sequence[Grown], prior_mm: FloatArray) -> Summary:
        """The same for new terms; `prior_mm` is the factor of the prior of the old ones."""
        wide = copy(self)
        wide._basis_mm = self._basis_mm @ block_diag(*_carry(terms, prior_mm))
        return wide

    def rows(self, difference: float = 0.0) -> CompressedRows:
        """Rows for σ = 1 and for a prior K (1 + f²), whose factor is that of the old one over √(1 + f²).

        Parameters
        ----------
        difference
            f ≥ 0; 0 passes on the posterior itself.
        """
        precision = 1.0 / (1.0 / self._g + difference**2)
        added = precision - 1.0 / (1.0 + difference**2)
        kept = added > _NOTHING
        root = np.sqrt(added[kept])
        rows = root[:, None] * self._basis_mm[kept]
        target = precision[kept] / root * self._turned_m[kept]
        return CompressedRows(SUMMARY, np.asfortranarray(np.column_stack([rows, target])), int(kept.sum()), 0.0)


@dataclass(frozen=True, eq=False)
class Grown:
    """A term with more sparse points.

    Attributes
    ----------
    old, new
        The term before and after.
    kept
        How many points of each channel, at its beginning, are those of the old one, in their order.
    """

    old: SparseTerm
    new: SparseTerm
    kept: Mapping[Channel, int]

    def columns(self) -> tuple[IntArray, IntArray]:
        """Columns of the new term that are those of the old one, in its order, and all others."""
        columns = self.new.columns
        first = [np.arange(columns[c].start, columns[c].start + self.kept[c]) for c in self.old.points]
        old = np.concatenate([np.empty(0, dtype=np.int64), *first])
        return old, np.setdiff1d(np.arange(self.new.n_columns), old)

    def carry(self, prior_mm: FloatArray) -> FloatArray:
        """K_oo⁻¹ K_o,all, shape (M_old, M_new); `prior_mm` is the old factor of K_oo/δ²."""
        old, new = self.columns()
        carry_on = np.zeros((self.old.n_columns, self.new.n_columns))
        carry_on[:, old] = np.eye(len(old))
        if len(new):
            k_on = self.new.covariance()[np.ix_(old, new)] / self.new.delta**2
            carry_on[:, new] = cho_solve((prior_mm, False), k_on, check_finite=False)
        return carry_on


def carried(rows: Sequence[CompressedRows], terms: Sequence[Grown], prior_mm: FloatArray) -> list[CompressedRows]:
    """Rows on the sparse points of the old terms as rows on those of the new ones.

    Parameters
    ----------
    prior_mm
        Factor of the prior of the old terms.
    """
    carry = block_diag(*_carry(terms, prior_mm), np.ones((1, 1)))
    return [replace(part, factor_nm=np.asfortranarray(part.factor_nm @ carry), open_nb=None) for part in rows]


def _carry(terms: Sequence[Grown], prior_mm: FloatArray) -> list[FloatArray]:
    """K_oo⁻¹ K_o,all of each term."""
    edges = np.cumsum([0] + [t.old.n_columns for t in terms])
    own = [slice(a, b) for a, b in pairwise(edges.tolist())]
    return [t.carry(prior_mm[c, c]) for t, c in zip(terms, own, strict=True)]


def merged(parts: Sequence[CompressedRows]) -> list[CompressedRows]:
    """One factor per key."""
    found: dict[RowKey, CompressedRows] = {}
    for part in parts:
        other = found.get(part.key)
        if other is not None:
            both = np.concatenate([other.factor_nm, part.factor_nm])
            factor_nm = qr_triangle(both) if len(both) > both.shape[1] else np.asfortranarray(both)
            part = CompressedRows(part.key, factor_nm, other.n_rows + part.n_rows, other.log_scale + part.log_scale)
        found[part.key] = part
    return [found[key] for key in sorted(found)]


def without(part: CompressedRows, taken: Sequence[Observations], prior_mm: FloatArray) -> CompressedRows | None:
    """A factor without some of the observations that it was made of; None where none is left.

    With rows r = C R of the factor R, RᵀR - rᵀr = Rᵀ(1 - CᵀC)R. C is found in units of the prior, R U⁻¹, where what
    is small hardly counts: without, directions of tiny kernels make it imprecise.

    Parameters
    ----------
    prior_mm
        Triangular factor U of K_mm/δ².

    Raises
    ------
    DataError
        The observations are not among those of the factor.
    """
    n_taken = sum(len(o.y_nt) for o in taken)
    if n_taken >= part.n_rows:
        return None
    rows = np.concatenate([np.column_stack([o.rows_nm, o.y_nt]) / o.divisor_n[:, None] for o in taken])
    factor_w, rows_w = (np.column_stack([whiten(prior_mm, a[:, :-1]), a[:, -1]]) for a in (part.factor_nm, rows))
    share = np.linalg.lstsq(factor_w.T, rows_w.T, rcond=_WEAK)[0].T
    missing = np.linalg.norm(rows - share @ part.factor_nm, axis=1)
    left, turn = np.linalg.eigh(np.eye(share.shape[1]) - share.T @ share)
    if (missing > _FOUND * np.linalg.norm(rows, axis=1)).any() or left.min() < -_FOUND:
        what = f"These {part.key.kind} labels of '{part.key.group}' are not among those of the fit"
        raise DataError(what, fix="give the frames as they were when the model was fitted")
    factor_nm = qr_triangle(np.sqrt(np.maximum(left, 0.0))[:, None] * (turn.T @ part.factor_nm))
    log_scale = part.log_scale - sum(float(np.log(o.divisor_n).sum()) for o in taken)
    return CompressedRows(part.key, factor_nm, part.n_rows - n_taken, log_scale)
