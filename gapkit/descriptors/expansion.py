"""Expansion of the atomic density of each centre, and its gradient with respect to pair vectors.

    c_nlm = Σ_j w(r_j) R_nl(r_j) S_lm(r_j)

Everything that belongs to pairs is kept as rows over a flat axis of padded pairs (G groups of
one centre and one neighbour species, P slots each), so that each contraction is a small GEMM
and each elementwise step runs over contiguous memory. The gradient of S_lm is a fixed linear
map, applied on centres; no array of gradients of harmonics is ever formed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gapkit.atoms.neighbours import Pairs
from gapkit.descriptors.basis import SoapBasis
from gapkit.numerics.cutoff import radial_weight
from gapkit.numerics.harmonics import joined_maps, solid_harmonics
from gapkit.numerics.radial import GaussianOverlap
from gapkit.typing import BoolArray, FloatArray, IntArray

_WASTE = 1.25  # a group is padded by at most this factor before a new bucket is opened


@dataclass(frozen=True, eq=False)
class Bucket:
    """The neighbours of one species around G centres of similar coordination, padded to P slots.

    Attributes
    ----------
    e_g
        Centre of each group, shape (G,).
    s
        Density species of the neighbours.
    pair_g
        Pair in each slot, shape (G·P,); padding repeats a pair with weight 0.
    real_g
        Slots that are not padding; None if all are real.
    r_cg
        Vector of each slot, shape (3, G·P).
    decay_g
        Logarithmic slope w'/(w r) of the density weight, 0 where w = 0.
    harmonics, overlap
        S_lm, shape ((l_max+1)², G·P), and w φ_lk, shape (l_max+1, K, G·P).
    """

    e_g: IntArray
    s: int
    pair_g: IntArray
    real_g: IntArray | None
    r_cg: FloatArray
    decay_g: FloatArray
    harmonics: FloatArray
    overlap: FloatArray

    @property
    def shape(self) -> tuple[int, int]:
        """(G, P)."""
        return len(self.e_g), len(self.pair_g) // len(self.e_g)

    def angular(self, l: int) -> FloatArray:
        """S_lm of one l as (G, 2l+1, P), without a copy."""
        return self.harmonics[l * l : (l + 1) ** 2].reshape(2 * l + 1, *self.shape).transpose(1, 0, 2)

    def radial(self, l: int) -> FloatArray:
        """w φ_lk of one l as (G, K, P), without a copy."""
        return self.overlap[l].reshape(-1, *self.shape).transpose(1, 0, 2)

    def through(self, l: int, g_gkm: FloatArray) -> FloatArray:
        """Σ_m g[g, k, m] S_lm of every slot, shape (K, G·P)."""
        out = np.empty((g_gkm.shape[1], len(self.pair_g)))
        np.matmul(g_gkm, self.angular(l), out=out.reshape(-1, *self.shape).transpose(1, 0, 2))
        return out

    def scatter(self, values_gx: FloatArray, out_px: FloatArray) -> None:
        """Write values of the slots to the pairs that they stand for."""
        if self.real_g is None:
            out_px[self.pair_g] = values_gx
        else:
            out_px[self.pair_g[self.real_g]] = values_gx[self.real_g]


class Expansion:
    """Density coefficients of a block of centres.

    Parameters
    ----------
    basis
        The SOAP basis.
    pairs
        Pairs inside the reach of the basis.

    Attributes
    ----------
    density
        c per l, each of shape (E, S, n_max, 2l+1), times the square root of dscribe's prefactor.
    """

    def __init__(self, basis: SoapBasis, pairs: Pairs) -> None:
        self.basis, self.pairs = basis, pairs
        self._overlap = GaussianOverlap(basis.alphas_lk, basis.eta)
        self.gammas_lk = self._overlap.gammas_lk
        self.buckets = self._fill_buckets() if len(pairs.e_p) else []
        self.density = self._density()

    def _fill_buckets(self) -> list[Bucket]:
        """Group the pairs by neighbour species and centre, largest groups of a species first."""
        basis, pairs = self.basis, self.pairs
        weight_p, slope_p = radial_weight(basis.weighting, np.sqrt(np.einsum("pc,pc->p", pairs.r_pc, pairs.r_pc)))
        decay_p = np.divide(slope_p, weight_p, out=np.zeros_like(slope_p), where=weight_p > 0.0)
        kind_p = basis.index_of(pairs.numbers_e[pairs.j_p])
        if any(w != 1.0 for w in basis.species_weights):
            weight_p = weight_p * np.asarray(basis.species_weights)[kind_p]
        buckets: list[Bucket] = []
        for s in range(basis.n_channels):
            mine = np.flatnonzero(kind_p == s) if basis.n_channels > 1 else np.arange(len(kind_p))
            count_e = np.bincount(pairs.e_p[mine], minlength=len(pairs.centres_e))
            first_e = np.cumsum(count_e) - count_e
            by_size = np.argsort(-count_e, kind="stable")[: np.count_nonzero(count_e)]
            while len(by_size):
                size = int(count_e[by_size[0]])
                end = int(np.searchsorted(-count_e[by_size], -size / _WASTE, side="right"))
                e_g, by_size = by_size[:end], by_size[end:]
                slot = np.arange(size)
                real = slot < count_e[e_g, None]
                pair_g = mine[first_e[e_g, None] + np.where(real, slot, 0)].ravel()
                buckets.append(self._bucket(e_g, s, pair_g, real.ravel(), weight_p, decay_p))
        return buckets

    def _bucket(
        self, e_g: IntArray, s: int, pair_g: IntArray, real: BoolArray, weight_p: FloatArray, decay_p: FloatArray
    ) -> Bucket:
        l_max, n = self.basis.l_max, self.basis.n_max
        r_cg = np.ascontiguousarray(self.pairs.r_pc[pair_g].T)
        r2 = np.einsum("cp,cp->p", r_cg, r_cg)
        weight_g = weight_p[pair_g] * real
        overlap = np.empty((l_max + 1, n, len(pair_g)))
        for l in range(l_max + 1):
            self._overlap(r2, l, out=overlap[l])
            overlap[l] *= weight_g
        real_g = None if real.all() else np.flatnonzero(real)
        return Bucket(e_g, s, pair_g, real_g, r_cg, decay_p[pair_g], solid_harmonics(r_cg, l_max), overlap)

    def _density(self) -> list[FloatArray]:
        basis, n_centres = self.basis, len(self.pairs.centres_e)
        density = [np.zeros((n_centres, basis.n_channels, basis.n_max, 2 * l + 1)) for l in range(basis.l_max + 1)]
        for bucket in self.buckets:
            for l, c in enumerate(density):
                primitives = bucket.radial(l) @ bucket.angular(l).transpose(0, 2, 1)
                c[bucket.e_g, bucket.s] = basis.mixing_lnk[l] @ primitives
        kind = basis.index_of(self.pairs.numbers_e[self.pairs.centres_e])
        at_zero = self._overlap(np.zeros(1), 0)[:, 0] * basis.centre_weight / np.sqrt(4.0 * np.pi)
        own = np.asarray(basis.species_weights)[kind][:, None] * (basis.mixing_lnk[0] @ at_zero)
        density[0][np.arange(n_centres), kind if basis.n_channels > 1 else 0, :, 0] += own
        return density

    def contract(self, gc: Sequence[FloatArray]) -> FloatArray:
        """∂E/∂r of every pair, shape (P, 3), from ∂E/∂c per l, each of the density's shape."""
        gradient_pc = np.zeros((len(self.pairs.e_p), 3))
        for bucket in self.buckets:
            primitives = [self.basis.mixing_lnk[l].T @ g[bucket.e_g, bucket.s] for l, g in enumerate(gc)]
            bucket.scatter(self._pair_gradient(bucket, primitives).T, gradient_pc)
        return gradient_pc

    def _pair_gradient(self, bucket: Bucket, g: Sequence[FloatArray]) -> FloatArray:
        """∂E/∂r of every slot, shape (3, G·P), from gradients by primitive coefficients (G, K, 2l+1).

        One product with S_l serves the radial slope of l (K rows) and the turning of the
        harmonic of l+1 (3K rows), because ∂S_(l+1) is linear in S_l.
        """
        basis, n = self.basis, self.basis.n_max
        turning_cg = np.zeros_like(bucket.r_cg)
        along_g = np.zeros(len(bucket.pair_g))
        for l in range(basis.l_max + 1):
            stack = [g[l]]
            if l < basis.l_max:
                turned = g[l + 1] @ joined_maps(basis.l_max)[l + 1]
                stack += [turned[:, :, c * (2 * l + 1) : (c + 1) * (2 * l + 1)] for c in range(3)]
            through = bucket.through(l, np.concatenate(stack, axis=1))
            own = through[:n]
            own *= bucket.overlap[l]
            slopes = np.stack([np.ones(n), -2.0 * self.gammas_lk[l]]) @ own
            along_g += bucket.decay_g * slopes[0]
            along_g += slopes[1]
            if l < basis.l_max:
                turning_cg += np.einsum("ckg,kg->cg", through[n:].reshape(3, n, -1), bucket.overlap[l + 1])
        turning_cg += along_g * bucket.r_cg
        return turning_cg
