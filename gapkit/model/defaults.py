"""Settings for users who give none, from the structures alone; `gapkit.model.choosing` goes on from there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from ase.data import chemical_symbols

from gapkit.atoms.frame import Frame
from gapkit.atoms.neighbours import NeighbourList
from gapkit.descriptors.embedding import resembling
from gapkit.errors import DataError
from gapkit.model.pair_term import PairTerm
from gapkit.model.soap_term import SoapTerm
from gapkit.model.terms import Term, species_of
from gapkit.model.triplet_term import TripletTerm

NEIGHBOURS = 40
"""Neighbours that the first cutoff should include, on average; of molecules, two thirds of their atoms at most."""
CUTOFFS = (4.0, 6.0)
"""Range of the first cutoff, Å."""
SIGMAS = (0.4, 0.5)
"""Range of the width of the density, Å."""
TRIPLETS = (3.0, 3.6)
"""Range of the cutoff of triangles, Å."""
MOST_TRIPLETS = 1600
"""Sparse points of a three-body term, all triangles of elements together: four elements have 40 of them."""
MOST_APART = 4
"""Elements up to which they may be kept apart, and all their triangles: the data never suffice for more."""
_MIXED = 3  # densities of more elements, where nothing else is known
_TRIPLET_POINTS = 2, 40  # of each triangle
_SAMPLE = 50  # frames whose distances are looked at


class Distances(NamedTuple):
    """Shortest distance of a frame, and of an atom, and the radius with `NEIGHBOURS` neighbours: medians, Å."""

    shortest: float
    nearest: float
    radius: float


def default_terms(
    frames: Sequence[Frame],
    *,
    r_cut: float | None = None,
    n_max: int = 8,
    l_max: int = 6,
    zeta: int = 4,
    n_sparse: int | Mapping[str, int] | None = None,
    m: float = 1.0,
    triplet: int = 0,
    embedding: int | None = None,
    alchemical: bool = False,
    alike: bool = False,
) -> list[Term]:
    """A two-body and a SOAP term that suit the structures, and a three-body term where it is wanted.

    The cutoff takes in about 40 neighbours (4 … 6 Å), the width of the density is a fifth of the shortest bonds
    (0.4 … 0.5 Å), and the number of sparse points grows with the data. m is the exponent of the weight of neighbours,
    (1 - 3x² + 2x³)^m with x = r/r_cut; triplet the number of sparse points of the three-body term, 2 to 40 of
    each triangle of elements; 0: no such term. embedding and alchemical are those of the SOAP term; more than four
    elements are always mixed, to three densities if none are given. alike: elements have a density each, which others
    of like chemistry share (`gapkit.descriptors.embedding.resembling`).
    """
    found, species = distances(frames), species_of(frames)
    r_cut = found.radius if r_cut is None else r_cut
    soap = {
        "r_cut": r_cut,
        "n_max": n_max,
        "l_max": l_max,
        "sigma": float(np.clip(round(0.2 * found.shortest, 2), *SIGMAS)),
        "weighting": {"function": "poly", "r0": r_cut, "c": 1.0, "m": m},
    }
    if embedding is None and len(species) > MOST_APART:
        embedding = _MIXED
    vectors = resembling({species[0]: np.ones(1)}, species) if alike else embedding
    if vectors is not None:  # the vectors of elements depend on all that there are
        soap["species"] = [chemical_symbols[z] for z in species]
    number = first_sparse(frames) if n_sparse is None else n_sparse
    terms: list[Term] = [PairTerm(r_cut=r_cut)]
    if triplet:
        n_species = len(species)
        each = int(np.clip(triplet // (n_species**2 * (n_species + 1) // 2), *_TRIPLET_POINTS))
        terms.append(TripletTerm(triplet_cutoff(found), n_sparse=each))
    return [*terms, SoapTerm(soap, zeta=zeta, n_sparse=number, embedding=vectors, alchemical=alchemical)]


def first_sparse(frames: Sequence[Frame]) -> int:
    """Sparse points without a look at errors: a quarter of the atoms, 200 … 1000 per element."""
    atoms, n_species = sum(f.n_atoms for f in frames), len(species_of(frames))
    return int(min(atoms, np.clip(atoms // 4, 200 * n_species, 1000 * n_species)))


def triplet_cutoff(found: Distances) -> float:
    """Cutoff of triangles that takes in the nearest neighbours, Å."""
    return float(np.clip(round(1.4 * found.nearest, 1), *TRIPLETS))


def shared(total: int, frames: Sequence[Frame]) -> int | dict[str, int]:
    """Sparse points by element where an element has too few atoms for its share of `total`, else `total`.

    Shares go by the square root of abundance, as in `SoapTerm`; none takes more than nine tenths of its atoms.
    """
    counts: dict[int, int] = dict.fromkeys(species_of(frames), 0)
    for frame in frames:
        for z, n in zip(*np.unique(frame.numbers_e, return_counts=True), strict=True):
            counts[int(z)] += int(n)
    left, shares, full = total, dict[int, int](), dict[int, int]()
    while True:
        weights = {z: np.sqrt(n) for z, n in counts.items() if z not in full}
        shares = {z: int(left * w / sum(weights.values())) for z, w in weights.items()}
        over = {z: max(1, int(0.9 * counts[z])) for z, n in shares.items() if n > 0.9 * counts[z]}
        if not over:
            break
        full |= over
        left = max(total - sum(full.values()), 0)
    if not full:
        return total
    return {chemical_symbols[z]: max(1, n) for z, n in sorted({**shares, **full}.items())}


def distances(frames: Sequence[Frame]) -> Distances:
    """Typical distances, from up to 50 frames.

    Raises
    ------
    DataError
        No two atoms are close enough to interact.
    """
    shortest, nearest, radii = [], [], []
    for frame in frames[:: max(1, len(frames) // _SAMPLE)]:
        pairs = NeighbourList(CUTOFFS[1]).pairs(frame)
        r_p = np.linalg.norm(pairs.r_pc, axis=1)
        if not len(r_p):
            continue
        near_e = np.full(frame.n_atoms, np.inf)
        np.minimum.at(near_e, pairs.i_p, r_p)
        shortest.append(r_p.min())
        nearest.append(np.median(near_e[np.isfinite(near_e)]))
        most = NEIGHBOURS if frame.pbc_c.any() else min(NEIGHBOURS, max(1, 2 * (frame.n_atoms - 1) // 3))
        rank = most * frame.n_atoms
        radii.append(np.sort(r_p)[rank] if rank < len(r_p) else CUTOFFS[1])
    if not shortest:
        raise DataError(
            "no two atoms are closer than 6 Å in any frame", fix="give terms yourself, or check the unit (Å)"
        )
    radius = float(np.clip(round(float(np.median(radii)), 1), *CUTOFFS))
    return Distances(float(np.median(shortest)), float(np.median(nearest)), radius)


def soap_of(terms: Sequence[Any]) -> SoapTerm:
    """The SOAP term of default terms."""
    return next(term for term in terms if isinstance(term, SoapTerm))
