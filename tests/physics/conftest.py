"""Small models of different kinds, fitted once per session to a potential that is known exactly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
from ase import Atoms

from gapkit import GAP, Noise, PairTerm, SoapTerm
from gapkit.testing import environments
from tests.physics.toy import labelled


class Fitted(NamedTuple):
    """A model and what it was fitted to with rng=0."""

    model: GAP
    frames: list[Atoms]


def training_frames(species: Sequence[str], copies: int = 2) -> list[Atoms]:
    """Labelled zoo in two groups, crystals and all others, and the isolated atoms."""
    atoms_list = [a for a in environments(species, seed=11, copies=copies) if len(a) > 1]
    frames = [labelled(a, "crystal" if a.pbc.all() else "other", stress=a.pbc.all()) for a in atoms_list]
    return frames + [labelled(Atoms(symbol), "isolated_atom", stress=False) for symbol in species]


def soap(r_cut: float, n_max: int, l_max: int, **more: Any) -> dict[str, Any]:
    weighting = {"function": "poly", "r0": r_cut, "c": 1.0, "m": 1.0}
    return {"r_cut": r_cut, "n_max": n_max, "l_max": l_max, "sigma": 0.5, "weighting": weighting, **more}


@pytest.fixture(scope="session")
def silicon_sum() -> Fitted:
    """A pair term and two SOAPs of different cutoffs; energies, forces and stresses."""
    terms = [
        PairTerm(r_cut=3.8, n_sparse=8, theta=0.3),  # wider ones are so alike that weights magnify rounding
        SoapTerm(soap(4.5, 3, 3), zeta=3, n_sparse=30),
        SoapTerm(soap(3.2, 2, 2), zeta=2, n_sparse=15, delta=0.5),
    ]
    frames = training_frames(["Si"])
    return Fitted(GAP(terms, Noise(0.005, 0.05, 0.01, groups={"other": {"forces": 0.2}})).fit(frames, rng=0), frames)


@pytest.fixture(scope="session")
def salt() -> Fitted:
    """Two species, compressed, with more sparse points than features."""
    terms = [
        SoapTerm(soap(4.2, 2, 2, compression={"mode": "mu1nu1"}), zeta=2, n_sparse=56, method="uniform"),
        PairTerm(r_cut=4.5, n_sparse=10),  # twenty stand so close that their weights magnify rounding
    ]
    frames = training_frames(["Na", "Cl"])
    return Fitted(GAP(terms, Noise(0.005, 0.05, 0.01)).fit(frames, rng=0), frames)


@pytest.fixture(scope="session")
def organic() -> Fitted:
    """Three species; energies and forces."""
    frames = training_frames(["H", "C", "O"], copies=3)
    term = SoapTerm(soap(2.8, 3, 2), zeta=4, n_sparse=30, method="leverage")
    return Fitted(GAP([term], Noise(0.01, 0.1, None)).fit(frames, rng=0), frames)


@pytest.fixture(scope="session")
def polynomial() -> Fitted:
    """dscribe's own engine, which is slow: energies alone."""
    frames = [a for a in training_frames(["Si"]) if len(a) <= 3]
    basis = soap(3.6, 2, 1, rbf="polynomial")
    return Fitted(GAP([SoapTerm(basis, n_sparse=8)], Noise(0.005, None, None)).fit(frames, rng=0), frames)
