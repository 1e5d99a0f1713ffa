"""The two directions of a descriptor: a pullback for prediction, a Jacobian for training rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from gapkit.atoms.neighbours import Pairs
from gapkit.typing import FloatArray, IntArray


class Points(Protocol):
    """Sparse points of one channel, in whatever space suits the descriptor.

    Attributes
    ----------
    x_md
        Points, shape (M, D).
    """

    @property
    def x_md(self) -> FloatArray: ...


class Jacobian(Protocol):
    """Derivatives of the features of sites by the pair vectors they depend on.

    Row q is the dependence of one site on one pair. Rows of one site may be added before they
    meet the sparse points, which is what makes the rows of a fit affordable.

    Attributes
    ----------
    site_q, pair_q
        Site and pair of each row, shape (Q,).
    rows_qcx
        ∂x/∂r_c in a space of the descriptor's choice, shape (Q, 3, X).
    along_qc
        Σ_d (∂x_d/∂r_c) x_d, shape (Q, 3); None where it vanishes (unit vectors).
    weight_slope_qc
        ∂w/∂r_c of the site weights, shape (Q, 3); None if the weights are constant.
    """

    site_q: IntArray
    pair_q: IntArray
    rows_qcx: FloatArray
    along_qc: FloatArray | None
    weight_slope_qc: FloatArray | None

    def meet(self, rows_qcx: FloatArray) -> FloatArray:
        """Rows or sums of rows met by the sparse points, Σ_d ∂x_d x_md: shape (Q, 3, M)."""
        ...


class Sites(Protocol):
    """Features of the sites (environments, bonds, …) of one channel in one block of pairs.

    Attributes
    ----------
    x_sd
        Features, shape (S, D).
    weight_s
        Factor on the site's energy (a cutoff function); None for 1.
    centre_s
        Atom that the site's energy is counted to, shape (S,).
    """

    x_sd: FloatArray
    weight_s: FloatArray | None
    centre_s: IntArray

    @property
    def full_sd(self) -> FloatArray:
        """Features before any projection on the space of the points, shape (S, F)."""
        ...

    def pullback(self, gx_sd: FloatArray, gw_s: FloatArray | None) -> FloatArray:
        """∂E/∂r of every pair, shape (P, 3), from ∂E/∂x and ∂E/∂w."""
        ...

    def jacobian(self) -> Jacobian:
        """The derivatives themselves, for training rows."""
        ...


class Descriptor(Protocol):
    """What a term needs of a descriptor; a new kind of descriptor is one file with these methods."""

    @property
    def reach(self) -> float:
        """Largest distance at which a neighbour counts, Å."""
        ...

    @property
    def species(self) -> tuple[int, ...]:
        """Atomic numbers that it knows, ascending."""
        ...

    @property
    def channels(self) -> Sequence[tuple[int, ...]]:
        """Kinds of site with sparse points of their own: (Z,) for atoms, (Z, Z') for bonds."""
        ...

    def pairs_of(self, pairs: Pairs, channel: tuple[int, ...]) -> Pairs:
        """The pairs that the sites of one channel depend on."""
        ...

    def sites(self, pairs: Pairs, channel: tuple[int, ...], points: Any = None) -> Sites:
        """The sites of one channel on pairs that `pairs_of` returned; features in the points' space."""
        ...

    def points(self, x_md: FloatArray) -> Points:
        """Sparse points from features that were evaluated without points."""
        ...


class Together(Protocol):
    """The sites of all channels of one block, whose gradients are pulled back at once.

    A descriptor whose channels share work returns one from a method ``together(pairs, n_energies)``,
    where `pairs` are those of some centres; without that method, channels are evaluated one by one.
    """

    origin_p: IntArray

    def sites(self, channel: tuple[int, ...], points: Any) -> Any:
        """The `Sites` of one channel; None if there are none."""
        ...

    def add(self, sites: Any, gx_ksd: FloatArray, gw_ks: FloatArray | None) -> None:
        """Take ∂E/∂x and ∂E/∂w of the sites of one channel, for K energies."""
        ...

    def gradient(self) -> FloatArray:
        """∂E/∂r of the pairs `origin_p` from all that was added, shape (K, P, 3)."""
        ...


class Apart:
    """The same for a descriptor whose channels have nothing in common."""

    def __init__(self, descriptor: Descriptor, pairs: Pairs, n_energies: int = 1) -> None:
        self._descriptor, self._pairs = descriptor, pairs
        self.origin_p: IntArray = pairs.origin_p
        self._gradient_kpc = np.zeros((n_energies, *pairs.r_pc.shape))
        self._local: IntArray = np.arange(len(pairs.e_p))

    def sites(self, channel: tuple[int, ...], points: Any) -> Sites | None:
        """The sites of one channel; None if there are none."""
        part = self._descriptor.pairs_of(replace(self._pairs, origin_p=np.arange(len(self._pairs.e_p))), channel)
        self._local = part.origin_p
        return self._descriptor.sites(part, channel, points) if len(part.centres_e) else None

    def add(self, sites: Sites, gx_ksd: FloatArray, gw_ks: FloatArray | None) -> None:
        """Pull back the gradients of the sites that were asked for last."""
        for k, gx_sd in enumerate(gx_ksd):
            self._gradient_kpc[k, self._local] += sites.pullback(gx_sd, None if gw_ks is None else gw_ks[k])

    def gradient(self) -> FloatArray:
        """∂E/∂r of all pairs of the block, shape (K, P, 3)."""
        return self._gradient_kpc


def together(descriptor: Descriptor, pairs: Pairs, n_energies: int = 1) -> Together:
    """All channels of one block, for K energies: by the descriptor's own method if it has one."""
    make = getattr(descriptor, "together", None)
    return Apart(descriptor, pairs, n_energies) if make is None else make(pairs, n_energies)


def sites_of(descriptor: Descriptor, n_neighbours: float) -> float:
    """Number of sites of a centre with so many neighbours in reach, for bounds on memory: one.

    A descriptor with sites in greater number, such as triangles, has a method ``sites_of(n_neighbours)``.
    """
    count = getattr(descriptor, "sites_of", None)
    return 1.0 if count is None else float(count(n_neighbours))


def whole(descriptor: Descriptor) -> Any:
    """What `sites` takes for features and Jacobians in the full space, when no sparse point may project them.

    A descriptor whose Jacobian is always met by points has a method ``whole()``; others need none.
    """
    make = getattr(descriptor, "whole", None)
    return None if make is None else make()
