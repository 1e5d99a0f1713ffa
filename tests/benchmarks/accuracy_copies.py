"""Test structures whose every environment is one of the training set: fitting them well shows nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from dscribe.descriptors import SOAP

REACH = 5.0
"""Radius within which environments are compared, Å."""
SAME = 1e-4
"""Distance of normalised SOAP vectors below which two environments are the same but for rounding in the files."""


def unseen(train: Sequence[Atoms], test: Sequence[Atoms]) -> list[int]:
    """Indices of the test structures of which at least one environment is in no training structure.

    Supercells, rotations and reflections of a training structure count as seen; its distorted copies do not.
    """
    species = sorted({symbol for atoms in train for symbol in atoms.symbols})
    weighting = {"function": "poly", "r0": REACH, "c": 1.0, "m": 1.0}
    periodic = bool(train[0].pbc.any())
    soap = SOAP(species=species, r_cut=REACH, n_max=6, l_max=6, sigma=0.5, weighting=weighting, periodic=periodic)
    known_ef, query_ef = _vectors(soap, train), _vectors(soap, test)
    known_e = np.concatenate([atoms.numbers for atoms in train])
    query_e = np.concatenate([atoms.numbers for atoms in test])
    frame_e = np.repeat(np.arange(len(test)), [len(atoms) for atoms in test])
    distance_e = np.full(len(query_e), np.inf)
    for number in set(query_e.tolist()):
        own, theirs = query_e == number, known_ef[known_e == number]
        # blocks keep the matrix of all pairs small
        nearest = [(block @ theirs.T).max(axis=1) for block in np.array_split(query_ef[own], 1 + own.sum() // 500)]
        distance_e[own] = np.sqrt(np.maximum(2.0 - 2.0 * np.concatenate(nearest), 0.0))
    return sorted(set(frame_e[distance_e > SAME].tolist()))


def _vectors(soap: SOAP, frames: Sequence[Atoms]) -> np.ndarray:
    """Normalised SOAP vectors of all atoms of all structures, shape (E, F)."""
    x_ef = np.concatenate([soap.create(atoms) for atoms in frames])
    return x_ef / np.linalg.norm(x_ef, axis=1)[:, None]
