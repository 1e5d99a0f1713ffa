"""One additive piece of the energy: a descriptor, a kernel and sparse points per channel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.linalg import block_diag

from gapkit.atoms.neighbours import Pairs
from gapkit.descriptors.base import Descriptor, Points, Sites
from gapkit.kernels.base import Kernel
from gapkit.typing import FloatArray

Channel = tuple[int, ...]

BLOCK = 64
"""Centres evaluated at once in a prediction: their temporaries stay in the cache."""


@dataclass(frozen=True, eq=False)
class SparseTerm:
    """A term with its sparse points chosen.

    Energies are in units of the term's scale δ: the covariance of the term is δ² k.

    Attributes
    ----------
    name
        Unique name, for `by_term`.
    descriptor, kernel
        The two halves of the term.
    delta
        Prior standard deviation δ of one site's energy, eV.
    points
        Sparse points of each channel; channels without data are absent.
    """

    name: str
    descriptor: Descriptor
    kernel: Kernel
    delta: float
    points: Mapping[Channel, Points]

    @property
    def columns(self) -> dict[Channel, slice]:
        """Columns of each channel among the M columns of this term."""
        edges = np.cumsum([0] + [len(p.x_md) for p in self.points.values()])
        return {c: slice(a, b) for c, a, b in zip(self.points, edges[:-1], edges[1:], strict=True)}

    @property
    def n_columns(self) -> int:
        """Number M of sparse points."""
        return sum(len(p.x_md) for p in self.points.values())

    def covariance(self) -> FloatArray:
        """Kernel matrix of the sparse points, without δ²: shape (M, M), block-diagonal in channels."""
        return block_diag(*(self.kernel.values(p.x_md, p.x_md) for p in self.points.values()))

    def blocks(self, pairs: Pairs, size: int = BLOCK) -> Iterator[tuple[Channel, Pairs, Sites]]:
        """Sites of every channel in blocks of `size` centres."""
        for channel, points in self.points.items():
            for block in self.descriptor.pairs_of(pairs, channel).blocks(size):
                if len(block.centres_e):
                    yield channel, block, self.descriptor.sites(block, channel, points)

    def site_values(self, sites: Sites, channel: Channel) -> FloatArray:
        """Covariance of site energies with the sparse points of the channel, without δ²: (S, M_channel)."""
        k_sm = self.kernel.values(sites.x_sd, self.points[channel].x_md)
        return k_sm if sites.weight_s is None else k_sm * sites.weight_s[:, None]

    def accumulate(
        self, pairs: Pairs, weights_m: FloatArray, energies_e: FloatArray, gradient_pc: FloatArray | None
    ) -> None:
        """Add the term's local energies, and ∂E/∂r of the pairs, for weights of its columns.

        Parameters
        ----------
        pairs
            All pairs of the structure within the model's cutoff.
        weights_m
            Weights of the columns of this term, shape (M,), eV.
        energies_e
            Local energies to add to, shape (N,), eV.
        gradient_pc
            Gradient to add to, shape (P, 3), eV/Å; None if no forces are wanted.
        """
        columns = self.columns
        for channel, block, sites in self.blocks(pairs):
            alpha, y_md = weights_m[columns[channel]], self.points[channel].x_md
            bare_s, gx_sd = self.kernel.weighted_sum(sites.x_sd, y_md, alpha, gradient_pc is not None)
            energy_s = bare_s if sites.weight_s is None else bare_s * sites.weight_s
            np.add.at(energies_e, sites.centre_s, energy_s)
            if gradient_pc is None or gx_sd is None:
                continue
            if sites.weight_s is not None:
                gx_sd *= sites.weight_s[:, None]
            gw_s = None if sites.weight_s is None else bare_s
            gradient_pc[block.origin_p] += sites.pullback(gx_sd, gw_s)
