"""Prior covariance of forces, stress and energy: sums of (derivatives of) the kernel over pairs of sites.

    cov(∂_a E, ∂_b E) = Σ_ss' ∂_a ∂'_b [w_s k(x_s, x_s') w_s']        sites s, s' of one channel

The sparse points play no part: what they do not know of a structure is what these numbers are for (Solak et al., Adv.
Neural Inf. Process. Syst. 15, 1033 (2002), for derivatives of Gaussian processes).

Cost: the force on an atom with n sites in reach takes 6·n²·F operations for F features, the energy and the virial of N
atoms 2·N²·F and 12·N²·F. Sites of two-body terms are bonds, whose kernel is expanded: linear in their number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any, Final

import numpy as np

from gapkit.atoms.neighbours import Pairs
from gapkit.descriptors.base import Jacobian, Sites, whole
from gapkit.gp.moved import MovedRows, joined, of_neighbours, of_sites, stacked, strains
from gapkit.gp.term import Channel, SparseTerm
from gapkit.kernels.base import Kernel
from gapkit.kernels.gaussian import WIDEST, Gaussian
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
        series = _expanded(kernel, self.x_sd)
        if series is not None:
            phi_sn, slope_sn = series
            seen_tn = self.rows_std[:, :, 0].T @ slope_sn
            if self.slope_st is not None:
                seen_tn += self.slope_st.T @ phi_sn
            return seen_tn @ seen_tn.T
        total = np.zeros((t, t))
        parts = [self[a : a + _SITES] for a in range(0, n, _SITES)]
        for k, one in enumerate(parts):
            for other in parts[:k]:
                block = _cross(kernel, one, other)
                total += block + block.T
            total += _cross(kernel, one, one)
        return total


def _expanded(kernel: Kernel, x_sd: FloatArray) -> tuple[FloatArray, FloatArray] | None:
    """Features and slopes whose products are the kernel (`Gaussian.expanded`), where it has such; else None."""
    if not isinstance(kernel, Gaussian) or x_sd.shape[1] != 1:
        return None
    low, high = float(x_sd.min()), float(x_sd.max())
    centre, span = 0.5 * (low + high), 0.5 * (high - low)
    return kernel.expanded(x_sd[:, 0], centre, span) if span <= WIDEST * kernel.theta else None


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
    return _Sites(sites.x_sd, _weights(sites), along, slope), jacobian, stacked(jacobian)


def _weights(sites: Sites) -> FloatArray:
    return np.ones(len(sites.x_sd)) if sites.weight_s is None else sites.weight_s


def _channels(terms: Sequence[SparseTerm], pairs: Pairs) -> Iterator[tuple[SparseTerm, Channel, Pairs]]:
    """All channels that have a pair; those without sparse points, too."""
    for term in terms:
        for channel in term.descriptor.channels:
            part = term.descriptor.pairs_of(pairs, channel)
            if len(part.e_p):
                yield term, channel, part


def _width(term: SparseTerm, channel: Channel, part: Pairs) -> int:
    """Number of features of a channel."""
    one = part.of_centres(np.arange(len(part.centres_e)) == part.e_p[0])
    return term.descriptor.sites(one, channel).full_sd.shape[1]


def _blocks(term: SparseTerm, channel: Channel, part: Pairs, n_bytes: float) -> Iterator[Pairs]:
    """Blocks of centres whose derivative rows fit into the memory meant for them."""
    per_centre = 24.0 * _width(term, channel, part) * len(part.e_p) / len(part.centres_e)
    return part.blocks(max(1, int(min(_BYTES, n_bytes) / per_centre)))


def _moved(
    term: SparseTerm, channel: Channel, part: Pairs, targets_e: BoolArray
) -> tuple[_Sites, MovedRows]:
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
        for channel in term.descriptor.channels:
            parts = (block for p in pairs for block in term.descriptor.pairs_of(p, channel).blocks(_SITES))
            sites = [term.descriptor.sites(block, channel) for block in parts if len(block.centres_e)]
            blocks = [(s.full_sd, _weights(s)) for s in sites if len(s.x_sd)]
            if blocks:
                total += term.delta**2 * _sum_variance(term.kernel, blocks)
    return total


def _sum_variance(kernel: Kernel, blocks: Sequence[tuple[FloatArray, FloatArray]]) -> float:
    """Σ_ss' w_s k(x_s, x_s') w_s' of blocks of features and weights."""
    series = _expanded(kernel, np.concatenate([x for x, _ in blocks]))
    if series is not None:
        seen_n = np.concatenate([w for _, w in blocks]) @ series[0]
        return float(seen_n @ seen_n)
    total = 0.0
    for a, (x_a, w_a) in enumerate(blocks):
        for b, (x_b, w_b) in enumerate(blocks[: a + 1]):
            value = float(w_a @ kernel.values(x_a, x_b) @ w_b)
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
