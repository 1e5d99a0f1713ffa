"""Sparse points of a SOAP term, in a basis that keeps only what they span."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gapkit.descriptors.basis import SoapBasis
from gapkit.typing import FloatArray, IntArray

PROJECTION_TOLERANCE = 1e-6
"""Singular values of the sparse points below this fraction of the largest are dropped."""


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
        Orthonormal map, block-diagonal in l, shape (F, D); None where it would not pay.
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
        degree = basis.feature_index[:, 0]
        largest = float(np.linalg.norm(x_mf, 2))
        map_columns, widths = [], []
        for l in range(basis.l_max + 1):
            own = np.flatnonzero(degree == l)
            _, values, vt = np.linalg.svd(x_mf[:, own], full_matrices=False)
            kept = vt[values > PROJECTION_TOLERANCE * largest].T
            column = np.zeros((basis.n_features, kept.shape[1]))
            column[own] = kept
            map_columns.append(column)
            widths.append(kept.shape[1])
        unfolded, rank = basis.n_max * basis.unfolding[0].shape[2], sum(widths)
        if (unfolded + len(x_mf)) * rank >= unfolded * (basis.l_max + 1) * len(x_mf):
            return cls(basis, x_mf)
        map_fd = np.hstack(map_columns)
        return cls(basis, x_mf @ map_fd, map_fd, tuple(widths))

    @cached_property
    def unfolded(self) -> list[list[FloatArray]]:
        """What a Jacobian multiplies, per density species and l: shape (n_max·B, columns).

        Columns are those of the map, or the points themselves where there is no map.
        """
        index, factor = self.basis.unfolding
        n = self.basis.n_max
        edges = np.cumsum([0, *self.widths_l])
        per_species = []
        for s in range(self.basis.n_channels):
            channel = slice(s * n, (s + 1) * n)
            blocks = []
            for l in range(self.basis.l_max + 1):
                source = self.x_md.T if self.map_fd is None else self.map_fd[:, edges[l] : edges[l + 1]]
                blocks.append(_gather(source * factor[:, None], index[l, channel]))
            per_species.append(blocks)
        return per_species


def _gather(source_fx: FloatArray, index: IntArray) -> FloatArray:
    """Rows of a feature-space matrix at `index` (F stands for zero), flattened."""
    return np.concatenate([source_fx, np.zeros((1, source_fx.shape[1]))])[index.ravel()]
