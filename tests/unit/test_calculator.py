"""The ASE adapter: results, changes of the structure, standard deviations, copies."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from ase.io.trajectory import Trajectory

from gapkit import GAP, ConfigError, DataError, GAPCalculator, Noise, NotFittedError, SoapTerm, SpeciesError
from tests.samples import cluster, crystal, fitted, fitted_two, frames, model, soap_arguments


def bulk() -> Atoms:
    """16 atoms without labels."""
    atoms = crystal(5).copy() * 2
    atoms.rattle(0.05, seed=0)
    return atoms


def computed(atoms: Atoms, **options: Any) -> Atoms:
    atoms.calc = GAPCalculator(fitted(), **options)
    return atoms


@pytest.mark.parametrize("atoms", [bulk(), cluster(3).copy(), Atoms("Si")], ids=["bulk", "cluster", "atom"])
def test_results_are_those_of_predict(atoms: Atoms) -> None:
    p = fitted().predict(atoms, {"energies", "forces"} | ({"stress"} if atoms.pbc.any() else set()))
    computed(atoms)
    assert atoms.get_potential_energy() == p.energy
    assert atoms.get_potential_energy(force_consistent=True) == p.energy
    assert np.array_equal(atoms.get_potential_energies(), p.energies)
    assert atoms.get_potential_energies().sum() == pytest.approx(p.energy, abs=1e-10)
    assert atoms.get_forces() == pytest.approx(p.forces, abs=1e-12)  # the list with a skin has another order
    if atoms.pbc.any():
        assert atoms.get_stress() == pytest.approx(p.stress, abs=1e-14)


def test_results_have_the_keys_of_ase_and_no_others() -> None:
    """Others break get_properties and SinglePointCalculator."""
    atoms = computed(bulk(), to_atoms=True)
    atoms.get_forces()
    keys = {"energy", "free_energy", "energies", "forces", "stress"}
    assert set(atoms.calc.results) == keys == set(GAPCalculator.implemented_properties)
    assert set(atoms.get_properties(sorted(keys))) == {*keys, "natoms"}
    molecule = computed(cluster(3).copy())
    molecule.get_forces()
    assert set(molecule.calc.results) == keys - {"stress"}


def test_one_evaluation_serves_all_properties(monkeypatch: pytest.MonkeyPatch) -> None:
    atoms, count = computed(bulk()), 0
    evaluate = GAP.predict_frame

    def counted(self: GAP, *given: Any) -> Any:
        nonlocal count
        count += 1
        return evaluate(self, *given)

    monkeypatch.setattr(GAP, "predict_frame", counted)
    for _ in range(2):
        atoms.get_potential_energy()
        atoms.get_forces()
        atoms.get_stress()
    assert count == 1
    atoms.positions[0] += 0.1
    atoms.get_forces()
    assert count == 2


CHANGES: dict[str, Callable[[Atoms], Any]] = {
    "moved": lambda atoms: atoms.rattle(0.05, seed=1),
    "far": lambda atoms: atoms.rattle(0.5, seed=1),
    "strained": lambda atoms: atoms.set_cell(atoms.cell.array * 1.05, scale_atoms=True),
    "cell alone": lambda atoms: atoms.set_cell(atoms.cell.array * 1.2),
    "one atom less": lambda atoms: atoms.pop(3),
    "one atom more": lambda atoms: atoms.append("Si"),
    "other element": lambda atoms: atoms.numbers.__setitem__(0, 6),
    "slab": lambda atoms: atoms.set_pbc([True, True, False]),
    "molecule": lambda atoms: atoms.set_pbc(False),
    "shifted by a cell": lambda atoms: atoms.translate(atoms.cell[0] * 3),
}


@pytest.mark.parametrize("skin", [0.0, 1.0])
@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_structure_is_computed_anew(name: str, skin: float) -> None:
    atoms = bulk()
    atoms.calc = GAPCalculator(fitted_two(), skin=skin)
    atoms.get_forces()
    CHANGES[name](atoms)
    p = fitted_two().predict(atoms)
    assert atoms.get_potential_energy() == pytest.approx(p.energy, abs=1e-10)
    assert atoms.get_forces() == pytest.approx(p.forces, abs=1e-10)
    assert ("stress" in atoms.calc.results) == bool(atoms.pbc.any())
    if p.stress is not None:
        assert atoms.get_stress() == pytest.approx(p.stress, abs=1e-12)


def test_one_calculator_for_several_structures() -> None:
    shared = GAPCalculator(fitted())
    for atoms in (bulk(), cluster(3).copy(), crystal(7).copy(), bulk()):
        atoms.calc = shared
        assert atoms.get_potential_energy() == pytest.approx(fitted().predict(atoms).energy, abs=1e-10)


def test_stress_of_a_molecule_is_not_implemented() -> None:
    atoms = computed(cluster(3).copy())
    atoms.get_potential_energy()
    with pytest.raises(PropertyNotImplementedError, match="stress"):
        atoms.get_stress()
    atoms.cell = [9, 9, 9]
    with pytest.raises(PropertyNotImplementedError, match="stress"):
        atoms.get_stress()


def test_standard_deviations_on_request() -> None:
    p = fitted().predict(bulk(), {"energy_std", "energies_std"})
    plain = computed(bulk())
    plain.get_forces()
    assert plain.calc.prediction.energy_std is None
    told = computed(bulk(), std=True)
    told.get_forces()
    assert told.calc.prediction.energy_std == pytest.approx(p.energy_std, rel=1e-9)
    assert told.calc.prediction.energies_std == pytest.approx(p.energies_std, rel=1e-9)
    assert "energy_std" not in told.info
    written = computed(bulk(), to_atoms=True)
    written.get_forces()
    assert written.info["energy_std"] == pytest.approx(p.energy_std, rel=1e-9)
    assert written.arrays["energies_std"] == pytest.approx(p.energies_std, rel=1e-9)
    del written[2]
    written.get_forces()
    assert written.info["energy_std"] != pytest.approx(p.energy_std, rel=1e-6)
    assert len(written.arrays["energies_std"]) == 15


def test_nothing_is_written_to_the_structure_unasked() -> None:
    atoms = bulk()
    before = (dict(atoms.info), set(atoms.arrays))
    computed(atoms, std=True).get_stress()
    assert (dict(atoms.info), set(atoms.arrays)) == before


def test_extended_xyz_keeps_results_and_standard_deviations() -> None:
    atoms = computed(bulk(), to_atoms=True)
    atoms.get_stress()
    stream = io.StringIO()
    ase.io.write(stream, atoms, format="extxyz")
    stream.seek(0)
    twin = ase.io.read(stream, format="extxyz")
    assert twin.get_potential_energy() == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
    assert twin.get_forces() == pytest.approx(atoms.get_forces(), abs=1e-7)
    assert twin.get_stress() == pytest.approx(atoms.get_stress(), abs=1e-12)
    assert twin.info["energy_std"] == pytest.approx(atoms.info["energy_std"], rel=1e-9)
    assert twin.arrays["energies_std"] == pytest.approx(atoms.arrays["energies_std"], abs=1e-7)


ALL = {"energy_std", "energies_std", "forces_std", "stress_std", "forces_covariance", "extrapolation"}
WRITTEN = ALL - {"forces_covariance"}


@pytest.mark.parametrize("name", sorted(ALL))
def test_any_of_them_by_name(name: str) -> None:
    atoms = computed(bulk(), std={name})
    atoms.get_forces()
    expected = fitted().predict(bulk(), {name})
    assert getattr(atoms.calc.prediction, name) == pytest.approx(getattr(expected, name), rel=1e-8, abs=1e-12)
    assert getattr(computed_none(), name) is None


def computed_none() -> Any:
    atoms = computed(bulk(), std=set())
    atoms.get_forces()
    return atoms.calc.prediction


def test_a_molecule_has_no_stress_std() -> None:
    atoms = computed(cluster(3).copy(), std=["forces_std", "stress_std"], to_atoms=True)
    atoms.info["stress_std"] = "of another structure"
    atoms.get_forces()
    assert atoms.calc.prediction.stress_std is None
    assert "stress_std" not in atoms.info
    assert np.array_equal(atoms.arrays["forces_std"], atoms.calc.prediction.forces_std)


@pytest.mark.parametrize("std", ["force_std", ["energy_std", "stress"], 3, ["by_term"]])
def test_what_it_cannot_give(std: Any) -> None:
    with pytest.raises(ConfigError, match=r"cannot give|names nothing") as caught:
        GAPCalculator(fitted(), std=std)
    assert "forces_std" in caught.value.fix


def test_files_keep_what_was_written_to_the_structure(tmp_path: Path) -> None:
    atoms = computed(bulk(), std=ALL, to_info=True)
    atoms.get_stress()
    p = atoms.calc.prediction
    assert {"energies_std", "forces_std", "extrapolation"} <= set(atoms.arrays)
    with Trajectory(tmp_path / "a.traj", "w") as trajectory:
        trajectory.write(atoms)
    twin = ase.io.read(tmp_path / "a.traj")
    for name in WRITTEN:
        assert np.array_equal(twin.info[name], getattr(p, name)), name
    assert "forces_covariance" not in atoms.info
    plain = computed(bulk(), std=ALL, to_atoms=True)
    plain.get_stress()
    assert WRITTEN & set(plain.info) == {"energy_std", "stress_std"}
    ase.io.write(tmp_path / "a.xyz", plain)
    twin = ase.io.read(tmp_path / "a.xyz")
    for name in WRITTEN:
        found = twin.info[name] if name in ("energy_std", "stress_std") else twin.arrays[name]
        assert found == pytest.approx(getattr(p, name), abs=1e-7), name


def test_a_sample_comes_from_the_same_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    atoms, seen = computed(bulk()), []
    weights_m = fitted().state_.posterior.sample(1, np.random.default_rng(0))[0]

    def sampler(structure: Atoms) -> Any:
        seen.append(structure)
        return weights_m if len(seen) != 2 else None

    atoms.calc.sampler = sampler
    atoms.get_forces()
    p = atoms.calc.prediction
    member = copy.copy(fitted())
    member.state_ = replace(member.state_, posterior=replace(member.state_.posterior, weights_m=weights_m))
    assert p.forces_sample == pytest.approx(member.predict(bulk()).forces, abs=1e-9)
    assert p.extrapolation == pytest.approx(fitted().predict(bulk(), {"extrapolation"}).extrapolation, abs=1e-9)
    assert p.forces == pytest.approx(fitted().predict(bulk()).forces, abs=1e-10)
    assert np.abs(p.forces_sample - p.forces).max() > 1e-4
    atoms.get_stress()
    assert len(seen) == 1  # nothing was computed anew
    assert seen[0] is atoms
    atoms.rattle(0.01, seed=2)
    atoms.get_forces()
    assert len(seen) == 2
    assert atoms.calc.prediction.forces_sample is None
    assert copy.deepcopy(atoms.calc).sampler is None
    assert pickle.loads(pickle.dumps(atoms.calc)).sampler is None
    assert atoms.calc.sampler is sampler


def test_copies_work_on_their_own() -> None:
    atoms = computed(bulk(), std=True)
    energy = atoms.get_potential_energy()
    for twin in (copy.deepcopy(atoms.calc), pickle.loads(pickle.dumps(atoms.calc))):
        assert twin.std
        other = crystal(7).copy()
        other.calc = twin
        assert other.get_potential_energy() == pytest.approx(fitted().predict(other).energy, abs=1e-10)
        assert atoms.get_potential_energy() == energy
    twin = copy.deepcopy(atoms)
    assert twin.calc is None or twin.get_potential_energy() == energy


@pytest.mark.parametrize("skin", [-0.1, float("nan"), float("inf"), "1", None])
def test_skin_outside_its_range(skin: Any) -> None:
    with pytest.raises(ConfigError, match="skin="):
        GAPCalculator(fitted(), skin=skin)


def test_what_is_no_model() -> None:
    for wrong in ("model.gap", None, object()):
        with pytest.raises(ConfigError, match="needs a fitted GAP"):
            GAPCalculator(wrong)  # type: ignore[arg-type]
    with pytest.raises(NotFittedError):
        GAPCalculator(model())


def test_errors_of_the_structure_come_through_and_leave_no_result() -> None:
    atoms = computed(bulk())
    atoms.get_forces()
    atoms.positions[4] = np.nan
    with pytest.raises(DataError, match="atom 4"):
        atoms.get_potential_energy()
    assert not atoms.calc.results
    assert atoms.calc.prediction is None
    atoms = computed(bulk())
    atoms.numbers[2] = 32
    with pytest.raises(SpeciesError, match="Ge at atoms 2"):
        atoms.get_forces()


@pytest.mark.parametrize("change", ["fit", "refit"])
def test_it_follows_a_model_that_learns(change: str) -> None:
    """Another cutoff, other weights: what was computed or listed before is of another model."""
    one = model(terms=[SoapTerm(soap_arguments(r_cut=3.0), zeta=2, n_sparse=8)])
    one.fit(frames(4))
    calc = GAPCalculator(one)
    old, new = bulk(), cluster(3).copy()
    old.calc = calc
    before = old.get_potential_energy()
    if change == "fit":
        one.terms = [SoapTerm(soap_arguments(r_cut=4.5), zeta=2, n_sparse=8)]
        one.fit(frames(4))
    else:
        one.refit(Noise(1.0, 10.0, 10.0))
    assert old.get_potential_energy() == pytest.approx(one.predict(old).energy, abs=1e-10)
    assert abs(old.get_potential_energy() - before) > 1e-3
    new.calc = calc
    assert new.get_potential_energy() == pytest.approx(one.predict(new).energy, abs=1e-10)
    assert new.get_forces() == pytest.approx(one.predict(new).forces, abs=1e-10)


def test_threads_may_share_one() -> None:
    """They wait for one another; every energy is that of its own structure."""
    shared, structures = GAPCalculator(fitted()), [crystal(k).copy() * (1 + k % 3, 1, 1) for k in range(24)]
    for atoms in structures:
        atoms.calc = shared
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda atoms: (atoms.get_potential_energy(), atoms.get_forces()), structures))
    for (energy, forces), atoms in zip(found, structures, strict=True):
        expected = fitted().predict(atoms)
        assert energy == pytest.approx(expected.energy, abs=1e-9)
        assert forces == pytest.approx(expected.forces, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "fix"), [("stds", "did you mean 'std'"), ("to_atom", "'to_atoms'"), ("n_jobs", "set model.n_jobs before")]
)
def test_arguments_that_it_does_not_have(name: str, fix: str) -> None:
    with pytest.raises(ConfigError, match=f"no argument '{name}'") as error:
        GAPCalculator(fitted(), **{name: True})
    assert fix in error.value.fix
    assert GAPCalculator(fitted(), label="si").label == "si"
