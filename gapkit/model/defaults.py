"""Settings for users who give none, from the structures alone."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from gapkit.atoms.frame import Frame
from gapkit.atoms.neighbours import NeighbourList
from gapkit.errors import DataError
from gapkit.model.pair_term import PairTerm
from gapkit.model.soap_term import SoapTerm
from gapkit.model.terms import Term

_log = logging.getLogger(__name__)

NEIGHBOURS = 40
"""Neighbours that the cutoff should include, on average."""
CUTOFFS = (4.0, 6.0)
"""Range of the cutoff, Å."""


def default_terms(
    frames: Sequence[Frame],
    *,
    r_cut: float | None = None,
    n_max: int = 8,
    l_max: int = 6,
    zeta: int = 4,
    n_sparse: int | None = None,
) -> list[Term]:
    """A two-body and a SOAP term that suit the structures.

    The cutoff takes in about 40 neighbours (4 … 6 Å), the width of the density is a fifth of the
    shortest bonds (0.25 … 0.5 Å), and the number of sparse points grows with the data.
    """
    shortest, radius = _distances(frames)
    r_cut = radius if r_cut is None else r_cut
    sigma = float(np.clip(round(0.2 * shortest, 2), 0.25, 0.5))
    atoms = sum(f.n_atoms for f in frames)
    n_species = len({int(z) for f in frames for z in np.unique(f.numbers_e)})
    n_sparse = (
        int(min(atoms, np.clip(atoms // 4, 200 * n_species, 1000 * n_species))) if n_sparse is None else n_sparse
    )
    soap = {
        "r_cut": r_cut,
        "n_max": n_max,
        "l_max": l_max,
        "sigma": sigma,
        "weighting": {"function": "poly", "r0": r_cut, "c": 1.0, "m": 1.0},
    }
    _log.info(
        "defaults: r_cut %.1f Å, σ %.2f Å, n_max %d, l_max %d, %d sparse points", r_cut, sigma, n_max, l_max, n_sparse
    )
    return [PairTerm(r_cut=r_cut), SoapTerm(soap, zeta=zeta, n_sparse=n_sparse)]


def _distances(frames: Sequence[Frame]) -> tuple[float, float]:
    """Typical shortest bond, and the radius with about `NEIGHBOURS` neighbours, from up to 50 frames."""
    nearest, radii = [], []
    for frame in frames[:: max(1, len(frames) // 50)]:
        pairs = NeighbourList(CUTOFFS[1]).pairs(frame)
        r_p = np.linalg.norm(pairs.r_pc, axis=1)
        if not len(r_p):
            continue
        nearest.append(r_p.min())
        rank = NEIGHBOURS * frame.n_atoms
        radii.append(np.sort(r_p)[rank] if rank < len(r_p) else CUTOFFS[1])
    if not nearest:
        raise DataError(
            "no two atoms are closer than 6 Å in any frame", fix="give terms yourself, or check the unit (Å)"
        )
    return float(np.median(nearest)), float(np.clip(round(float(np.median(radii)), 1), *CUTOFFS))
