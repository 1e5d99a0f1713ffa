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
        self._own = [{kind: _Rows(*part.folded()[:2]) for kind, part in fold.items()} for fold in folds]
        self._others = [_merged([own for j, own in enumerate(self._own) if j != k]) for k in range(len(self._own))]

    def errors(self, scales: Scales) -> dict[Kind, float]:
        """Root mean square errors in units of σ, each fold by the fit to the others: geometric mean over folds.

        Parameters
        ----------
        scales
            Factor of σ for each kind; kinds that are absent are not fitted.
        """
        logs: dict[Kind, list[float]] = {kind: [] for kind in KINDS}
        for own, others in zip(self._own, self._others, strict=True):
            weights_m = self._weights(others, scales)
            for kind, rows in own.items():
                logs[kind].append(np.log(max(rows.rms(weights_m), 1e-12)))  # labels that are exact
        return {kind: float(np.exp(np.mean(found))) for kind, found in logs.items() if found}

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


def _merged(folds: Sequence[Mapping[Kind, _Rows]]) -> dict[Kind, _Rows]:
    """All rows of several folds, by kind."""
    made: dict[Kind, _Rows] = {}
    for kind in KINDS:
        rows = [fold[kind] for fold in folds if kind in fold]
        if rows:
            factor_nm = np.concatenate([r.factor_nm for r in rows])
            short = len(factor_nm) <= factor_nm.shape[1]
            made[kind] = _Rows(factor_nm if short else qr_triangle(factor_nm), sum(r.n_rows for r in rows))
    return made
