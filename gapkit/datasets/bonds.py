"""Distances of nearest atoms in units of their covalent radii."""

from __future__ import annotations

from itertools import product
from typing import Final, NamedTuple

import numpy as np
from ase.data import covalent_radii

from gapkit import Frame
from gapkit.typing import FloatArray, IntArray

CRUSHED: Final = 0.4
"""Share of covalent radii within which most atoms of no frame have three others; the least one pair has is 0.59."""
_OTHERS: Final = 3
_AS_NEAR: Final = 1.1  # times the shortest distance, of neighbours that balance one another …
_EVEN: Final = 0.05  # … to this share of their number


class Bond(NamedTuple):
    """Two atoms, their distance in Å, and its share of the sum of their covalent radii."""

    share: float
    distance: float
    i: int
    j: int


NO_BOND: Final = Bond(np.inf, np.inf, 0, 0)


def shortest(frame: Frame) -> Bond:
    """The nearest two atoms, as a share of their covalent radii; an atom and its periodic image are two."""
    from scipy.spatial import cKDTree

    radii_e = covalent_radii[frame.numbers_e]
    centre_ec, images_ic = _wrapped(frame)
    look = 2.0 * float(radii_e.max()) * _at_most(radii_e, centre_ec, images_ic) * (1.0 + 1e-9)
    if not np.isfinite(look):
        return NO_BOND
    points, owner = _around(centre_ec, images_ic, look)
    near = cKDTree(centre_ec).sparse_distance_matrix(cKDTree(points), look, output_type="ndarray")
    near = near[near["v"] > 1e-9]  # not with itself
    if not len(near):
        return NO_BOND
    i, j = near["i"], owner[near["j"]]
    share = near["v"] / (radii_e[i] + radii_e[j])
    k = int(share.argmin())
    return Bond(float(share[k]), float(near["v"][k]), int(i[k]), int(j[k]))


def crushed(frame: Frame, bond: Bond) -> bool:
    """Whether most atoms have several others far inside their covalent radii: no cell that was computed."""
    from scipy.spatial import cKDTree

    if bond.share >= CRUSHED:
        return False
    radii_e = covalent_radii[frame.numbers_e]
    centre_ec, images_ic = _wrapped(frame)
    points, owner = _around(centre_ec, images_ic, 2.0 * CRUSHED * float(radii_e.max()))
    if len(points) <= _OTHERS:
        return False
    distance_e, index_e = (x[:, -1] for x in cKDTree(points).query(centre_ec, k=_OTHERS + 1))
    return bool(np.median(distance_e / (radii_e + radii_e[owner[index_e]])) < CRUSHED)


def usual_share(frame: Frame) -> float:
    """Median over the atoms of the distance to the nearest one, as a share of their covalent radii."""
    from scipy.spatial import cKDTree

    radii_e = covalent_radii[frame.numbers_e]
    centre_ec, images_ic = _wrapped(frame)
    reach = float(np.linalg.norm(images_ic, axis=1).max()) + float(np.ptp(centre_ec, axis=0).max())
    points, owner = _around(centre_ec, images_ic, reach)
    if len(points) < 2:
        return np.inf
    distance_e, index_e = (x[:, -1] for x in cKDTree(points).query(centre_ec, k=2))
    return float(np.median(distance_e / (radii_e + radii_e[owner[index_e]])))


def balanced(frame: Frame, bond: Bond) -> bool:
    """Whether neighbours as near as the nearest pull an atom of that pair in all directions, as in a pressed crystal:
    small forces are no sign of a mistake there."""
    centre_ec, images_ic = _wrapped(frame)
    reach = _AS_NEAR * bond.distance
    r_pc = _around(centre_ec, images_ic, reach)[0] - centre_ec[bond.i]
    r_p = np.linalg.norm(r_pc, axis=1)
    near = (r_p > 1e-9) & (r_p < reach)
    pull_pc = r_pc[near] / r_p[near, None]
    return float(np.linalg.norm(pull_pc.sum(axis=0))) < _EVEN * len(pull_pc)


def _at_most(radii_e: FloatArray, centre_ec: FloatArray, images_ic: FloatArray) -> float:
    """An upper bound of the smallest share: neighbours in one cell by distance, and an atom's own images."""
    from scipy.spatial import cKDTree

    own = np.linalg.norm(images_ic, axis=1)
    share = float(own[own > 0.0].min(initial=np.inf)) / (2.0 * float(radii_e.max()))
    if len(centre_ec) > 1:
        distance_e, index_e = (x[:, 1] for x in cKDTree(centre_ec).query(centre_ec, k=2))
        share_e = distance_e / (radii_e + radii_e[index_e])
        share = min(share, float(share_e[distance_e > 1e-9].min(initial=np.inf)))
    return share


def _around(centre_ec: FloatArray, images_ic: FloatArray, reach: float) -> tuple[FloatArray, IntArray]:
    """Atoms and their images within `reach` of the box of the atoms, and which atom each is."""
    points = (images_ic[:, None] + centre_ec).reshape(-1, 3)
    low, high = centre_ec.min(axis=0) - reach, centre_ec.max(axis=0) + reach
    inside = ((points > low) & (points < high)).all(axis=1)
    owner: IntArray = np.tile(np.arange(len(centre_ec)), len(images_ic))[inside]
    return points[inside], owner


def _wrapped(frame: Frame) -> tuple[FloatArray, FloatArray]:
    """Positions in the reduced cell, and translations to the nearest images, the identity among them, shape (I, 3)."""
    from ase.geometry import minkowski_reduce, wrap_positions

    if not frame.pbc_c.any():
        return frame.positions_ec, np.zeros((1, 3))
    cell, _ = minkowski_reduce(frame.cell_cc, pbc=frame.pbc_c)
    shifts = product(*((-1, 0, 1) if periodic else (0,) for periodic in frame.pbc_c))
    images: FloatArray = np.array(list(shifts), dtype=float) @ cell
    return wrap_positions(frame.positions_ec, cell, frame.pbc_c), images
