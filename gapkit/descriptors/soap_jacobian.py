"""Rows of derivatives of normalised SOAP vectors, for the fit.

For pair (e, j) with j of species Z, the spectrum changes through the n_max channels of Z alone. In
the frame of the pair (along r, and two directions t across),

    ∂_r p·y = Σ_l,n,b R'_n A_b H_y[(Z, n), b],   ∂_t p·y = Σ_l,n,b (R_n/r) T_b H_y[(Z, n), b]

with R_n = w r^l R_nl, A_b = Y_l·c_b, T_b its slope across, and H_y the unfolded point. Each is an
outer product of pair quantities met by a matrix, so nothing of the length of the whole spectrum is
formed per pair; the rows are turned to Cartesian directions when they have become short. Of an embedding,
the channels of Z are the mixture Σ_k u_kZ of all, which goes into H_y beforehand.

Cost per pair, with B partners and D columns, in flops: 2·3·n_max·B·D for the products, 3·n_max·B·(l_max+1)
to form what they multiply, 2·12·D to turn the rows. Bytes: 8·(4 + 3)·D.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gapkit.descriptors.expansion import Bucket, Expansion
from gapkit.descriptors.soap_points import SoapPoints
from gapkit.numerics.harmonics import joined_maps
from gapkit.numerics.memory import aligned
from gapkit.typing import FloatArray, IntArray

_OUTER_BYTES = 1e6  # outer products of pairs are kept below this, so that they stay in the cache


class SoapJacobian:
    """∂q/∂r contracted with the sparse points; the rows of one site are neighbours.

    Parameters
    ----------
    expansion
        Expansion of the block, each bucket of one species.
    partners
        Coefficients c_b per l, shape (E, B, 2l+1).
    x_sd, norm_e
        q and |p|.
    unit_elab
        p/|p|, unfolded as in ∂|p|/∂c_a = Σ_b H_l[a, b] c_b with the c_a of the S densities, shape
        (E, l_max+1, S·n_max, B).
    points
        The sparse points.
    """

    def __init__(
        self,
        expansion: Expansion,
        partners: Sequence[FloatArray],
        x_sd: FloatArray,
        norm_e: FloatArray,
        unit_elab: FloatArray,
        points: SoapPoints,
    ) -> None:
        self._partners, self._points, self._unit_elab = partners, points, unit_elab
        self._maps = joined_maps(expansion.basis.l_max)
        real = [b.pair_g if b.real_g is None else b.pair_g[b.real_g] for b in expansion.buckets]
        self.pair_q: IntArray = np.concatenate([np.empty(0, dtype=np.int64), *real])
        self.site_q: IntArray = expansion.pairs.e_p[self.pair_q]
        self.along_qc: FloatArray | None = None  # q is a unit vector: q·∂q = 0
        self.weight_slope_qc: FloatArray | None = None
        # rows of ∂q in the space of the map, or of ∂q·x_m where there is no map
        seen_sx = x_sd if points.mapped else x_sd @ points.x_md.T
        self.rows_qcx: FloatArray = np.empty((len(self.pair_q), 3, seen_sx.shape[1]))
        done = 0
        for bucket, pair in zip(expansion.buckets, real, strict=True):
            norm = norm_e[expansion.pairs.e_p[bucket.pair_g]]
            local, turn = self._local(bucket, seen_sx, norm)
            if bucket.real_g is not None:
                local, turn = np.take(local, bucket.real_g, axis=1), turn[bucket.real_g]
            np.matmul(turn, local.transpose(1, 0, 2), out=self.rows_qcx[done : done + len(pair)])
            done += len(pair)

    def meet(self, rows_qcx: FloatArray) -> FloatArray:
        """Rows met by the sparse points, shape (Q, 3, M)."""
        if not self._points.mapped:
            return rows_qcx
        # one large GEMM: numpy would multiply a 3-index array slice by slice
        return (rows_qcx.reshape(-1, rows_qcx.shape[2]) @ self._points.x_md.T).reshape(*rows_qcx.shape[:2], -1)

    def _local(self, bucket: Bucket, seen_sx: FloatArray, norm_g: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Rows in the frame of the pair, and what makes Cartesian rows of ∂q of them.

        ∂p/|p| along and across r, then q itself, met by the map or the points: shape (4, G·P, X).
        Directions, and -∂|p|/|p| for q: shape (G·P, 3, 4).
        """
        points, blocks = self._points, self._points.unfolded[bucket.s_g[0]]
        mapped, slots = points.mapped, len(bucket.pair_g)
        local = np.empty((4, slots, seen_sx.shape[1]))
        local[3] = np.repeat(seen_sx[bucket.e_g], bucket.shape[1], axis=0)
        directions = (bucket.unit_cg, *_across(bucket.unit_cg))
        slope_kg = np.zeros((3, slots))
        scratch = aligned(3, len(blocks[0]), min(slots, _outer_step(len(blocks[0]))))
        for l, block in enumerate(blocks):
            radial, angular = _radial(bucket, l, norm_g), self._angular(bucket, l, directions[1:])
            slope_kg += self._norm_slope(bucket, l, radial, angular)
            out = local[:3, :, points.columns_l[l]] if mapped else local[:3]
            _outer_products(radial, angular, block, scratch, out, add=l > 0 and not mapped)
        turn = np.empty((slots, 3, 4))
        for k, direction_cg in enumerate(directions):
            turn[:, :, k] = direction_cg.T
        np.matmul(turn[:, :, :3], -slope_kg.T[:, :, None], out=turn[:, :, 3:])
        return local, turn

    def _norm_slope(self, bucket: Bucket, l: int, radial: FloatArray, angular: FloatArray) -> FloatArray:
        """What one l adds to ∂|p|/|p| along and across r, shape (3, G·P)."""
        n, shape = bucket.basis.n_max, bucket.shape
        channel = slice(bucket.s_g[0] * n, (bucket.s_g[0] + 1) * n)
        seen = aligned(3, n, len(bucket.pair_g))
        np.matmul(
            self._unit_elab[bucket.e_g, l, channel],
            angular.reshape(3, -1, *shape).transpose(0, 2, 1, 3),
            out=seen.reshape(3, n, *shape).transpose(0, 2, 1, 3),
        )
        return np.einsum("kng,kng->kg", radial, seen)

    def _angular(self, bucket: Bucket, l: int, across: Sequence[FloatArray]) -> FloatArray:
        """A_b and its slopes across, shape (3, B, G·P)."""
        partners = self._partners[l][bucket.e_g]
        width = partners.shape[1]
        slots = len(bucket.pair_g)
        angular = aligned(3, width, slots)
        bucket.through(l, partners, angular[0])
        if not l:
            angular[1:] = 0.0
            return angular
        turned = (partners.reshape(-1, 2 * l + 1) @ self._maps[l]).reshape(len(partners), 3 * width, -1)
        slopes = bucket.through(l - 1, turned, aligned(3 * width, slots)).reshape(width, 3, slots)
        for k, direction_cg in enumerate(across, start=1):
            np.multiply(slopes, direction_cg).sum(axis=1, out=angular[k])
        return angular


def _radial(bucket: Bucket, l: int, norm_g: FloatArray) -> FloatArray:
    """R'_n and twice R_n/r over |p|, shape (3, n_max, G·P)."""
    r_g, (n, slots) = bucket.r_g, (bucket.basis.n_max, len(bucket.r_g))
    value, steepness = bucket.value_and_steepness(l, aligned(2, n, slots))
    radial = aligned(3, n, slots)
    np.multiply(value, 1.0 / (r_g * norm_g), out=radial[1])
    radial[2] = radial[1]
    np.multiply(radial[1], bucket.decay_g * (r_g * r_g) + l, out=radial[0])
    steepness *= r_g / norm_g
    radial[0] += steepness
    return radial


def _outer_step(rows: int) -> int:
    """Pairs whose outer products of `rows` elements fit into the cache, a whole number of cache lines."""
    return max(32, int(_OUTER_BYTES / (8 * 3 * rows)) // 8 * 8)


def _outer_products(
    radial: FloatArray, angular: FloatArray, block: FloatArray, scratch: FloatArray, out_kgx: FloatArray, add: bool
) -> None:
    """Outer products of n_max and B pair quantities met by one block, written or added to (3, G·P, X)."""
    step = scratch.shape[2]
    for first in range(0, out_kgx.shape[1], step):
        here = slice(first, first + step)
        product = scratch[:, :, : out_kgx[0, here].shape[0]]
        outer = product.reshape(3, radial.shape[1], angular.shape[1], -1)
        np.multiply(radial[:, :, None, here], angular[:, None, :, here], out=outer)
        if add:
            out_kgx[:, here] += product.transpose(0, 2, 1) @ block
        else:
            np.matmul(product.transpose(0, 2, 1), block, out=out_kgx[:, here])


def _across(unit_cg: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Two unit vectors that are orthogonal to each other and to given ones, each of shape (3, G·P)."""
    # the axis that is farther from the vector
    helper = np.where(np.abs(unit_cg[2]) < 0.8, np.array([[0.0], [0.0], [1.0]]), np.array([[1.0], [0.0], [0.0]]))
    first = np.cross(unit_cg, helper, axis=0)
    first /= np.sqrt(np.einsum("cg,cg->g", first, first))
    return first, np.cross(unit_cg, first, axis=0)
