"""Native SOAP: value, Jacobian and pullback of dscribe's power spectrum.

p_nn'l = Σ_m c_nlm c_n'lm   (features of dscribe),   q = Vᵀ p / |p|   (features of the kernel)

Inside, features are sorted by l, for the map V is block-diagonal in l.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from gapkit.atoms.neighbours import Pairs
from gapkit.descriptors.basis import SoapBasis
from gapkit.descriptors.centred import CentredOnAtoms
from gapkit.descriptors.expansion import Expansion
from gapkit.descriptors.soap_jacobian import SoapJacobian
from gapkit.descriptors.soap_points import SoapPoints
from gapkit.typing import FloatArray, IntArray

Channel = tuple[int, ...]


class Soap(CentredOnAtoms):
    """The native engine for dscribe's GTO basis, for any number of species.

    Parameters
    ----------
    basis
        The SOAP basis.
    alchemical
        Whether central species are related by their vectors of the embedding (see `central`), and not apart.
    """

    def __init__(self, basis: SoapBasis, alchemical: bool = False) -> None:
        super().__init__(basis)
        self.alchemical = alchemical

    def central(self, numbers_e: IntArray) -> FloatArray:
        """Unit vectors û of central species, shape (E, K): sites of two of them have the kernel of û·û' q·q'."""
        embedding_sk = np.eye(len(self.species)) if self.basis.embedding_sk is None else self.basis.embedding_sk
        u_ek = embedding_sk[self.basis.index_of(numbers_e)]
        return np.asarray(u_ek / np.linalg.norm(u_ek, axis=1)[:, None])

    def values(self, pairs: Pairs) -> FloatArray:
        """dscribe's features of all centres of `pairs`, shape (E, F)."""
        return Spectra(self.basis, pairs.within(self.reach)).in_order()

    def sites(self, pairs: Pairs, channel: Channel, points: Any = None) -> SoapSites:
        """Normalised features of the centres, in the space of the sparse points if given."""
        return SoapSites(Spectra(self.basis, pairs), np.arange(len(pairs.centres_e)), points)

    def together(self, pairs: Pairs, n_energies: int = 1) -> SoapTogether:
        """The sites of all channels at once: one expansion serves all central species."""
        return SoapTogether(Spectra(self.basis, pairs.within(self.reach), mixed=True), n_energies)

    def points(self, x_md: FloatArray) -> SoapPoints:
        """Sparse points from normalised SOAP vectors, shape (M, F)."""
        return SoapPoints.compress(self.basis, x_md)

    def shared_points(self, x: Mapping[Channel, FloatArray]) -> dict[Channel, SoapPoints]:
        """Sparse points of several channels in one space, for an alchemical kernel."""
        space = self.points(np.concatenate(list(x.values())))
        parts = np.split(space.x_md, np.cumsum([len(x_mf) for x_mf in x.values()])[:-1])
        return {c: replace(space, x_md=x_md) for c, x_md in zip(x, parts, strict=True)}

    def seen(self, points: Mapping[Channel, SoapPoints]) -> dict[Channel, SoapPoints]:
        """The points of all channels as the sites of each species see them: times û·û'."""
        space, x_md = next(iter(points.values())), np.concatenate([p.x_md for p in points.values()])
        number_m = np.repeat([c[0] for c in points], [len(p.x_md) for p in points.values()])
        factors_sm = self.central(np.array(self.species)) @ self.central(number_m).T
        return {c: replace(space, x_md=x_md * f_m[:, None]) for c, f_m in zip(self.channels, factors_sm, strict=True)}

    def whole(self) -> SoapPoints:
        """No points, and the space of all features."""
        return SoapPoints.whole(self.basis)


class Spectra:
    """Power spectra of one block of centres, of any species, and the way back to the pairs.

    Attributes
    ----------
    sorted_ef
        Power spectrum with features sorted by l, shape (E, F).
    norm_e
        |p|, and 1 where p = 0, shape (E,).
    """

    def __init__(self, basis: SoapBasis, pairs: Pairs, mixed: bool = False) -> None:
        self.basis, self.pairs = basis, pairs
        self.expansion = Expansion(basis, pairs, mixed)
        self._channels = [c.reshape(len(c), -1, c.shape[-1]) for c in self.expansion.density]
        self.sorted_ef = self._power_spectrum()
        self.norm_e = np.sqrt(np.einsum("ef,ef->e", self.sorted_ef, self.sorted_ef))
        self.norm_e[self.norm_e == 0.0] = 1.0  # w0 = 0 and no neighbour: q = 0

    def _power_spectrum(self) -> FloatArray:
        basis = self.basis
        second = [self._sums(l) for l in range(basis.l_max + 1)] if basis.mode == "mu1nu1" else self._channels
        shape = (basis.l_max + 1, self._channels[0].shape[1], second[0].shape[1])
        product = np.empty((len(self.pairs.centres_e), *shape))
        for l, (a, b) in enumerate(zip(self._channels, second, strict=True)):
            np.matmul(a, b.transpose(0, 2, 1), out=product[:, l])
        return np.take(product.reshape(len(product), -1), basis.spectrum_index, axis=1)

    def in_order(self) -> FloatArray:
        """The power spectrum in dscribe's order, shape (E, F)."""
        p_ef = np.empty_like(self.sorted_ef)
        p_ef[:, self.basis.by_degree] = self.sorted_ef
        return p_ef

    def _sums(self, l: int) -> FloatArray:
        """Density summed over species, shape (E, n_max, 2l+1)."""
        return self.expansion.density[l].sum(axis=1)

    def partners(self, l: int) -> FloatArray:
        """The coefficients that the derivative of the spectrum multiplies, shape (E, B, 2l+1)."""
        c = self._channels[l]
        return np.concatenate([self._sums(l), c], axis=1) if self.basis.mode == "mu1nu1" else c

    def unfolded(self, gp_ef: FloatArray) -> FloatArray:
        """H with ∂E/∂c_a = Σ_b H_l[a, b] c_b, shape (E, l_max+1, K·n_max, B), from ∂E/∂p with features sorted by l."""
        index, factor = self.basis.unfolding
        padded = np.zeros((len(gp_ef), gp_ef.shape[1] + 1))
        np.multiply(gp_ef, factor, out=padded[:, :-1])
        return np.take(padded, index.ravel(), axis=1).reshape(len(padded), *index.shape)

    def pull(self, gp_ef: FloatArray) -> FloatArray:
        """∂E/∂r of every pair, shape (P, 3), from ∂E/∂p with features sorted by l."""
        unfolded = self.unfolded(gp_ef)
        return self.expansion.contract(
            [(unfolded[:, l] @ self.partners(l)).reshape(c.shape) for l, c in enumerate(self.expansion.density)]
        )


class SoapSites:
    """Normalised SOAP vectors of some centres of a block, with both directions of the gradient."""

    weight_s: FloatArray | None = None

    def __init__(self, spectra: Spectra, rows: IntArray, points: SoapPoints | None = None) -> None:
        self.spectra, self.rows, self._points = spectra, rows, points
        whole = len(rows) == len(spectra.norm_e)
        self.centre_s = spectra.pairs.centres_e if whole else spectra.pairs.centres_e[rows]
        self._sorted_sf = spectra.sorted_ef if whole else spectra.sorted_ef[rows]
        self._norm_s = spectra.norm_e if whole else spectra.norm_e[rows]
        self._map = points if points is not None and points.mapped else None
        self.x_sd = self.full_sd if self._map is None else self._projected(self._map)

    @property
    def full_sd(self) -> FloatArray:
        """Normalised vectors before any projection, in dscribe's order, shape (S, F)."""
        q_sf = np.empty_like(self._sorted_sf)
        q_sf[:, self.spectra.basis.by_degree] = self._sorted_sf
        q_sf /= self._norm_s[:, None]
        return q_sf

    def _projected(self, points: SoapPoints) -> FloatArray:
        """q in the space of the sparse points, shape (S, D)."""
        x_sd = np.empty((len(self.rows), points.x_md.shape[1]))
        for l, block in enumerate(points.blocks_l):
            np.matmul(self._sorted_sf[:, self.spectra.basis.degree(l)], block, out=x_sd[:, points.columns_l[l]])
        x_sd /= self._norm_s[:, None]
        return x_sd

    def by_spectrum(self, gx_sd: FloatArray) -> FloatArray:
        """∂E/∂p with features sorted by l, shape (S, F), from ∂E/∂q, shape (S, D)."""
        basis = self.spectra.basis
        scaled_sd = gx_sd / self._norm_s[:, None]
        gp_sf = (np.einsum("sd,sd->s", scaled_sd, self.x_sd) / -self._norm_s)[:, None] * self._sorted_sf
        if self._map is None:
            gp_sf += scaled_sd[:, basis.by_degree]
            return gp_sf
        for l, block in enumerate(self._map.blocks_l):
            gp_sf[:, basis.degree(l)] += scaled_sd[:, self._map.columns_l[l]] @ block.T
        return gp_sf

    def pullback(self, gx_sd: FloatArray, gw_s: FloatArray | None = None) -> FloatArray:
        """∂E/∂r of every pair, shape (P, 3), from ∂E/∂q of sites that are all centres of a block."""
        return self.spectra.pull(self.by_spectrum(gx_sd))

    def jacobian(self) -> SoapJacobian:
        """∂q/∂r of every pair, contracted with the sparse points."""
        if self._points is None:
            raise TypeError("the Jacobian is contracted with sparse points: evaluate the sites with points")
        spectra = self.spectra
        partners = [spectra.partners(l) for l in range(spectra.basis.l_max + 1)]
        unit_elab = spectra.unfolded(spectra.sorted_ef / spectra.norm_e[:, None])
        basis, (n_centres, n_l, _, n_partners) = spectra.basis, unit_elab.shape
        unit_elab = basis.of_densities(unit_elab.reshape(n_centres, n_l, basis.n_channels, -1))
        unit_elab = unit_elab.reshape(n_centres, n_l, -1, n_partners)
        return SoapJacobian(spectra.expansion, partners, self.x_sd, spectra.norm_e, unit_elab, self._points)


class SoapTogether:
    """Sites of all channels of one block, whose gradients are pulled back together."""

    def __init__(self, spectra: Spectra, n_energies: int) -> None:
        self._spectra = spectra
        self._numbers_e = spectra.pairs.numbers_e[spectra.pairs.centres_e]
        self._gp_kef = np.zeros((n_energies, *spectra.sorted_ef.shape))
        self.origin_p = spectra.pairs.origin_p

    def sites(self, channel: Channel, points: Any) -> SoapSites | None:
        """The sites of one channel, or None if there are none."""
        rows = np.flatnonzero(self._numbers_e == channel[0])
        return SoapSites(self._spectra, rows, points) if len(rows) else None

    def add(self, sites: SoapSites, gx_ksd: FloatArray, gw_ks: FloatArray | None) -> None:
        """Take ∂E/∂x of the sites of one channel, for K energies."""
        for gp_ef, gx_sd in zip(self._gp_kef, gx_ksd, strict=True):
            gp_ef[sites.rows] = sites.by_spectrum(gx_sd)

    def gradient(self) -> FloatArray:
        """∂E/∂r of the pairs `origin_p` from all that was added, shape (K, P, 3)."""
        return np.stack([self._spectra.pull(gp_ef) for gp_ef in self._gp_kef])
