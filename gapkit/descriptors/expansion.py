"""Expansion of the atomic density of each centre, and its gradient with respect to pair vectors.

    c_nlm = Σ_j w(r_j) r_j^l R_nl(r_j) Y_lm(r̂_j)

for the neighbours of each species; an embedding mixes these sums, which are linear, on the centres.

Everything that belongs to pairs is kept as rows over a flat axis of padded pairs (G groups of
one centre and one neighbour species, P slots each), so that each contraction is a small GEMM
and each elementwise step runs over contiguous memory. The gradient of r^l Y_lm is a fixed linear
map, applied on centres; no array of gradients of harmonics is ever formed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gapkit.atoms.neighbours import Pairs
from gapkit.descriptors.basis import SoapBasis
from gapkit.numerics.cutoff import radial_weight
from gapkit.numerics.harmonics import joined_maps, spherical_harmonics
from gapkit.numerics.memory import aligned
from gapkit.typing import BoolArray, FloatArray, IntArray

_WASTE = 0.25  # share of padding at which a new bucket is opened …
_OVERHEAD = 256  # … unless it is fewer slots than a bucket costs by itself


@dataclass(frozen=True, eq=False)
class Bucket:
    """Groups of similar size, padded to P slots; a group is the neighbours of one species around one centre.

    Attributes
    ----------
    basis
        The SOAP basis.
    e_g, s_g
        Centre and density species of each group, shape (G,).
    pair_g
        Pair in each slot, shape (G·P,); padding repeats a pair with weight 0.
    real_g
        Slots that are not padding; None if all are real.
    unit_cg, r_g
        Direction and length of the vector of each slot, shapes (3, G·P) and (G·P,).
    decay_g
        Logarithmic slope w'/(w r) of the density weight, 0 where w = 0.
    harmonics
        Y_lm, shape ((l_max+1)², G·P).
    radials
        w r^l exp(-γ_lk r²), shape (l_max+1, K, G·P).
    """

    basis: SoapBasis
    e_g: IntArray
    s_g: IntArray
    pair_g: IntArray
    real_g: IntArray | None
    unit_cg: FloatArray
    r_g: FloatArray
    decay_g: FloatArray
    harmonics: FloatArray
    radials: FloatArray

    @property
    def shape(self) -> tuple[int, int]:
        """(G, P)."""
        return len(self.e_g), len(self.pair_g) // len(self.e_g)

    def value(self, l: int, out: FloatArray) -> FloatArray:
        """w r^l R_nl of one l, shape (n_max, G·P); into `out`."""
        return np.matmul(self.basis.mixing_lnk[l], self.radials[l], out=out)

    def value_and_steepness(self, l: int, out: FloatArray) -> FloatArray:
        """w r^l R_nl and w r^l R'_nl / r of one l, shape (2, n_max, G·P); into `out`."""
        np.matmul(self.basis.mixing_and_steepness_lnk[l], self.radials[l], out=out.reshape(-1, out.shape[-1]))
        return out

    def angular(self, l: int) -> FloatArray:
        """Y_lm of one l as (G, 2l+1, P), without a copy."""
        return self.harmonics[l * l : (l + 1) ** 2].reshape(2 * l + 1, *self.shape).transpose(1, 0, 2)

    def sums(self, l: int, scratch: FloatArray) -> FloatArray:
        """Σ_j w r^l R_nl Y_lm over the slots of each group, shape (G, n_max, 2l+1)."""
        value = self.value(l, scratch).reshape(-1, *self.shape).transpose(1, 0, 2)
        return value @ self.angular(l).transpose(0, 2, 1)

    def through(self, l: int, g_gkm: FloatArray, out: FloatArray) -> FloatArray:
        """Σ_m g[g, k, m] Y_lm of every slot, shape (K, G·P); into `out`."""
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
    mixed
        Whether a bucket may hold groups of several species.

    Attributes
    ----------
    density
        c per l, each of shape (E, K, n_max, 2l+1), times the square root of dscribe's prefactor.
    """

    def __init__(self, basis: SoapBasis, pairs: Pairs, mixed: bool = False) -> None:
        self.basis, self.pairs = basis, pairs
        self.buckets = self._fill_buckets(mixed) if len(pairs.e_p) else []
        self.density = self._density()

    def _fill_buckets(self, mixed: bool) -> list[Bucket]:
        """Group the pairs by centre and neighbour species, and the groups by size."""
        basis, pairs, n_species = self.basis, self.pairs, self.basis.n_densities
        group_p = pairs.e_p
        order_p = None
        if n_species > 1:
            group_p = group_p * n_species + basis.index_of(pairs.numbers_e[pairs.j_p])
            order_p = np.argsort(group_p, kind="stable")
        size_k = np.bincount(group_p, minlength=len(pairs.centres_e) * n_species)
        first_k = np.cumsum(size_k) - size_k
        columns_p = self._columns()
        buckets: list[Bucket] = []
        for s in (None,) if mixed or n_species == 1 else range(n_species):
            own = np.flatnonzero(size_k) if s is None else np.flatnonzero(size_k[s::n_species]) * n_species + s
            own = own[np.argsort(-size_k[own], kind="stable")]
            for groups in _alike(own, size_k[own]):
                slot = np.arange(size_k[groups[0]])
                real = slot < size_k[groups, None]
                position = (first_k[groups, None] + np.where(real, slot, 0)).ravel()
                pair_g = position if order_p is None else order_p[position]
                e_g, s_g = np.divmod(groups, n_species)
                buckets.append(self._bucket(e_g, s_g, pair_g, real.ravel(), columns_p))
        return buckets

    def _columns(self) -> FloatArray:
        """Direction, length, density weight and its logarithmic slope of every pair, shape (6, P)."""
        basis, pairs = self.basis, self.pairs
        columns_p = np.empty((6, len(pairs.e_p)))
        columns_p[3] = np.sqrt(np.einsum("pc,pc->p", pairs.r_pc, pairs.r_pc))
        np.divide(pairs.r_pc.T, columns_p[3], out=columns_p[:3])
        weight_p, slope_p = radial_weight(basis.weighting, columns_p[3])
        columns_p[5] = np.divide(slope_p, weight_p, out=np.zeros_like(slope_p), where=weight_p > 0.0)
        columns_p[4] = weight_p
        if any(w != 1.0 for w in basis.species_weights):
            columns_p[4] *= np.asarray(basis.species_weights)[basis.index_of(pairs.numbers_e[pairs.j_p])]
        return columns_p

    def _bucket(self, e_g: IntArray, s_g: IntArray, pair_g: IntArray, real: BoolArray, columns_p: FloatArray) -> Bucket:
        basis, columns_g = self.basis, aligned(len(columns_p), len(pair_g))
        np.take(columns_p, pair_g, axis=1, out=columns_g, mode="clip")
        unit_cg, (r_g, weight_g, decay_g) = columns_g[:3], columns_g[3:]
        real_g = None if real.all() else np.flatnonzero(real)
        if real_g is not None:
            weight_g *= real
        radials = aligned(basis.l_max + 1, basis.n_max, len(r_g))
        r2_g = r_g * r_g
        for l, out in enumerate(radials):
            basis.overlap.exponentials(r2_g, l, out=out)
            out *= weight_g
            weight_g *= r_g
        angular = spherical_harmonics(unit_cg, basis.l_max)
        return Bucket(basis, e_g, s_g, pair_g, real_g, unit_cg, r_g, decay_g, angular, radials)

    def _density(self) -> list[FloatArray]:
        basis, n_centres = self.basis, len(self.pairs.centres_e)
        density = [np.zeros((n_centres, basis.n_densities, basis.n_max, 2 * l + 1)) for l in range(basis.l_max + 1)]
        for bucket in self.buckets:
            scratch = aligned(basis.n_max, len(bucket.pair_g))
            for l, c in enumerate(density):
                c[bucket.e_g, bucket.s_g] = bucket.sums(l, scratch)
        kind = basis.index_of(self.pairs.numbers_e[self.pairs.centres_e])
        at_zero = basis.mixing_lnk[0].sum(axis=1) * basis.centre_weight / np.sqrt(4.0 * np.pi)
        own = np.asarray(basis.species_weights)[kind][:, None] * at_zero
        density[0][np.arange(n_centres), kind if basis.n_densities > 1 else 0, :, 0] += own
        if basis.embedding_sk is None:
            return density
        mixed = [basis.embedding_sk.T @ c.reshape(n_centres, basis.n_densities, -1) for c in density]
        return [c.reshape(n_centres, -1, basis.n_max, 2 * l + 1) for l, c in enumerate(mixed)]

    def contract(self, gc: Sequence[FloatArray]) -> FloatArray:
        """∂E/∂r of every pair, shape (P, 3), from ∂E/∂c per l, each of the density's shape."""
        gradient_pc, shape = np.zeros((len(self.pairs.e_p), 3)), (self.basis.n_densities, self.basis.n_max)
        if self.basis.embedding_sk is not None:
            spread = [self.basis.of_densities(g.reshape(*g.shape[:2], -1)) for g in gc]
            gc = [g.reshape(len(g), *shape, -1) for g in spread]
        for bucket in self.buckets:
            own = [g[bucket.e_g, bucket.s_g] for g in gc]
            bucket.scatter(self._pair_gradient(bucket, own).T, gradient_pc)
        return gradient_pc

    def _pair_gradient(self, bucket: Bucket, g: Sequence[FloatArray]) -> FloatArray:
        """∂E/∂r of every slot, shape (3, G·P), from gradients by c (G, n_max, 2l+1).

        One product with Y_l serves the radial slope of l (n_max rows) and the turning of the
        harmonic of l+1 (3 n_max rows), because ∂(r^(l+1) Y_(l+1)) is linear in Y_l.
        """
        l_max, n, (size, _), slots = self.basis.l_max, self.basis.n_max, bucket.shape, len(bucket.pair_g)
        gradient_cg, level_g = aligned(3, slots), aligned(2, slots)  # the latter to be multiplied by w'/(w r), and not
        gradient_cg[:] = level_g[:] = 0.0
        through, radial = aligned(4 * n, slots), bucket.value_and_steepness(0, aligned(2, n, slots))
        for l in range(l_max + 1):
            if l == l_max:
                bucket.through(l, g[l], through[:n])
            else:
                stack = np.empty((size, 4 * n, 2 * l + 1))
                stack[:, :n] = g[l]
                turned = g[l + 1].reshape(-1, 2 * l + 3) @ joined_maps(l_max)[l + 1]
                stack[:, n:] = turned.reshape(size, 3 * n, 2 * l + 1)
                bucket.through(l, stack, through)
            level_g += np.einsum("kng,ng->kg", radial, through[:n])
            if l < l_max:
                radial = bucket.value_and_steepness(l + 1, radial)
                gradient_cg += np.einsum("ncg,ng->cg", through[n:].reshape(n, 3, slots), radial[0])
        level_g[0] *= bucket.decay_g
        gradient_cg /= bucket.r_g
        gradient_cg += bucket.unit_cg * (bucket.r_g * (level_g[0] + level_g[1]))
        return gradient_cg


def _alike(groups: IntArray, size_k: IntArray) -> Iterator[IntArray]:
    """Consecutive groups, sorted by falling size, that may be padded to the largest of them."""
    while len(groups):
        real = np.cumsum(size_k)
        waste = size_k[0] * np.arange(1, len(groups) + 1) - real
        end = int(np.searchsorted(waste > np.maximum(_WASTE * real, _OVERHEAD), True))
        yield groups[:end]
        groups, size_k = groups[end:], size_k[end:]
