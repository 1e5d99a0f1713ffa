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
from gapkit.numerics.harmonics import gradient_maps, solid_harmonics
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
        Slots that are not padding.
    r_cg, weight_g, slope_g
        Vector, density weight w and w'/r of each slot.
    harmonics, overlap
        S_lm, shape ((l_max+1)², G·P), and φ_lk, shape (l_max+1, K, G·P).
    """

    e_g: IntArray
    s: int
    pair_g: IntArray
    real_g: IntArray
    r_cg: FloatArray
    weight_g: FloatArray
    slope_g: FloatArray
    harmonics: FloatArray
    overlap: FloatArray

    @property
    def shape(self) -> tuple[int, int]:
        """(G, P)."""
        return len(self.e_g), len(self.pair_g) // len(self.e_g)

    def angular(self, l: int) -> FloatArray:
        """S_lm of one l as (G, 2l+1, P), without a copy."""
        return self.harmonics[l * l : (l + 1) ** 2].reshape(2 * l + 1, *self.shape).transpose(1, 0, 2)

    def through(self, l: int, g_gkm: FloatArray) -> FloatArray:
        """Σ_m g[g, k, m] S_lm of every slot, shape (K, G·P)."""
        out = np.empty((g_gkm.shape[1], len(self.pair_g)))
        np.matmul(g_gkm, self.angular(l), out=out.reshape(-1, *self.shape).transpose(1, 0, 2))
        return out


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
        kind_p = basis.index_of(pairs.numbers_e[pairs.j_p])
        weight_p, slope_p = radial_weight(basis.weighting, np.sqrt(np.einsum("pc,pc->p", pairs.r_pc, pairs.r_pc)))
        scale_p = np.asarray(basis.species_weights)[kind_p]
        weight_p, slope_p = weight_p * scale_p, slope_p * scale_p
        channel_p = kind_p if basis.n_channels > 1 else np.zeros_like(kind_p)
        buckets = []
        for s in np.unique(channel_p):
            mine = np.flatnonzero(channel_p == s)
            centres, first, count = np.unique(pairs.e_p[mine], return_index=True, return_counts=True)
            by_size = np.argsort(-count, kind="stable")
            done = 0
            while done < len(by_size):
                size = count[by_size[done]]
                end = done + int(np.searchsorted(-count[by_size[done:]], -size / _WASTE, side="right"))
                groups = by_size[done:end]
                slot = np.arange(size)
                real = slot < count[groups, None]
                pair_g = mine[first[groups, None] + np.where(real, slot, 0)].ravel()
                buckets.append(self._bucket(centres[groups], int(s), pair_g, real.ravel(), weight_p, slope_p))
                done = end
        return buckets

    def _bucket(
        self, e_g: IntArray, s: int, pair_g: IntArray, real: BoolArray, weight_p: FloatArray, slope_p: FloatArray
    ) -> Bucket:
        l_max, n = self.basis.l_max, self.basis.n_max
        r_cg = np.ascontiguousarray(self.pairs.r_pc.T[:, pair_g])
        r2 = np.einsum("cp,cp->p", r_cg, r_cg)
        overlap = np.empty((l_max + 1, n, len(pair_g)))
        for l in range(l_max + 1):
            self._overlap(r2, l, out=overlap[l])
        weight_g, slope_g = np.where(real, weight_p[pair_g], 0.0), np.where(real, slope_p[pair_g], 0.0)
        return Bucket(
            e_g, s, pair_g, np.flatnonzero(real), r_cg, weight_g, slope_g, solid_harmonics(r_cg, l_max), overlap
        )

    def _density(self) -> list[FloatArray]:
        basis, n_centres = self.basis, len(self.pairs.centres_e)
        density = [np.zeros((n_centres, basis.n_channels, basis.n_max, 2 * l + 1)) for l in range(basis.l_max + 1)]
        for bucket in self.buckets:
            for l, c in enumerate(density):
                radial = (bucket.overlap[l] * bucket.weight_g).reshape(-1, *bucket.shape).transpose(1, 0, 2)
                c[bucket.e_g, bucket.s] = basis.mixing_lnk[l] @ (radial @ bucket.angular(l).transpose(0, 2, 1))
        kind = basis.index_of(self.pairs.numbers_e[self.pairs.centres_e])
        at_zero = self._overlap(np.zeros(1), 0)[:, 0] * basis.centre_weight / np.sqrt(4.0 * np.pi)
        own = np.asarray(basis.species_weights)[kind][:, None] * (basis.mixing_lnk[0] @ at_zero)
        density[0][np.arange(n_centres), kind if basis.n_channels > 1 else 0, :, 0] += own
        return density

    def contract(self, gc: Sequence[FloatArray]) -> FloatArray:
        """∂E/∂r of every pair, shape (P, 3), from ∂E/∂c per l, each of the density's shape."""
        basis = self.basis
        gradient_pc = np.zeros((len(self.pairs.e_p), 3))
        for bucket in self.buckets:
            out_cg = np.zeros_like(bucket.r_cg)
            along_g = np.zeros(len(bucket.pair_g))
            for l, g in enumerate(gc):
                primitives = basis.mixing_lnk[l].T @ g[bucket.e_g, bucket.s]
                self._accumulate(bucket, l, primitives, out_cg, along_g)
            out_cg += along_g * bucket.r_cg
            gradient_pc[bucket.pair_g[bucket.real_g]] = out_cg[:, bucket.real_g].T
        return gradient_pc

    def _accumulate(self, bucket: Bucket, l: int, g_gkm: FloatArray, out_cg: FloatArray, along_g: FloatArray) -> None:
        """Add the part of one l: slope along r to `along_g`, turning of the harmonic to `out_cg`."""
        phi = bucket.overlap[l]
        through = bucket.through(l, g_gkm)
        through *= phi
        along_g += bucket.slope_g * through.sum(axis=0)
        along_g -= 2.0 * bucket.weight_g * (self.gammas_lk[l] @ through)
        if l == 0:
            return
        for c, turned in enumerate(gradient_maps(self.basis.l_max)[l]):
            out_cg[c] += bucket.weight_g * np.einsum("kg,kg->g", bucket.through(l - 1, g_gkm @ turned), phi)
