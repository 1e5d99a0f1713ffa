"""Settings that are chosen from the structures when the user gives none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from gapkit import GAP, DataError, PairTerm, SoapTerm, TripletTerm
from gapkit.atoms.labels import to_frames
from gapkit.model.defaults import default_terms, shared, soap_of
from tests.samples import frames


def terms_for(structures: list[Atoms], **options: float) -> tuple[PairTerm, SoapTerm]:
    pair, soap = default_terms(to_frames(structures, labels=False), **options)  # type: ignore[arg-type]
    assert isinstance(pair, PairTerm)
    assert isinstance(soap, SoapTerm)
    return pair, soap


def test_silicon() -> None:
    """Shells of diamond at 2.35 (4), 3.84 (12), 4.50 (12), 5.43 (6), 5.92 (12) Å: the 40th is in the fifth."""
    pair, soap = terms_for([bulk("Si", a=5.43, cubic=True)] * 20)
    assert soap.soap["r_cut"] == pair.r_cut == pytest.approx(5.9)
    assert soap.soap["sigma"] == pytest.approx(0.47)  # a fifth of 2.35
    assert soap.soap["weighting"] == {"function": "poly", "r0": 5.9, "c": 1.0, "m": 1.0}
    assert (soap.soap["n_max"], soap.soap["l_max"], soap.zeta) == (8, 6, 4)
    assert "species" not in soap.soap


def test_bounds() -> None:
    """Short bonds and dense packing meet the lower bounds, long and sparse ones the upper."""
    _, dense = terms_for([bulk("C", "diamond", a=3.0)])
    assert (dense.soap["r_cut"], dense.soap["sigma"]) == (4.0, 0.4)
    _, hydrogen = terms_for([molecule("H2")])
    assert (hydrogen.soap["r_cut"], hydrogen.soap["sigma"]) == (6.0, 0.4)
    _, wide = terms_for([bulk("Ar", "fcc", a=5.3)])
    assert (wide.soap["r_cut"], wide.soap["sigma"]) == (6.0, 0.5)


def test_given_settings_stay() -> None:
    pair, soap = terms_for(frames(4), r_cut=4.5, n_max=3, l_max=2, zeta=2, n_sparse=7)
    assert (pair.r_cut, soap.soap["r_cut"], soap.soap["weighting"]["r0"]) == (4.5, 4.5, 4.5)
    assert (soap.soap["n_max"], soap.soap["l_max"], soap.zeta, soap.n_sparse) == (3, 2, 2, 7)


@pytest.mark.parametrize(
    ("symbol", "atoms", "n_sparse"), [("Si", 8, 8), ("Si", 400, 200), ("Si", 2000, 500), ("Si", 8000, 1000)]
)
def test_sparse_points_grow_with_the_data(symbol: str, atoms: int, n_sparse: int) -> None:
    _, soap = terms_for([bulk(symbol, cubic=True)] * (atoms // 8))
    assert soap.n_sparse == n_sparse


def test_two_species_get_twice_as_many() -> None:
    _, soap = terms_for([bulk("SiC", "zincblende", a=4.36, cubic=True)] * 100)
    assert soap.n_sparse == 400


def test_a_molecule_has_no_forty_neighbours() -> None:
    """Five of the eight neighbours of an atom of ethanol are within 3 Å: the lower bound, not the upper one."""
    _, soap = terms_for([molecule("CH3CH2OH")])
    assert soap.soap["r_cut"] == 4.0


def test_triplets_take_in_the_nearest_neighbours() -> None:
    structures = to_frames([bulk("Si", a=5.43, cubic=True)], labels=False)
    pair, triplet, soap = default_terms(structures, triplet=300, m=2.0)
    assert isinstance(triplet, TripletTerm)
    assert triplet.r_cut == pytest.approx(1.4 * 2.351, abs=0.05)
    assert soap_of([pair, triplet, soap]) is soap
    assert soap_of([soap]).soap["weighting"]["m"] == 2.0


@pytest.mark.parametrize(("elements", "most", "each"), [("C", 1600, 40), ("CHNO", 1600, 40), ("CHNOS", 1600, 21)])
def test_triangles_of_many_elements_share_their_points(elements: str, most: int, each: int) -> None:
    """S²(S + 1)/2 of them."""
    structures = to_frames([Atoms(f"{e}2", positions=[(0, 0, 0), (0, 0, 1.5)]) for e in elements], labels=False)
    assert default_terms(structures, triplet=most)[1].n_sparse == each


def test_a_rare_element_leaves_its_points_to_the_others() -> None:
    """Shares go by the root of abundance, 1 : 10 : 10; Al has two atoms of which one is taken."""
    structures = to_frames([bulk("SiC", "zincblende", a=4.36, cubic=True)] * 50, labels=False)
    assert shared(100, structures) == 100
    rare = Atoms("Al2", [[0, 0, 0], [0, 0, 2.5]])
    assert shared(201, [*structures, *to_frames([rare], labels=False)]) == {"C": 100, "Al": 1, "Si": 100}
    assert shared(10_000, structures) == {"C": 180, "Si": 180}


def test_nothing_to_measure() -> None:
    with pytest.raises(DataError, match="closer than 6 Å") as error:
        terms_for([Atoms("Si"), Atoms("Si2", [[0, 0, 0], [0, 0, 7]])])
    assert "unit" in error.value.fix


def test_a_model_without_terms_fits_real_silicon(silicon: Any) -> None:
    train = sorted(silicon.train, key=len)[:12]
    with pytest.warns(UserWarning, match="e0 of Si"):
        model = GAP().fit(train)
    assert [type(term) for term in model.state_.settings] == [PairTerm, SoapTerm]
    assert model.terms is None
    p = model.predict(train[3])
    assert abs(p.energy - train[3].get_potential_energy()) / len(train[3]) < 0.02
    assert np.sqrt(np.mean((p.forces - train[3].get_forces()) ** 2)) < 0.3
