"""Sparse points of a SOAP term, in a basis that keeps only what they span."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from gapkit.descriptors.basis import SoapBasis
from gapkit.typing import FloatArray

PROJECTION_TOLERANCE = 1e-5
"""Singular values of the sparse points below this fraction of the largest are dropped.

Functions of what is dropped have a prior standard deviation of about δ·1e-5, some 0.01 meV per atom.
"""

FEW = 20
"""So few points keep all their directions but those of rounding: that costs next to nothing."""


@dataclass(frozen=True, eq=False)
class SoapPoints:
    """Sparse points and the map of spectra to their space.

    SOAP vectors are redundant. The kernel of *any* environment with a sparse point is the same
    in the smaller space, up to the part of the point itself that is dropped.

    Attributes
    ----------
    basis
        The SOAP basis.
    x_md
        Points, shape (M, D).
    map_fd
        Orthonormal map, block-diagonal in l, shape (F, D); None where it would not pay, and for the `whole` space.
    widths_l
        Number of columns of each block of the map.
    """

    basis: SoapBasis
    x_md: FloatArray
    map_fd: FloatArray | None = None
    widths_l: tuple[int, ...] = ()

    @classmethod
    def compress(cls, basis: SoapBasis, x_mf: FloatArray) -> SoapPoints:
        """Points of normalised SOAP vectors, shape (M, F), projected if that saves work."""
        largest = np.sqrt(_squares(x_mf).max())
        parts_l = [x_mf[:, basis.features_of(l)] for l in range(basis.l_max + 1)]
        if len(x_mf) > FEW:
            widths = [int((_squares(part) > (PROJECTION_TOLERANCE * largest) ** 2).sum()) for part in parts_l]
        else:  # squares would not tell rounding from what is small
            widths = [int((np.linalg.svd(part, compute_uv=False) > 1e-12 * largest).sum()) for part in parts_l]
        unfolded, rank = basis.n_max * basis.unfolding[0].shape[2], sum(widths)
        if (unfolded + len(x_mf)) * rank >= unfolded * (basis.l_max + 1) * len(x_mf):
            return cls(basis, x_mf)
        map_columns = []
        for l, (part, width) in enumerate(zip(parts_l, widths, strict=True)):
            column = np.zeros((basis.n_features, width))
            column[basis.features_of(l)] = np.linalg.svd(part, full_matrices=False)[2][:width].T
            map_columns.append(column)
        map_fd = np.hstack(map_columns)
        return cls(basis, x_mf @ map_fd, map_fd, tuple(widths))

    @classmethod
    def whole(cls, basis: SoapBasis) -> SoapPoints:
        """No points and the space of all features, sorted by l: for what is not known by any points."""
        widths = tuple(len(basis.features_of(l)) for l in range(basis.l_max + 1))
        return cls(basis, np.empty((0, basis.n_features)), None, widths)

    @property
    def mapped(self) -> bool:
        """Whether features are mapped to a space of blocks for each l."""
        return bool(self.widths_l)

    @cached_property
    def columns_l(self) -> list[slice]:
        """Columns of each l in the space of the map."""
        return [slice(a, b) for a, b in pairwise(np.cumsum([0, *self.widths_l]).tolist())]

    @cached_property
    def blocks_l(self) -> list[FloatArray]:
        """Blocks of the map, or without one the points themselves: per l, shape (F_l, D_l) or (F_l, M)."""
        own_l = [self.basis.features_of(l) for l in range(self.basis.l_max + 1)]
        if self.map_fd is None and self.mapped:
            return [np.eye(width) for width in self.widths_l]
        if self.map_fd is None:
            return [np.ascontiguousarray(self.x_md.T[own]) for own in own_l]
        return [self.map_fd[own, here] for own, here in zip(own_l, self.columns_l, strict=True)]

    @cached_property
    def unfolded(self) -> list[list[FloatArray]]:
        """What a Jacobian multiplies, per density species and l: shape (n_max·B, columns of the block)."""
        index, factor = self.basis.unfolding
        n, n_features = self.basis.n_max, self.basis.n_features
        whole = [np.zeros((n_features + 1, block.shape[1])) for block in self.blocks_l]  # the last row stays zero
        for l, (padded, block) in enumerate(zip(whole, self.blocks_l, strict=True)):
            own = self.basis.degree(l)
            np.multiply(block, factor[own, None], out=padded[own])
        if self.basis.embedding_sk is None:
            channels = [slice(s * n, (s + 1) * n) for s in range(self.basis.n_channels)]
            return [[padded[index[l, own].ravel()] for l, padded in enumerate(whole)] for own in channels]
        k, mixed_l = self.basis.n_channels, []
        for l, padded in enumerate(whole):
            mixed = self.basis.of_densities(padded[index[l].ravel()].reshape(k, -1))
            mixed_l.append(mixed.reshape(len(mixed), index[l].size // k, padded.shape[1]))  # of no columns, perhaps
        return [list(own) for own in zip(*mixed_l, strict=True)]


def _squares(x_mf: FloatArray) -> FloatArray:
    """Squares of the singular values, to rounding of the largest: several times faster than these themselves."""
    return np.asarray(np.linalg.eigvalsh(x_mf @ x_mf.T if len(x_mf) < x_mf.shape[1] else x_mf.T @ x_mf), dtype=float)
