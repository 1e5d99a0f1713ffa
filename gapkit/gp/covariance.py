"""Prior covariance of forces, stress and energy: sums of (derivatives of) the kernel over pairs of sites.

    cov(∂_a E, ∂_b E) = Σ_ss' ∂_a ∂'_b [w_s k(x_s, x_s') w_s']        sites s, s' of one channel

All sites of an alchemical term count as one channel: the kernel of û·û' q·q' is that of x·x' with x = û ⊗ q.

The sparse points play no part: what they do not know of a structure is what these numbers are for (Solak et al., Adv.
Neural Inf. Process. Syst. 15, 1033 (2002), for derivatives of Gaussian processes).

Cost: the force on an atom with n sites in reach takes 6·n²·F operations for F features, the energy and the virial of N
atoms 2·N²·F and 12·N²·F. Bonds, and triangles where they are many, take a time linear in their number (`Series`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any, Final

import numpy as np

from gapkit.atoms.neighbours import Pairs
from gapkit.descriptors.base import Jacobian, Sites, sites_of, whole
from gapkit.gp.moved import MovedRows, joined, of_neighbours, of_sites, stacked, strains
from gapkit.gp.series import Series
from gapkit.gp.term import Channel, SparseTerm
from gapkit.kernels.base import Kernel
from gapkit.typing import BoolArray, FloatArray, IntArray
from gapkit.units import to_voigt

_SITES = 512  # of each side of a block of the kernel
_ALL: Final = slice(None)
_UNLIMITED: Final = float("inf")
_BYTES = 2e8  # derivative rows of all features that are in memory at once


@dataclass(frozen=True, eq=False)
class _Sites:
    """Features and weights of sites, and which extra columns their rows have."""

    x_sd: FloatArray
    weight_s: FloatArray
    along: bool
    slope: bool


@dataclass(frozen=True, eq=False)
class _Derivatives:
    """What some sites of one channel do when each of T targets moves, times their weights w.

    Attributes
    ----------
    x_sd
        Features, shape (S, D).
    rows_std
        w ∂x, shape (S, T, D).
    along_st
        w ∂x·x, shape (S, T); None where it vanishes.
    slope_st
        ∂w, shape (S, T); None where weights are constant.
    """

    x_sd: FloatArray
    rows_std: FloatArray
    along_st: FloatArray | None
    slope_st: FloatArray | None

    @classmethod
    def of(cls, sites: _Sites, rows_stx: FloatArray, site_s: IntArray | slice = _ALL) -> _Derivatives:
        """From rows as `stacked` makes them."""
        x_sd, w_s = sites.x_sd[site_s], sites.weight_s[site_s]
        d = x_sd.shape[1]
        return cls(
            x_sd,
            rows_stx[:, :, :d] * w_s[:, None, None],
            rows_stx[:, :, d] * w_s[:, None] if sites.along else None,
            rows_stx[:, :, -1] if sites.slope else None,
        )

    def __getitem__(self, here: slice) -> _Derivatives:
        parts = (None if x is None else x[here] for x in (self.along_st, self.slope_st))
        return _Derivatives(self.x_sd[here], self.rows_std[here], *parts)

    def covariance(self, kernel: Kernel) -> FloatArray:
        """Prior covariance of the T derivatives of the energy over δ², shape (T, T)."""
        n, t = self.rows_std.shape[:2]
        series = Series.of(kernel, self.x_sd)
        if series is not None:
            seen_tn = series.sums(self.slope_st, self.rows_std)
            return seen_tn @ seen_tn.T
        total = np.zeros((t, t))
        parts = [self[a : a + _SITES] for a in range(0, n, _SITES)]
        for k, one in enumerate(parts):
            for other in parts[:k]:
                block = _cross(kernel, one, other)
                total += block + block.T
            total += _cross(kernel, one, one)
        return total


def _cross(kernel: Kernel, one: _Derivatives, other: _Derivatives) -> FloatArray:
    """Covariance of the derivatives through two sets of sites, shape (T, T)."""
    t = one.rows_std.shape[1]
    same, mixed = kernel.curvatures(one.x_sd, other.x_sd)
    met = (same @ other.rows_std.reshape(len(other.x_sd), -1)).reshape(len(one.x_sd), t, -1)
    total = _by_target(one.rows_std) @ _by_target(met).T
    seen_itj, seen_jti = _seen(kernel, one, other), _seen(kernel, other, one)
    total += _by_target(mixed[:, None] * seen_itj) @ seen_jti.transpose(1, 2, 0).reshape(t, -1).T
    if one.slope_st is not None and other.slope_st is not None:
        k, slopes = kernel.values_and_slopes(one.x_sd, other.x_sd)
        total += np.einsum("ij,itj->tj", slopes, seen_itj) @ other.slope_st
        total += one.slope_st.T @ np.einsum("ij,jti->it", slopes, seen_jti)
        total += one.slope_st.T @ k @ other.slope_st
    return total


def _seen(kernel: Kernel, one: _Derivatives, other: _Derivatives) -> FloatArray:
    """∂k(x, x')/∂x over its slope, for the derivatives of one side: shape (S, T, S')."""
    rows = one.rows_std.reshape(-1, one.x_sd.shape[1]) @ other.x_sd.T
    return kernel.contract(rows.reshape(len(one.x_sd), -1, len(other.x_sd)), one.along_st)


def _by_target(rows_stx: FloatArray) -> FloatArray:
    """(S, T, X) as (T, S·X)."""
    return rows_stx.transpose(1, 0, 2).reshape(rows_stx.shape[1], -1)


def _differentiated(term: SparseTerm, channel: Channel, part: Pairs) -> tuple[_Sites, Jacobian, FloatArray]:
    """Sites of a channel, and rows of their derivatives in the space of all features."""
    sites = term.descriptor.sites(part, channel, whole(term.descriptor))
    jacobian = sites.jacobian()
    along, slope = jacobian.along_qc is not None, jacobian.weight_slope_qc is not None
    x_sd, rows_qcx = sites.x_sd, stacked(jacobian)
    if term.alchemical:
        u_sk = term.central(part.numbers_e[sites.centre_s])
        x_sd, rows_qcx = _outer(u_sk, x_sd), _outer(u_sk[jacobian.site_q, None], rows_qcx)
    return _Sites(x_sd, _weights(sites), along, slope), jacobian, rows_qcx


def _features(term: SparseTerm, channel: Channel, part: Pairs) -> tuple[FloatArray, FloatArray]:
    """Features of all sites and their weights."""
    sites = term.descriptor.sites(part, channel)
    x_sf = sites.full_sd
    return _outer(term.central(part.numbers_e[sites.centre_s]), x_sf) if term.alchemical else x_sf, _weights(sites)


def _outer(u_k: FloatArray, x_d: FloatArray) -> FloatArray:
    """u ⊗ x of the last axes, shape (…, K·D)."""
    product = u_k[..., :, None] * x_d[..., None, :]
    return product.reshape(*product.shape[:-2], -1)


def _weights(sites: Sites) -> FloatArray:
    return np.ones(len(sites.x_sd)) if sites.weight_s is None else sites.weight_s


def _channels(terms: Sequence[SparseTerm], pairs: Pairs) -> Iterator[tuple[SparseTerm, Channel, Pairs]]:
    """All channels that have a pair; those without sparse points, too."""
    for term in terms:
        for channel in term.related:
            part = term.pairs_of(pairs, channel)
            if len(part.e_p):
                yield term, channel, part


def _width(term: SparseTerm, channel: Channel, part: Pairs) -> int:
    """Number of features of a channel."""
    one = part.of_centres(np.arange(len(part.centres_e)) == part.e_p[0])
    return _features(term, channel, one)[0].shape[1]


def _blocks(term: SparseTerm, channel: Channel, part: Pairs, n_bytes: float) -> Iterator[Pairs]:
    """Blocks of centres whose derivative rows fit into the memory meant for them."""
    n = len(part.e_p) / len(part.centres_e)
    per_centre = 24.0 * _width(term, channel, part) * max(n, 2.0 * sites_of(term.descriptor, n))
    return part.blocks(max(1, int(min(_BYTES, n_bytes) / per_centre)))


def _moved(term: SparseTerm, channel: Channel, part: Pairs, targets_e: BoolArray) -> tuple[_Sites, MovedRows]:
    """Rows by which the sites that see them move some atoms."""
    sees_e = targets_e[part.centres_e]
    sees_e[part.e_p[targets_e[part.j_p]]] = True
    near = part.of_centres(sees_e)
    sites, jacobian, rows_qcx = _differentiated(term, channel, near)
    parts = (of_neighbours(jacobian, rows_qcx, near), of_sites(jacobian, rows_qcx, near))
    return sites, joined(*(part.of_targets(targets_e) for part in parts)).merged()


def energy_prior(terms: Sequence[SparseTerm], pairs: Sequence[Pairs]) -> float:
    """Prior variance of the total energy of all centres of several sets of pairs, eV²."""
    total = 0.0
    for term in terms:
        for channel in term.related:
            parts = (block for p in pairs for block in term.pairs_of(p, channel).blocks(_SITES))
            sites = [_features(term, channel, block) for block in parts if len(block.centres_e)]
            blocks = [(x_sf, w_s) for x_sf, w_s in sites if len(x_sf)]
            if blocks:
                total += term.delta**2 * _sum_variance(term.kernel, blocks)
    return total


def _sum_variance(kernel: Kernel, blocks: Sequence[tuple[FloatArray, FloatArray]]) -> float:
    """Σ_ss' w_s k(x_s, x_s') w_s' of blocks of features and weights."""
    x_sf, w_s = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    series = Series.of(kernel, x_sf)
    if series is not None:
        return float(np.sum(series.sums(w_s[:, None]) ** 2))
    total, parts = 0.0, [slice(a, a + _SITES) for a in range(0, len(x_sf), _SITES)]
    for k, a in enumerate(parts):
        for b in parts[: k + 1]:
            value = float(w_s[a] @ kernel.values(x_sf[a], x_sf[b]) @ w_s[b])
            total += value if a == b else 2.0 * value
    return total


def virial_prior(terms: Sequence[SparseTerm], pairs: Pairs, n_bytes: float = _UNLIMITED) -> FloatArray:
    """Prior covariance of the strain derivative ∂E/∂ε in Voigt order, shape (6, 6), eV²."""
    total = np.zeros((6, 6))
    for term, channel, part in _channels(terms, pairs):
        found = []
        for block in _blocks(term, channel, part, n_bytes):
            sites, jacobian, rows_qcx = _differentiated(term, channel, block)
            strained, site_s = strains(jacobian, rows_qcx, block)
            found.append(_Derivatives.of(sites, to_voigt(strained.transpose(0, 3, 1, 2)).transpose(0, 2, 1), site_s))
        total += term.delta**2 * _all(found).covariance(term.kernel)
    return total


def _all(parts: Sequence[_Derivatives]) -> _Derivatives:
    """The sites of several blocks."""

    def side_by_side(name: str) -> Any:
        arrays = [getattr(part, name) for part in parts]
        return None if arrays[0] is None else np.concatenate(arrays)

    return _Derivatives(*(side_by_side(f.name) for f in fields(_Derivatives)))


def force_prior(terms: Sequence[SparseTerm], pairs: Pairs, n_bytes: float = _UNLIMITED) -> FloatArray:
    """Prior variance of every force component, shape (N, 3), (eV/Å)²."""
    n = len(pairs.numbers_e)
    out_ec = np.zeros((n, 3))
    for term, channel, part in _channels(terms, pairs):
        for block in _blocks(term, channel, pairs.within(term.descriptor.reach), n_bytes):
            targets_e = np.zeros(n, dtype=bool)
            targets_e[block.centres_e] = True
            for target, own in _of_atoms(term, channel, part, targets_e):
                out_ec[target] += term.delta**2 * np.diagonal(own.covariance(term.kernel))
    return out_ec


def force_covariance_prior(terms: Sequence[SparseTerm], pairs: Pairs) -> FloatArray:
    """Prior covariance of all force components, shape (3N, 3N), (eV/Å)²: for small structures."""
    n = len(pairs.numbers_e)
    total = np.zeros((n, 3, n, 3))
    for term, channel, part in _channels(terms, pairs):
        moved = list(_of_atoms(term, channel, part, np.ones(n, dtype=bool)))
        for k, (a, one) in enumerate(moved):
            for b, other in moved[: k + 1]:
                block = term.delta**2 * _cross(term.kernel, one, other)
                total[a, :, b] += block
                if a != b:
                    total[b, :, a] += block.T
    return total.reshape(3 * n, 3 * n)


def _of_atoms(
    term: SparseTerm, channel: Channel, part: Pairs, targets_e: BoolArray
) -> Iterator[tuple[int, _Derivatives]]:
    """Derivatives by the position of each of some atoms, of the sites that see it."""
    sites, rows = _moved(term, channel, part, targets_e)
    for a, b in pairwise(np.flatnonzero(np.diff(rows.target_r, prepend=-1, append=-1))):
        yield int(rows.target_r[a]), _Derivatives.of(sites, rows.rows_rcx[a:b], rows.site_r[a:b])
