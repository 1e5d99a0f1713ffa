"""The model a user holds: its fit, and what that leaves alone."""

from __future__ import annotations

import copy
import logging
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from dscribe.descriptors import SOAP

from gapkit import GAP, ConfigError, DataError, GapkitWarning, Keys, Noise, PairTerm, SoapTerm, evaluate
from gapkit.atoms.labels import to_frames
from tests.samples import E0, atom, cluster, crystal, fitted, frames, label, model, numbers, soap_arguments


def test_constructor_stores_and_does_nothing() -> None:
    """What is wrong is found by `fit`, as scikit-learn asks."""
    given = {name: object() for name in ("terms", "noise", "baselines", "keys", "e0")}
    made = GAP(**given, n_jobs=0)  # type: ignore[arg-type]
    assert made.get_params(deep=False) == {**given, "n_jobs": 0, "max_memory": None}
    assert not [name for name in vars(made) if name.endswith("_")]


def test_fit_learns_and_returns_itself() -> None:
    made = model()
    assert made.fit(frames()) is made
    assert made.species_ == (14,)
    assert made.e0_ == {14: -2.5}
    assert made.reach == 3.6
    assert np.isfinite(made.log_evidence_)
    assert (made.training_["frames"], made.training_["atoms"]) == (7, 19)
    errors = {(e["group"], e["kind"]): e["rows"] for e in made.training_["errors"]}
    assert errors == {
        ("crystal", "energy"): 3,
        ("crystal", "forces"): 18,
        ("crystal", "stress"): 18,
        ("cluster", "energy"): 3,
        ("cluster", "forces"): 36,
    }


def test_fit_is_good_on_what_it_has_seen() -> None:
    terms = [PairTerm(4.0, n_sparse=30, theta=0.4)]
    precise = model(noise=Noise(energy=1e-4, forces=1e-3, stress=1e-3), terms=terms, baselines=[])
    precise.fit(frames(6))
    for atoms in frames(6):
        p = precise.predict(atoms)
        assert p.energy == pytest.approx(atoms.get_potential_energy(), abs=5e-4)
        assert p.forces == pytest.approx(atoms.calc.results.get("forces", np.zeros((1, 3))), abs=1e-2)
    stress = precise.predict(crystal(20)).stress  # the labels are a pair potential: it holds beyond the data
    assert stress == pytest.approx(crystal(20).get_stress(), abs=5e-3 * np.abs(crystal(20).get_stress()).max())


def test_training_errors_are_the_residuals() -> None:
    made, structures = fitted(), frames()
    found = {(e["group"], e["kind"]): e["rms"] for e in made.training_["errors"]}
    for group in ("crystal", "cluster"):
        mine = [a for a in structures if a.info["config_type"] == group]
        ps = [made.predict(a) for a in mine]
        energy = [(p.energy - a.get_potential_energy()) / np.sqrt(len(a)) for p, a in zip(ps, mine, strict=True)]
        forces = np.concatenate([(p.forces - a.get_forces()).ravel() for p, a in zip(ps, mine, strict=True)])
        assert found[group, "energy"] == pytest.approx(np.sqrt(np.mean(np.square(energy))), rel=1e-8)
        assert found[group, "forces"] == pytest.approx(np.sqrt(np.mean(forces**2)), rel=1e-8)
    mine = [a for a in structures if a.info["config_type"] == "crystal"]
    virial = [(made.predict(a).stress - a.get_stress()) * a.get_volume() / np.sqrt(len(a)) for a in mine]
    assert found["crystal", "stress"] == pytest.approx(np.sqrt(np.mean(np.square(virial))), rel=1e-8)


@pytest.mark.parametrize("kinds", [("energy",), ("forces",), ("stress",), ("energy", "stress"), ("forces", "stress")])
def test_any_kind_of_label_is_enough(kinds: tuple[str, ...]) -> None:
    made = model(e0=E0).fit([crystal(k, kinds=kinds) for k in range(8)])
    p, test = made.predict(crystal(2)), crystal(2)
    if "forces" in kinds:
        assert p.forces == pytest.approx(test.get_forces(), abs=0.25)
    if "stress" in kinds:
        assert p.stress == pytest.approx(test.get_stress(), abs=0.02)
    if "energy" in kinds:
        assert p.energy == pytest.approx(test.get_potential_energy(), abs=0.05)


def test_frames_may_differ_in_their_labels() -> None:
    mixed = [atom(), crystal(0, kinds=("energy",)), crystal(1, kinds=("forces",)), cluster(2), crystal(3)]
    made = model().fit(mixed)
    rows = {e["kind"]: e["rows"] for e in made.training_["errors"]}
    assert rows == {"energy": 3, "forces": 24, "stress": 6}


@pytest.mark.parametrize("n_jobs", [2, -1])
def test_threads_change_nothing(n_jobs: int) -> None:
    one, more = model().fit(frames()), model(n_jobs=n_jobs).fit(frames())
    assert np.array_equal(numbers(one), numbers(more))
    assert one.log_evidence_ == more.log_evidence_
    structures = [crystal(k) for k in range(5)]
    pairs = zip(one.predict(structures), more.predict(structures), strict=True)
    assert all(np.array_equal(a.forces, b.forces) for a, b in pairs)


def test_frames_may_come_from_a_generator() -> None:
    assert np.array_equal(numbers(model().fit(f for f in frames())), numbers(fitted()))


def test_frames_may_be_checked_frames() -> None:
    assert np.array_equal(numbers(model().fit(to_frames(frames()))), numbers(fitted()))


def test_order_of_the_frames_changes_rounding_only() -> None:
    """With sparse points that do not depend on the order."""
    terms = [PairTerm(3.5, n_sparse=6)]
    one, two = GAP(terms).fit(frames()), GAP(terms).fit(frames()[::-1])
    assert numbers(one) == pytest.approx(numbers(two), abs=1e-9)


@pytest.mark.parametrize("noise", [Noise(None, None, None), Noise(energy=None, forces=None)], ids=["all", "but stress"])
def test_noise_that_leaves_nothing_to_fit(noise: Noise) -> None:
    structures = [atom(), cluster(0), cluster(1)]
    with pytest.raises(ConfigError, match=r"No(ise leaves no| ) ?label.*σ"):
        model(noise=noise).fit(structures)
    made = model().fit(structures)
    with pytest.raises(ConfigError, match="no label"):
        made.refit(noise)


def test_noise_of_a_group_that_no_frame_has_warns() -> None:
    with pytest.warns(GapkitWarning, match="'crystl', which no frame has; did you mean 'crystal'"):
        model(noise=Noise(groups={"crystl": {"energy": 0.1}})).fit(frames())


def test_isolated_atoms_alone_are_no_training_set() -> None:
    with pytest.raises(DataError, match=r"isolated atoms.*two or more atoms"):
        GAP([SoapTerm(soap_arguments(), n_sparse=1)]).fit([atom(), atom()])


def test_e0_is_given_found_or_guessed() -> None:
    assert model(e0={"Si": -7.0}).fit(frames()).e0_ == {14: -7.0}
    assert model().fit(frames()).e0_ == {14: -2.5}
    with pytest.warns(GapkitWarning, match="e0 of Si comes from least squares"):
        guessed = model().fit(frames()[1:])
    energies, atoms = np.array([(a.get_potential_energy(), len(a)) for a in frames()[1:]]).T
    assert guessed.e0_[14] == pytest.approx(energies.sum() / atoms.sum(), rel=1e-12)  # least Σ (E - N e0)²/N
    assert guessed.predict(Atoms("Si")).energy == pytest.approx(guessed.e0_[14], abs=3e-5)  # held with σ = 1e-5


def test_keys_name_the_labels() -> None:
    structures = [atom()]
    for k in range(8):
        atoms = crystal(k, config_type="crystal")
        atoms.info["my_energy"], atoms.arrays["my_forces"] = atoms.get_potential_energy(), atoms.get_forces()
        atoms.info["my_virial"] = -atoms.get_stress(voigt=False) * atoms.get_volume()
        structures.append(atoms)
    bare = [a.copy() for a in structures]
    bare[0].info["my_energy"] = -2.5
    keys = Keys(energy="my_energy", forces="my_forces", virial="my_virial")
    one = model(keys=keys).fit(bare)
    assert numbers(one) == pytest.approx(numbers(model().fit(structures)), abs=1e-9)
    assert one.score(bare[1:]) > 0.5
    with pytest.raises(DataError, match=r"my_force'.*did you mean 'my_forces'"):
        model(keys=Keys(forces="my_force")).fit(bare)


def test_a_cell_of_one_atom_with_a_stress() -> None:
    structures = [atom()]
    for k in range(4):
        atoms = Atoms("Si", cell=np.array([[0, 1.6, 1.6], [1.6, 0, 1.6], [1.6, 1.6, 0]]) * (1 + 0.04 * k), pbc=True)
        structures.append(label(atoms))
    p = model(terms=[PairTerm(3.5, n_sparse=6)]).fit(structures).predict(structures[2])
    assert p.stress == pytest.approx(structures[2].get_stress(), abs=0.01)


def state_of(atoms: Atoms) -> dict[str, Any]:
    results = {} if atoms.calc is None else atoms.calc.results
    parts = {"cell": atoms.cell.array, "pbc": atoms.pbc, "info": atoms.info, **atoms.arrays, **results}
    return copy.deepcopy(parts)


def same(one: dict[str, Any], two: dict[str, Any]) -> bool:
    return one.keys() == two.keys() and all(
        np.array_equal(one[k], two[k]) if isinstance(one[k], np.ndarray) else one[k] == two[k] for k in one
    )


def test_arguments_are_never_changed() -> None:
    """Frames with their labels and cells, the SOAP, dictionaries, the noise, the terms."""
    weighting = {"function": "poly", "r0": 3.6, "c": 1.0, "m": 1.0}
    compression = {"mode": "off", "species_weighting": {"Si": 1.0}}
    arguments = soap_arguments(weighting=weighting, compression=compression, species=["Si"])
    soap = SOAP(**soap_arguments(species=["Si"]), periodic=True)
    state = copy.deepcopy(soap.__dict__)
    groups, e0, n_sparse, quotas = {"crystal": {"energy": 0.01}}, {"Si": -2.5}, {"Si": 6}, {"crystal": 2}
    terms = [
        PairTerm(3.5, n_sparse=4),
        SoapTerm(soap, zeta=2, n_sparse=n_sparse, quotas=quotas),
        SoapTerm(arguments, zeta=2, n_sparse=4),
    ]
    noise, structures = Noise(groups=groups), frames()
    structures[2].info["energy_sigma"] = 0.3
    structures[2].arrays["force_mask"] = np.array([True, False, False, False])
    given = [arguments, weighting, compression, groups, e0, n_sparse, quotas, noise.get_params(), len(terms)]
    kept, labels = copy.deepcopy(given), [state_of(a) for a in structures]
    made = GAP(terms, noise, e0=e0).fit(structures)
    made.predict(structures)
    made.score(structures[1:])
    made.refit()
    assert [arguments, weighting, compression, groups, e0, n_sparse, quotas, noise.get_params(), len(terms)] == kept
    assert all(same(state_of(a), before) for a, before in zip(structures, labels, strict=True))
    assert soap.__dict__.keys() == state.keys()
    for name, value in state.items():
        assert (
            np.array_equal(soap.__dict__[name], value)
            if isinstance(value, np.ndarray)
            else (soap.__dict__[name] == value or not isinstance(value, int | float | str | dict | bool))
        )


def test_read_only_structures_are_fine(silicon: Any) -> None:
    small = sorted(silicon.train, key=len)[:4]
    made = model(e0={"Si": -0.7}).fit(small)
    assert len(made.predict(list(small))) == 4


def test_own_sigma_and_mask_of_a_frame_matter() -> None:
    def fit(**changes: Any) -> np.ndarray:
        structures = frames()
        for key, value in changes.items():
            target = structures[1].arrays if isinstance(value, np.ndarray) else structures[1].info
            target[key] = value
        return numbers(model().fit(structures))

    plain = numbers(fitted())
    root_n = np.sqrt(2)
    assert fit(energy_sigma=0.002 * root_n, force_sigma=0.05, virial_sigma=0.02 * root_n) == pytest.approx(
        plain, abs=1e-9
    )
    for changes in ({"energy_sigma": 1.0}, {"force_sigma": 9.0}, {"virial_sigma": 9.0}):
        assert np.max(np.abs(fit(**changes) - plain)) > 1e-5
    masked = fit(force_mask=np.array([True, False]))
    assert np.max(np.abs(masked - plain)) > 1e-5
    noisy = fit(force_atom_sigma=np.array([1e4, 0.05]))  # an immense σ leaves the atom out
    assert noisy == pytest.approx(masked, abs=1e-5)


def test_memory_and_size_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="gapkit")
    model().fit(frames())
    assert "7 frames, 19 atoms, 14 sparse points" in caplog.text
    assert "GB of memory" in caplog.text
    assert caplog.text.index("GB of memory") < caplog.text.index("log evidence")


def test_the_score_is_of_the_forces_that_a_fit_would_use() -> None:
    data = frames()
    fit = model().fit(data)
    before = fit.score(data)
    for atoms in data[1:]:
        atoms.arrays["force_mask"] = np.arange(len(atoms)) == 0
        atoms.calc.results["forces"] = atoms.get_forces().copy()
        atoms.calc.results["forces"][0] += 50.0
    assert fit.score(data) > 0.9 < before
    for atoms in data[1:]:
        del atoms.arrays["force_mask"]
    assert fit.score(data) < 0.1
    for atoms in data[1:]:
        atoms.arrays["force_mask"] = np.ones(len(atoms), dtype=bool)  # none is left: energies are scored
    assert fit.score(data) == fit.score([label(atoms, ("energy",)) for atoms in data])


def test_forces_that_are_missing_can_be_masked() -> None:
    """A NaN under the mask is no label; elsewhere it is an error."""
    data, other = frames(), frames()
    for atoms, twin in zip(data[1:], other[1:], strict=True):
        for one in (atoms, twin):
            one.arrays["force_mask"] = np.arange(len(one)) == 1
            one.calc.results["forces"] = one.get_forces().copy()
        atoms.calc.results["forces"][1] = np.nan
        twin.calc.results["forces"][1] = 7.0
    one, two = model().fit(data), model().fit(other)
    assert np.array_equal(one.state_.posterior.weights_m, two.state_.posterior.weights_m)
    assert evaluate(one, data).forces.rmse == evaluate(two, other).forces.rmse  # type: ignore[union-attr]
    data[2].calc.results["forces"][0] = np.nan
    with pytest.raises(DataError, match=r"forces array has NaN .*frame 2, atom 0"):
        model().fit(data)


def test_a_config_type_without_a_name_is_the_default() -> None:
    """The empty name is that of the rows of isolated atoms, whose σ is their own."""
    data = frames()
    for atoms in data[1:]:
        atoms.info |= {"config_type": "", "energy_sigma": 0.01}
    fit = model().fit(data)
    kinds = {(entry["group"], entry["kind"]): entry["rows"] for entry in fit.training_["errors"]}
    assert kinds["default", "energy"] == len(data) - 1


def test_a_search_remembers_few_terms() -> None:
    """Sparse points of a setting that was tried long ago are forgotten."""
    prepared = model().prepare(frames())
    for k in range(8):
        model(terms=[SoapTerm(soap_arguments(r_cut=3.0 + 0.1 * k), n_sparse=5)]).fit(prepared)
    assert len(prepared._chosen) <= 4
    last = list(prepared._chosen)
    model(terms=[SoapTerm(soap_arguments(r_cut=3.7), n_sparse=5)]).fit(prepared)
    assert sorted(prepared._chosen) == sorted(last)
