"""Cross-validation from compressed rows: errors of frames that are left out, for any σ, and no kernel is evaluated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.linalg import solve_triangular

from gapkit.gp.compress import CompressedRows
from gapkit.gp.likelihood import Part
from gapkit.gp.posterior import stacked
from gapkit.numerics.factor import qr_triangle
from gapkit.typing import KINDS, FloatArray, Kind

Scales = Mapping[Kind, float]

_EXACT = 1e-12  # labels that are no function of anything


class Folds:
    """The data in parts, each of which is left out once.

    Parameters
    ----------
    prior_mm
        Upper triangular factor of K_mm/δ².
    fixed
        Rows that are never left out.
    folds
        Compressed rows of each part, {kind: (rows, σ of each)}: these σ are the unit of all others.
    """

    def __init__(self, prior_mm: FloatArray, fixed: CompressedRows, folds: Sequence[Mapping[Kind, Part]]) -> None:
        self._prior_mm, self._fixed_nm = prior_mm, fixed.factor_nm
        self._own = [{kind: _by_group(part) for kind, part in fold.items()} for fold in folds]
        whole = [{kind: _merged(rows) for kind, rows in fold.items()} for fold in self._own]
        self._others = [_all_but(whole, k) for k in range(len(whole))]

    def errors(self, scales: Scales) -> dict[Kind, float]:
        """Errors in units of σ, each fold by the fit to the others.

        Root mean squares of each config_type in each fold, and of these the mean, in which every label weighs the same:
        near the mean absolute error, so that a few frames of large errors do not decide alone.

        Parameters
        ----------
        scales
            Factor of σ for each kind; kinds that are absent are not fitted.
        """
        return self._averaged([self._weights(others, scales) for others in self._others])

    def sizes(self) -> dict[Kind, float]:
        """The same of the labels themselves: errors of a model that says nothing."""
        return self._averaged([np.zeros(len(self._prior_mm))] * len(self._own))

    def _averaged(self, weights: Sequence[FloatArray]) -> dict[Kind, float]:
        """Errors with the weights for each fold."""
        total: dict[Kind, float] = dict.fromkeys(KINDS, 0.0)
        count = dict.fromkeys(KINDS, 0)
        for own, weights_m in zip(self._own, weights, strict=True):
            for kind, groups in own.items():
                total[kind] += sum(rows.n_rows * rows.rms(weights_m) for rows in groups)
                count[kind] += sum(rows.n_rows for rows in groups)
        return {kind: max(total[kind] / count[kind], _EXACT) for kind in KINDS if count[kind]}

    def _weights(self, rows: Mapping[Kind, _Rows], scales: Scales) -> FloatArray:
        """Weights of the fit to these rows."""
        m = len(self._prior_mm)
        factors = [np.asfortranarray(rows[k].factor_nm / scales[k]) for k in rows if k in scales]
        factors.append(np.array(self._fixed_nm, order="F"))
        triangle = stacked(self._prior_mm, factors)
        weights_m: FloatArray = solve_triangular(triangle[:m, :m], triangle[:m, m], check_finite=False)
        return weights_m


class _Rows:
    """Compressed rows in units of σ, and how many they were."""

    def __init__(self, factor_nm: FloatArray, n_rows: int) -> None:
        self.factor_nm, self.n_rows = factor_nm, n_rows

    def rms(self, weights_m: FloatArray) -> float:
        """Root mean square residual."""
        residual_n = self.factor_nm[:, :-1] @ weights_m - self.factor_nm[:, -1]
        return float(np.sqrt(residual_n @ residual_n / self.n_rows))


def _by_group(part: Part) -> list[_Rows]:
    """The rows of each config_type."""
    groups = sorted({rows.key.group for rows in part.rows})
    both = list(zip(part.rows, part.sigmas, strict=True))
    each = [[(rows, sigma) for rows, sigma in both if rows.key.group == group] for group in groups]
    return [_Rows(*Part([rows for rows, _ in own], [sigma for _, sigma in own]).folded()[:2]) for own in each]


def _merged(parts: Sequence[_Rows]) -> _Rows:
    """Several sets of rows as one."""
    factor_nm = np.concatenate([rows.factor_nm for rows in parts])
    short = len(factor_nm) <= factor_nm.shape[1]
    return _Rows(factor_nm if short else qr_triangle(factor_nm), sum(rows.n_rows for rows in parts))


def _all_but(folds: Sequence[Mapping[Kind, _Rows]], left_out: int) -> dict[Kind, _Rows]:
    """All rows but those of one fold, by kind."""
    others = [fold for k, fold in enumerate(folds) if k != left_out]
    present = {kind for fold in others for kind in fold}
    return {kind: _merged([fold[kind] for fold in others if kind in fold]) for kind in KINDS if kind in present}
