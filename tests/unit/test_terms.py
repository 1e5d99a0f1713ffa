"""Terms: what the user sets and what `fit` makes of it."""

from __future__ import annotations

import copy
import re
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from dscribe.descriptors import SOAP
from sklearn.base import clone

from gapkit import GAP, ConfigError, Noise, PairTerm, SoapTerm, SpeciesError
from gapkit.atoms.labels import to_frame, to_frames
from gapkit.atoms.neighbours import NeighbourList
from gapkit.gp.term import SparseTerm
from tests.samples import E0, atom, cluster, crystal, fitted_two, frames, soap_arguments, two_species


def chosen(term: SoapTerm | PairTerm, structures: list[Atoms]) -> SparseTerm:
    return term.choose("name", to_frames(structures), np.random.default_rng(0))


def sizes(term: SparseTerm) -> dict[tuple[int, ...], int]:
    return {channel: len(points.x_md) for channel, points in term.points.items()}


def test_soap_from_an_object_from_arguments_and_without_species_is_the_same() -> None:
    arguments = soap_arguments(species=["C", "Si"])
    kept = copy.deepcopy(arguments)
    built = SOAP(**copy.deepcopy(arguments), periodic=True)
    models = [
        GAP([SoapTerm(soap, zeta=2, n_sparse=6)]).fit(two_species()) for soap in (built, arguments, soap_arguments())
    ]
    energies = [model.predict(crystal(9, symbols="SiC")).energy for model in models]
    assert energies[0] == energies[1] == energies[2]
    assert arguments == kept


def test_species_beyond_the_data_have_no_points() -> None:
    term = chosen(SoapTerm(soap_arguments(species=["Si", "Ge"]), zeta=2, n_sparse=5), frames(2))
    assert term.descriptor.species == (14, 32)
    assert set(term.points) == {(14,)}


def test_a_model_does_not_know_an_element_because_its_soap_or_e0_names_it() -> None:
    """It would predict e0 for it, with no standard deviation at all."""
    soap = SoapTerm(soap_arguments(species=["Si", "Ge"]), zeta=2, n_sparse=5)
    model = GAP([soap], e0={"Ge": -3.0, "Si": -2.5}).fit(frames(2))
    assert model.species_ == (14,)
    with pytest.raises(SpeciesError, match="Ge at atoms 1"):
        model.predict(Atoms("SiGe", [[0, 0, 0], [0, 0, 2.3]]))


def test_an_element_that_the_soap_lacks_is_refused() -> None:
    with pytest.raises(SpeciesError, match=r"The model knows C; here is Si at atoms 0 \(frame 0\)"):
        GAP([SoapTerm(soap_arguments(species=["C"]), n_sparse=5)]).fit(frames(2))


def test_sparse_points_are_shared_by_the_root_of_the_abundance() -> None:
    structures = [atom("Si"), atom("C"), cluster(0, "Si5C"), cluster(1, "Si5C"), cluster(2, "Si5C")]
    term = chosen(SoapTerm(soap_arguments(), zeta=2, n_sparse=6), structures)
    assert sizes(term) == {(6,): 2, (14,): 4}  # 4 and 16 environments


def test_sparse_points_by_element() -> None:
    term = chosen(SoapTerm(soap_arguments(), zeta=2, n_sparse={"Si": 5, "C": 2}), two_species())
    assert sizes(term) == {(6,): 2, (14,): 5}
    with pytest.raises(ConfigError, match=r"n_sparse names 'Ge'.*C, Si"):
        chosen(SoapTerm(soap_arguments(), n_sparse={"Ge": 5}), two_species())
    with pytest.raises(ConfigError, match=r"n_sparse\['C'\]=0"):
        chosen(SoapTerm(soap_arguments(), n_sparse={"Si": 5}), two_species())


def test_the_isolated_atom_is_the_first_sparse_point_and_is_there_once() -> None:
    term = chosen(SoapTerm(soap_arguments(), zeta=2, n_sparse=6), frames(6))
    points = term.points[(14,)]
    x_mf = points.x_md if points.map_fd is None else points.x_md @ points.map_fd.T
    alone = NeighbourList(3.6).pairs(to_frame(Atoms("Si"), labels=False))
    isolated = term.descriptor.sites(alone, (14,)).x_sd[0]
    assert np.linalg.norm(x_mf[0] - isolated) < 1e-5
    assert np.linalg.norm(x_mf[1:] - isolated, axis=1).min() > 1e-2


def test_isolated_atoms_keep_their_energy() -> None:
    model = fitted_two()
    for symbol, energy in E0.items():
        assert model.predict(Atoms(symbol)).energy == pytest.approx(energy, abs=1e-6)


@pytest.mark.parametrize("n_sparse", [0, -3, 2.5, "10", True, None])
def test_number_of_sparse_points_outside_its_range(n_sparse: Any) -> None:
    with pytest.raises(ConfigError, match="n_sparse"):
        chosen(SoapTerm(soap_arguments(), n_sparse=n_sparse), frames(2))


@pytest.mark.parametrize(("name", "value"), [("zeta", 0), ("zeta", 1.5), ("delta", 0.0), ("delta", -1), ("delta", "a")])
def test_kernel_settings_outside_their_range(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=name):
        chosen(SoapTerm(soap_arguments(), **{name: value}), frames(2))


def test_a_soap_term_without_soap() -> None:
    with pytest.raises(ConfigError, match="no descriptor"):
        chosen(SoapTerm(), frames(2))


def test_pair_term_has_equal_steps_from_the_shortest_distance_to_the_cutoff() -> None:
    structures = two_species()
    term = chosen(PairTerm(3.3, n_sparse=7, theta=0.5, width=0.9, delta=2.0), structures)
    assert list(term.points) == [(6, 6), (6, 14), (14, 14)]
    for (a, b), points in term.points.items():
        found = [np.inf]
        for atoms in structures:
            pairs = NeighbourList(3.3).pairs(to_frame(atoms, labels=False))
            one, two = atoms.numbers[pairs.i_p], atoms.numbers[pairs.j_p]
            found += list(np.linalg.norm(pairs.r_pc, axis=1)[(one == a) & (two == b)])
        assert points.x_md[:, 0] == pytest.approx(np.linspace(min(found), 3.3, 7), rel=1e-12)
    assert (term.delta, term.kernel.theta, term.descriptor.reach) == (2.0, 0.5, 3.3)


def test_origins_in_words() -> None:
    """Columns count through all terms; distances come from nowhere."""
    structures = to_frames([*frames(6), cluster(9, "Si4")], where="train.xyz")
    quotas = {"crystal": 2, "cluster": 2, "default": 2}
    terms = [PairTerm(3.3, n_sparse=4), SoapTerm(soap_arguments(), zeta=2, n_sparse=6, quotas=quotas)]
    fitted = GAP(terms).fit(structures)
    texts = [fitted.origin(np.int64(column)) for column in range(11)]
    assert texts[:4] == 4 * [""]
    assert texts[4] == "isolated Si atom"
    assert fitted.origin(-1) == ""  # of an atom to which no sparse point is similar
    for text in texts[5:]:
        match = re.fullmatch(r"train\.xyz, frame ([1-7]), atom ([0-3]) \(Si\)(|, crystal|, cluster)", text)
        assert match is not None, text
        group = structures[int(match[1])].group
        assert match[3] == ("" if group == "default" else f", {group}")
    for column in (11, -2, 1.0, "0", None):
        with pytest.raises(ConfigError, match="column"):
            fitted.origin(column)  # type: ignore[arg-type]


def test_points_without_a_file_are_named_by_their_frame() -> None:
    model = fitted_two()
    texts = {model.origin(column) for column in range(len(model.state_.posterior.weights_m))}
    assert {"", "isolated Si atom", "isolated C atom"} < texts
    assert any(re.fullmatch(r"frame [2-5], atom [0-5] \((Si|C)\)", text) for text in texts)


def test_pair_term_of_a_pair_that_never_occurs() -> None:
    structures = [atom("Si"), atom("C"), cluster(0, "Si3")]
    assert set(chosen(PairTerm(3.3), structures).points) == {(14, 14)}


PAIR: list[tuple[dict[str, Any], str]] = [
    ({"r_cut": 1.0}, r"r_cut=1 Å is shorter than any bond.*r_cut > 1"),
    ({"r_cut": 0.5, "width": 0.1}, "shorter than any bond"),
    ({"r_cut": 0.0}, "r_cut"),
    ({"r_cut": "5"}, "r_cut"),
    ({"r_cut": float("nan")}, "r_cut"),
    ({"width": 0.0}, "width"),
    ({"width": 5.1}, "width=5.1 Å is larger than r_cut"),
    ({"n_sparse": 1}, "n_sparse=1.*at least 2"),
    ({"n_sparse": 5.0}, "n_sparse"),
    ({"theta": 0.0}, "theta"),
    ({"delta": -1.0}, "delta"),
    ({"r_cut": 1.7}, "no two atoms are closer than PairTerm.r_cut=1.7 Å.*increase r_cut"),
]


@pytest.mark.parametrize(("settings", "message"), PAIR, ids=[str(s) for s, _ in PAIR])
def test_pair_settings_outside_their_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        chosen(PairTerm(**settings), frames(2))


def test_terms_are_sklearn_estimators() -> None:
    term = SoapTerm(
        soap_arguments(), zeta=3, n_sparse=7, method="uniform", quotas={"a": 0.5}, delta=0.2, engine="native"
    )
    twin = clone(term)
    assert twin is not term
    assert twin.get_params() == term.get_params()
    assert clone(PairTerm(4.0, n_sparse=3)).set_params(theta=0.3).get_params() == {
        "r_cut": 4.0,
        "n_sparse": 3,
        "theta": 0.3,
        "width": 1.0,
        "delta": 1.0,
    }


def test_choice_does_not_change_the_settings() -> None:
    term = SoapTerm(soap_arguments(), zeta=2, n_sparse={"Si": 4}, quotas={"crystal": 2})
    kept = copy.deepcopy(term.get_params())
    chosen(term, frames(6))
    assert term.get_params() == kept


def test_several_soap_terms_add_up() -> None:
    """Two cutoffs and a pair term; each is named after its place, and the parts are the whole."""
    wide = {"function": "poly", "r0": 4.5, "c": 1.0, "m": 1.0}
    terms = [
        SoapTerm(soap_arguments(), zeta=2, n_sparse=6),
        PairTerm(3.0, n_sparse=5),
        SoapTerm(soap_arguments(r_cut=4.5, weighting=wide, n_max=2), zeta=3, n_sparse=5, delta=0.3),
    ]
    model = GAP(terms, Noise(energy=0.002, forces=0.05, stress=0.02)).fit(two_species())
    assert model.reach == 4.5
    p = model.predict(crystal(9, symbols="SiC"))
    assert list(p.by_term) == ["e0", "zbl", "soap0", "pair1", "soap2"]
    assert sum(p.by_term.values()) == pytest.approx(p.energy, abs=1e-12)
    assert p.by_term["e0"] == sum(E0.values())
    assert all(abs(part) > 1e-3 for name, part in p.by_term.items() if name != "zbl")


def test_delta_is_the_prior_standard_deviation() -> None:
    """Far from all data the energy of a bond is uncertain by δ, and so is a bond that no frame has."""
    for delta in (0.5, 2.0):
        model = GAP([PairTerm(3.3, n_sparse=2, theta=0.05, delta=delta)]).fit([*frames(2), atom("C")])
        for dimer in (Atoms("Si2", [[0, 0, 0], [0, 0, 1.2]]), Atoms("SiC", [[0, 0, 0], [0, 0, 1.8]])):
            assert model.predict(dimer, {"energy_std"}).energy_epistemic_std == pytest.approx(delta, rel=1e-6)
