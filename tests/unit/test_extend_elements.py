"""Extension of a model by new elements: descriptors get wider, and what was known stays."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from gapkit import GAP, ACSFTerm, GapkitWarning, Noise, PairTerm, SoapTerm, TripletTerm, load
from gapkit.descriptors.embedding import most_similar
from gapkit.model.terms import Term
from gapkit.testing import obeys, zoo
from gapkit.testing.gap_laws import GAP_LAWS
from tests.samples import E0, cluster, crystal, frames, numbers, soap_arguments, two_species

SIGMAS = {"energy": 0.002, "forces": 0.05, "stress": 0.02}
FUNCTIONS = {"r_cut": 3.6, "g2_params": [[0.5, 2.0], [1.0, 3.0]], "g4_params": [[0.01, 1, -1], [0.05, 2, 1]]}


def soap_term(**changes: Any) -> SoapTerm:
    return SoapTerm(soap_arguments(), **{"zeta": 2, "n_sparse": 8, **changes})


def compressed(mode: str, **weights: float) -> SoapTerm:
    compression = {"mode": mode, "species_weighting": weights or None}
    return SoapTerm(soap_arguments(compression=compression), zeta=2, n_sparse=8)


def model(*terms: Term, **changes: Any) -> GAP:
    """Without a baseline, and unless terms are given of a SOAP alone, whose weights magnify rounding little."""
    return GAP(list(terms) or [soap_term()], **{"noise": Noise(**SIGMAS), "baselines": [], **changes})


def old_frames() -> list[Atoms]:
    return frames(6)


def carbon() -> list[Atoms]:
    """Silicon carbide, and the isolated carbon atom."""
    return two_species(6)[1:]


TERMS: dict[str, Callable[[], list[Term]]] = {
    "soap": lambda: [soap_term()],
    "mu1nu1": lambda: [compressed("mu1nu1")],
    "mu2": lambda: [compressed("mu2")],
    "crossover": lambda: [compressed("crossover")],
    "weights": lambda: [compressed("off", Si=0.7)],
    "mu2 weights": lambda: [compressed("mu2", Si=0.7)],
    "vectors": lambda: [soap_term(embedding={"Si": [1.0, 0.2]})],
    "alchemical": lambda: [soap_term(embedding={"Si": [1.0, 0.2]}, alchemical=True)],
    "pair": lambda: [PairTerm(3.5, n_sparse=6)],
    "triplet": lambda: [TripletTerm(3.2, n_sparse=6)],
    "acsf": lambda: [ACSFTerm(FUNCTIONS, n_sparse=8)],
    "three": lambda: [PairTerm(3.5, n_sparse=5), TripletTerm(3.2, n_sparse=5), soap_term(n_sparse=6)],
}


@pytest.mark.parametrize("name", TERMS)
def test_a_new_element_changes_nothing_of_the_old_ones(name: str) -> None:
    """The weights that the model had, at their points in the descriptor of two elements, say what they said."""
    old = model(*TERMS[name]()).fit(old_frames())
    fit = copy(old).extend(carbon(), n_sparse={"Si": 3, "C": 5})
    weights_m, first = np.zeros(len(fit.state_.posterior.weights_m)), 0
    seen = 0
    for was, now, columns in zip(old.state_.terms, fit.state_.terms, fit.state_.slices, strict=True):
        for channel, own in was.columns.items():
            start = columns.start + now.columns[channel].start
            weights_m[start : start + own.stop - own.start] = old.state_.posterior.weights_m[first:][own]
            seen += own.stop - own.start
        first += was.n_columns
    assert seen == len(old.state_.posterior.weights_m)
    unmoved = copy(fit)
    unmoved.state_ = replace(fit.state_, posterior=replace(fit.state_.posterior, weights_m=weights_m))
    scale = np.abs(weights_m).max()
    for atoms in (crystal(9), cluster(8, "Si5")):
        one, other = unmoved.predict(atoms), old.predict(atoms)
        assert abs(one.energy - other.energy) <= 1e-12 * scale * len(atoms)
        assert np.abs(one.forces - other.forces).max() <= 1e-11 * scale
    assert fit.species_ == (6, 14)


@pytest.mark.parametrize("name", ["soap", "mu1nu1", "alchemical", "triplet", "acsf"])
def test_the_extended_model_is_a_model(name: str, tmp_path: Path) -> None:
    """It obeys all laws, isolated atoms have e0, and it comes back from its file bit for bit."""
    fit = model(*TERMS[name]()).fit(old_frames()).extend(carbon())
    structures = zoo(["Si", "C"])
    for kind in ("skewed", "dimer"):
        obeys(fit, structures[kind])
    for law in GAP_LAWS:
        if law.__name__ in ("isolated_atom_has_e0", "file_keeps_everything", "removing_data_never_lowers_variance"):
            law(fit, [], [structures["water"]])
    fit.save(tmp_path / "a.gap")
    assert np.array_equal(numbers(load(tmp_path / "a.gap"), structures["skewed"]), numbers(fit, structures["skewed"]))


def alloy(seed: int, *metals: str) -> Atoms:
    """A rattled, strained fcc cell with the labels of the effective medium theory."""
    rng, atoms = np.random.default_rng(seed), bulk("Ni", a=3.6, cubic=True) * (2, 2, 1)
    atoms.set_chemical_symbols(rng.choice(metals, len(atoms)).tolist())
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.uniform(-0.04, 0.04, (3, 3))), scale_atoms=True)
    atoms.rattle(0.12, rng=rng)
    atoms.calc = EMT()
    atoms.get_forces(), atoms.get_stress()
    return atoms


def test_an_alloy_does_not_spoil_the_metal() -> None:
    """Triangles of nickel in the alloy are among those of nickel alone: points between the old ones would tear at what
    is known (with them, errors of forces are three times as large)."""
    terms = [TripletTerm(3.2, n_sparse=40), soap_term(n_sparse=60)]
    old = model(*terms, noise=Noise(0.0002, 0.02, 0.005), e0={"Ni": 0.0})
    old.fit([alloy(k, "Ni") for k in range(16)])
    fit = copy(old).extend([alloy(200 + k, "Ni", "Cu") for k in range(6)], e0={"Cu": 0.0})
    points = [f.state_.terms[0].points[28, 28, 28].x_md for f in (old, fit)]
    assert np.array_equal(*points)
    test = [alloy(100 + k, "Ni") for k in range(4)]
    before, after = ([np.abs(f.predict(a).forces - a.get_forces()).mean() for a in test] for f in (old, fit))
    assert np.mean(after) < 1.05 * np.mean(before)


def test_the_isolated_atom_of_a_new_element_has_its_energy() -> None:
    fit = model().fit(old_frames()).extend(carbon())
    for symbol, energy in E0.items():
        p = fit.predict(Atoms(symbol), {"energy", "energy_std"})
        assert p.energy == pytest.approx(energy, abs=1e-6)
        assert p.energy_epistemic_std < 2e-5
    given = model().fit(old_frames()).extend(carbon()[1:], e0={"C": -1.25})
    assert given.e0_ == {6: -1.25, 14: -2.5}
    with pytest.warns(GapkitWarning, match="e0 of C comes from least squares"):
        fitted = model().fit(old_frames()).extend(carbon()[1:])
    assert fitted.e0_[14] == -2.5


def test_e0_that_the_fit_had_no_use_for_serves_a_new_element(tmp_path: Path) -> None:
    """Also from a file; a word to `extend` weighs more, and another method has other energies."""
    fit = model(e0={"Si": -2.5, "C": -1.25}).fit(old_frames())
    fit.save(tmp_path / "si.gap")
    assert copy(fit).extend(carbon()[1:]).e0_ == {6: -1.25, 14: -2.5}
    assert load(tmp_path / "si.gap").extend(carbon()[1:]).e0_ == {6: -1.25, 14: -2.5}
    other = copy(fit).extend(carbon()[1:3], e0={"C": -1.5})
    assert other.e0_[6] == -1.5
    assert other.extend(carbon()[3:]).e0_[6] == -1.5
    assert copy(fit).extend(carbon()).e0_[6] == E0["C"]  # the atom itself is there
    with pytest.warns(GapkitWarning, match="e0 of C comes from least squares"):
        copy(fit).fine_tune(old_frames(), e0={"Si": -2.0}).extend(carbon()[1:])


def test_fewer_densities_than_elements_stay_as_many() -> None:
    """Old vectors stay, the new one is nearest to that of its like; a vector that the user gave is taken."""
    vectors = {"Si": [1.0, 0.2], "C": [0.5, 0.1]}
    fit = model(soap_term(embedding=vectors, n_sparse=10)).fit(two_species())
    fit.extend([carbide_of_germanium(k) for k in range(3)], e0={"Ge": -3.0})
    basis = fit.state_.terms[0].descriptor.basis
    found = dict(zip(basis.species, basis.embedding_sk.tolist(), strict=True))
    assert (found[14], found[6]) == (vectors["Si"], vectors["C"])
    assert np.linalg.norm(np.subtract(found[32], found[14])) < 0.3 * np.linalg.norm(np.subtract(found[32], found[6]))
    own = model(soap_term(embedding={"Si": [1.0, 0.2], "C": [0.3, -0.8]})).fit(old_frames()).extend(carbon())
    assert own.state_.terms[0].descriptor.basis.embedding_sk.tolist() == [[0.3, -0.8], [1.0, 0.2]]


@pytest.mark.parametrize("embedding", [None, 2])
def test_elements_that_have_a_density_each_get_one_more(embedding: int | None) -> None:
    """One after the other: the third must not be squeezed into the densities of two."""
    fit = model(soap_term(embedding=embedding, n_sparse=10)).fit(two_species())
    before = None if embedding is None else fit.state_.terms[0].descriptor.basis.embedding_sk
    labelled = [carbide_of_germanium(k) for k in range(3)]
    fit.extend(labelled, e0={"Ge": -3.0})
    basis = fit.state_.terms[0].descriptor.basis
    assert np.linalg.matrix_rank(basis.embedding_sk) == 3
    assert np.linalg.norm(basis.embedding_sk, axis=1) == pytest.approx(np.ones(3))
    known = [basis.species.index(z) for z in (6, 14)]
    assert np.array_equal(
        basis.embedding_sk[known], np.eye(2, 3) if before is None else np.pad(before, ((0, 0), (0, 1)))
    )
    others = []
    for k in range(3):
        tin = carbide_of_germanium(10 + k)
        tin.set_chemical_symbols(["Sn" if s == "Ge" else s for s in tin.get_chemical_symbols()])
        tin.calc = SinglePointCalculator(tin, **labelled[k].calc.results)
        others.append(tin)
    fit.extend(others, e0={"Sn": -3.0})
    basis = fit.state_.terms[0].descriptor.basis
    assert basis.species == (6, 14, 32, 50)
    assert np.linalg.matrix_rank(basis.embedding_sk) == 4


def test_a_new_element_resembles_the_known_one_of_like_chemistry() -> None:
    fit = model(soap_term(n_sparse=10)).fit(two_species())
    wide = copy(fit).extend([carbide_of_germanium(k) for k in range(3)], e0={"Ge": -3.0})
    basis = wide.state_.terms[0].descriptor.basis
    vectors = dict(zip(basis.species, basis.embedding_sk, strict=True))
    assert vectors[6].tolist() == [1.0, 0.0, 0.0]
    assert vectors[14].tolist() == [0.0, 1.0, 0.0]
    assert vectors[32] == pytest.approx([0.0, 0.8, 0.6])  # at most that much
    assert most_similar(74, (6, 4)) == (4, pytest.approx(0.1, abs=0.05))  # beryllium hardly resembles tungsten
    assert most_similar(17, (11,))[1] < 0.02
    assert most_similar(73, (42, 8))[0] == 42


def test_few_frames_of_an_alloy_teach_more_of_it_when_elements_are_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    e0 = {"Ni": 0.0, "Cu": 0.0}
    known = model(soap_term(n_sparse=40), e0=e0).fit([alloy(k, "Ni") for k in range(12)])
    tests = [alloy(100 + k, "Ni", "Cu") for k in range(8)]

    def error() -> float:
        fit = copy(known).extend([alloy(50 + k, "Ni", "Cu") for k in range(4)], n_sparse=30)
        return float(np.sqrt(np.mean([(fit.predict(a).forces - a.get_forces()) ** 2 for a in tests])))

    alike = error()
    monkeypatch.setattr("gapkit.descriptors.embedding.most_similar", lambda z, among: (among[0], 0.0))
    assert alike < 0.8 * error()


def carbide_of_germanium(seed: int) -> Atoms:
    """With the labels of silicon carbide."""
    found = crystal(seed, symbols="SiC")
    labels = found.calc.results
    found.set_chemical_symbols(["Ge" if s == "Si" else s for s in found.get_chemical_symbols()])
    found.calc = SinglePointCalculator(found, **labels)
    return found


def test_baselines_reach_new_elements() -> None:
    fit = model(baselines=None).fit(old_frames())
    radii = dict(fit.state_.baselines[0].outer)
    fit.extend(carbon())
    now = fit.state_.baselines[0].outer
    assert {name: now[name] for name in radii} == radii
    assert set(now) == {"Si-Si", "C-Si", "C-C"}
    close = Atoms("SiC", [[0, 0, 0], [0, 0, 0.5]])
    assert fit.predict(close).by_term["zbl"] > 10.0
