"""Rows of derivatives of normalised SOAP vectors, for the fit.

For pair (e, j) with j of species Z, the spectrum changes through the n_max channels of Z alone:

    ∂p·y = Σ_l,n,b X[n, b] H_y[(Z, n), b],   X[n, b] = ρ'_n r_c (S_l·c_b) + ρ_n (∂_c S_l·c_b)

with ρ_n = w R_nl, ρ'_n its slope over r, and H_y the unfolded point. X is an outer product of
pair quantities, so nothing of the length of the whole spectrum is formed per pair.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gapkit.descriptors.expansion import Bucket, Expansion
from gapkit.descriptors.soap_points import SoapPoints
from gapkit.numerics.harmonics import gradient_maps
from gapkit.typing import FloatArray, IntArray


class SoapJacobian:
    """∂q/∂r contracted with the sparse points; row q belongs to pair q.

    Parameters
    ----------
    expansion
        Expansion of the block.
    partners
        Coefficients c_b per l, shape (E, B, 2l+1).
    x_sd, norm_e, norm_slope_pc
        q, |p| and ∂|p|/∂r of every pair.
    points
        The sparse points.
    """

    def __init__(
        self,
        expansion: Expansion,
        partners: Sequence[FloatArray],
        x_sd: FloatArray,
        norm_e: FloatArray,
        norm_slope_pc: FloatArray,
        points: SoapPoints,
    ) -> None:
        self._expansion, self._partners, self._points = expansion, partners, points
        self.site_q: IntArray = expansion.pairs.e_p
        self.pair_q: IntArray = np.arange(len(self.site_q))
        seen = x_sd if points.map_fd is not None else x_sd @ points.x_md.T
        # rows of ∂q in the space of the map, or of ∂q·x_m where there is no map
        rows = self._spectrum_rows(seen.shape[1])
        rows -= norm_slope_pc[:, :, None] * seen[self.site_q][:, None, :]
        rows /= norm_e[self.site_q][:, None, None]
        self.rows_qcx: FloatArray = rows
        self.along_qc: FloatArray | None = None  # q is a unit vector: q·∂q = 0
        self.weight_slope_qc: FloatArray | None = None

    def meet(self, rows_qcx: FloatArray) -> FloatArray:
        """Rows met by the sparse points, shape (Q, 3, M)."""
        if self._points.map_fd is None:
            return rows_qcx
        # one large GEMM: numpy would multiply a 3-index array slice by slice
        return (rows_qcx.reshape(-1, rows_qcx.shape[2]) @ self._points.x_md.T).reshape(*rows_qcx.shape[:2], -1)

    def _spectrum_rows(self, width: int) -> FloatArray:
        """Σ ∂p·(map or points) of every pair, shape (P, 3, width)."""
        rows = np.empty((len(self.site_q), 3, width))
        for bucket in self._expansion.buckets:
            local = np.zeros((len(bucket.pair_g), 3, width))
            done = 0
            for l, block in enumerate(self._points.unfolded[bucket.s]):
                columns = slice(None) if self._points.map_fd is None else slice(done, done + block.shape[1])
                done += block.shape[1]
                for c, x in enumerate(self._outer(bucket, l)):
                    local[:, c, columns] += x.reshape(len(block), -1).T @ block
            rows[bucket.pair_g[bucket.real_g]] = local[bucket.real_g]
        return rows

    def _outer(self, bucket: Bucket, l: int) -> FloatArray:
        """X of one l, shape (3, n_max, B, G·P)."""
        basis, partners = self._expansion.basis, self._partners[l][bucket.e_g]
        phi = bucket.overlap[l]
        mixing = basis.mixing_lnk[l]
        value = (mixing @ phi) * bucket.weight_g
        slope = (mixing @ phi) * bucket.slope_g
        slope -= (mixing @ (phi * (2.0 * self._expansion.gammas_lk[l][:, None]))) * bucket.weight_g
        radial = bucket.through(l, partners)
        x = slope[None, :, None] * (bucket.r_cg[:, None] * radial)[:, None]
        if l:
            for c, turned in enumerate(gradient_maps(basis.l_max)[l]):
                x[c] += value[:, None] * bucket.through(l - 1, partners @ turned)
        return x
