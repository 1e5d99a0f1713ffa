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
from gapkit.numerics.harmonics import joined_maps
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
        self.along_qc: FloatArray | None = None  # q is a unit vector: q·∂q = 0
        self.weight_slope_qc: FloatArray | None = None
        # rows of ∂q in the space of the map, or of ∂q·x_m where there is no map
        seen_sx = x_sd if points.map_fd is not None else x_sd @ points.x_md.T
        slope_pc = norm_slope_pc / norm_e[self.site_q][:, None]
        self.rows_qcx: FloatArray = np.empty((len(self.site_q), 3, seen_sx.shape[1]))
        for bucket in expansion.buckets:
            self._fill(bucket, 1.0 / norm_e[bucket.e_g])
        seen_qx = seen_sx[self.site_q]
        for c in range(3):
            self.rows_qcx[:, c] -= slope_pc[:, c, None] * seen_qx

    def meet(self, rows_qcx: FloatArray) -> FloatArray:
        """Rows met by the sparse points, shape (Q, 3, M)."""
        if self._points.map_fd is None:
            return rows_qcx
        # one large GEMM: numpy would multiply a 3-index array slice by slice
        return (rows_qcx.reshape(-1, rows_qcx.shape[2]) @ self._points.x_md.T).reshape(*rows_qcx.shape[:2], -1)

    def _fill(self, bucket: Bucket, scale_g: FloatArray) -> None:
        """Write Σ ∂p·(map or points)/|p| of one bucket."""
        scale = np.repeat(scale_g, bucket.shape[1])
        blocks = self._points.unfolded[bucket.s]
        rows = np.empty((len(bucket.pair_g), *self.rows_qcx.shape[1:]))
        if self._points.map_fd is None:
            self._products([np.concatenate(blocks)], [range(len(blocks))], bucket, scale, rows)
        else:
            self._products(blocks, [range(l, l + 1) for l in range(len(blocks))], bucket, scale, rows)
        bucket.scatter(rows, self.rows_qcx)

    def _products(
        self,
        blocks: Sequence[FloatArray],
        degrees: Sequence[range],
        bucket: Bucket,
        scale: FloatArray,
        rows: FloatArray,
    ) -> None:
        """X of some degrees times one block, into the columns of that block."""
        done = 0
        for block, ls in zip(blocks, degrees, strict=True):
            x = np.concatenate([self._outer(bucket, l, scale).reshape(3, -1, len(scale)) for l in ls], axis=1)
            for c in range(3):
                np.matmul(x[c].T, block, out=rows[:, c, done : done + block.shape[1]])
            done += block.shape[1]

    def _outer(self, bucket: Bucket, l: int, scale: FloatArray) -> FloatArray:
        """X of one l, shape (3, n_max, B, G·P)."""
        basis, partners = self._expansion.basis, self._partners[l][bucket.e_g]
        n, width = basis.n_max, partners.shape[1]
        mixing, gammas = basis.mixing_lnk[l], self._expansion.gammas_lk[l]
        value = (mixing @ bucket.overlap[l]) * scale
        slope = value * bucket.decay_g - ((mixing * (2.0 * gammas)) @ bucket.overlap[l]) * scale
        radial = bucket.through(l, partners)
        x = np.empty((3, n, width, len(scale)))
        np.multiply(slope[None, :, None], (bucket.r_cg[:, None] * radial)[:, None], out=x)
        if l:
            turned = partners @ joined_maps(basis.l_max)[l]
            parts = [turned[:, :, c * (2 * l - 1) : (c + 1) * (2 * l - 1)] for c in range(3)]
            angular = bucket.through(l - 1, np.concatenate(parts, axis=1)).reshape(3, 1, width, -1)
            x += value[:, None] * angular
        return x
