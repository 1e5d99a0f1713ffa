"""Native SOAP: value, Jacobian and pullback of dscribe's power spectrum.

p_nn'l = Σ_m c_nlm c_n'lm   (features of dscribe),   q = Vᵀ p / |p|   (features of the kernel)

Inside, features are sorted by l, for the map V is block-diagonal in l.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gapkit.atoms.neighbours import Pairs
from gapkit.descriptors.basis import CentredOnAtoms, SoapBasis
from gapkit.descriptors.expansion import Expansion
from gapkit.descriptors.soap_jacobian import SoapJacobian
from gapkit.descriptors.soap_points import SoapPoints
from gapkit.typing import FloatArray

Channel = tuple[int, ...]


class Soap(CentredOnAtoms):
    """The native engine for dscribe's GTO basis, for any number of species."""

    def values(self, pairs: Pairs) -> FloatArray:
        """dscribe's features of all centres of `pairs`, shape (E, F)."""
        return SoapSites(self.basis, pairs.within(self.reach)).p_ef

    def sites(self, pairs: Pairs, channel: Channel, points: Any = None) -> SoapSites:
        """Normalised features of the centres, in the space of the sparse points if given."""
        return SoapSites(self.basis, pairs, points)

    def points(self, x_md: FloatArray) -> SoapPoints:
        """Sparse points from normalised SOAP vectors, shape (M, F)."""
        return SoapPoints.compress(self.basis, x_md)


class SoapSites:
    """Normalised SOAP vectors of one block of centres, with both directions of the gradient."""

    weight_s: FloatArray | None = None

    def __init__(self, basis: SoapBasis, pairs: Pairs, points: SoapPoints | None = None) -> None:
        self.basis, self.pairs = basis, pairs
        self.centre_s = pairs.centres_e
        self.expansion = Expansion(basis, pairs)
        self._channels = [c.reshape(len(c), -1, c.shape[-1]) for c in self.expansion.density]
        self._sorted_ef = self._power_spectrum()
        self._norm_e = np.sqrt(np.einsum("ef,ef->e", self._sorted_ef, self._sorted_ef))
        self._norm_e[self._norm_e == 0.0] = 1.0  # w0 = 0 and no neighbour: q = 0
        self._points = points
        self._blocks_l = None if points is None or points.map_fd is None else points.blocks_l
        self.x_sd = self._projected() if self._blocks_l is not None else self.full_sd

    @property
    def p_ef(self) -> FloatArray:
        """The power spectrum in dscribe's order, shape (E, F)."""
        p_ef = np.empty_like(self._sorted_ef)
        p_ef[:, self.basis.by_degree] = self._sorted_ef
        return p_ef

    @property
    def full_sd(self) -> FloatArray:
        """Normalised vectors before any projection, shape (E, F)."""
        return self.p_ef / self._norm_e[:, None]

    def _power_spectrum(self) -> FloatArray:
        basis = self.basis
        second = [self._sums(l) for l in range(basis.l_max + 1)] if basis.mode == "mu1nu1" else self._channels
        shape = (basis.l_max + 1, self._channels[0].shape[1], second[0].shape[1])
        product = np.empty((len(self.centre_s), *shape))
        for l, (a, b) in enumerate(zip(self._channels, second, strict=True)):
            np.matmul(a, b.transpose(0, 2, 1), out=product[:, l])
        flat = np.ravel_multi_index(tuple(basis.feature_index[basis.by_degree].T), shape)
        return np.take(product.reshape(len(product), -1), flat, axis=1)

    def _projected(self) -> FloatArray:
        """q in the space of the sparse points, shape (E, D)."""
        points, edges = self._points, self.basis.degree_edges
        assert points is not None  # noqa: S101
        x_sd = np.empty((len(self.centre_s), points.x_md.shape[1]))
        for l, (block, here) in enumerate(zip(points.blocks_l, points.columns_l, strict=True)):
            np.matmul(self._sorted_ef[:, edges[l] : edges[l + 1]], block, out=x_sd[:, here])
        x_sd /= self._norm_e[:, None]
        return x_sd

    def _sums(self, l: int) -> FloatArray:
        """Density summed over species, shape (E, n_max, 2l+1)."""
        return self.expansion.density[l].sum(axis=1)

    def _partners(self, l: int) -> FloatArray:
        """The coefficients that the derivative of the spectrum multiplies, shape (E, B, 2l+1)."""
        c = self._channels[l]
        return np.concatenate([self._sums(l), c], axis=1) if self.basis.mode == "mu1nu1" else c

    def pullback(self, gx_sd: FloatArray, gw_s: FloatArray | None = None) -> FloatArray:
        """∂E/∂r of every pair, shape (P, 3), from ∂E/∂q, shape (E, D)."""
        points, edges = self._points, self.basis.degree_edges
        scaled_sd = gx_sd / self._norm_e[:, None]
        gp_ef = np.einsum("sd,sd->s", scaled_sd, self.x_sd)[:, None] * self._sorted_ef
        gp_ef /= -self._norm_e[:, None]
        if points is None or points.map_fd is None:
            gp_ef += scaled_sd[:, self.basis.by_degree]
        else:
            for l, (block, here) in enumerate(zip(points.blocks_l, points.columns_l, strict=True)):
                gp_ef[:, edges[l] : edges[l + 1]] += scaled_sd[:, here] @ block.T
        return self._pull_spectrum(gp_ef)

    def _pull_spectrum(self, gp_ef: FloatArray) -> FloatArray:
        """∂E/∂r of every pair, shape (P, 3), from ∂E/∂p with features sorted by l."""
        index, factor = self.basis.unfolding
        padded = np.zeros((len(gp_ef), gp_ef.shape[1] + 1))
        np.multiply(gp_ef, factor, out=padded[:, :-1])
        unfolded = np.take(padded, index.ravel(), axis=1).reshape(len(padded), *index.shape)
        return self.expansion.contract(
            [(unfolded[:, l] @ self._partners(l)).reshape(c.shape) for l, c in enumerate(self.expansion.density)]
        )

    def jacobian(self) -> SoapJacobian:
        """∂q/∂r of every pair, contracted with the sparse points."""
        if self._points is None:
            raise TypeError("the Jacobian is contracted with sparse points: evaluate the sites with points")
        partners = [self._partners(l) for l in range(self.basis.l_max + 1)]
        norm_slope_pc = self._pull_spectrum(self._sorted_ef / self._norm_e[:, None])
        return SoapJacobian(self.expansion, partners, self.x_sd, self._norm_e, norm_slope_pc, self._points)
