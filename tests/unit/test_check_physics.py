"""Rules that judge labels by physics: every fault is put into a sound set, and only its rule may call it an error."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.units import Bohr, GPa, Hartree, kcal, mol

from gapkit import read_frames
from gapkit.datasets import Finding, Report, check_frames
from gapkit.datasets.factors import mixed_factors
from gapkit.datasets.units import FORCES
from tests.conftest import DATA, Silicon

Change = Callable[[dict[str, np.ndarray], Atoms], None]


def labelled(atoms: Atoms, group: str = "bulk") -> Atoms:
    """`atoms` with energy, forces and stress of effective-medium theory, as a file would bring them."""
    atoms.calc = EMT()
    results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
    if atoms.pbc.all():
        results["stress"] = atoms.get_stress()
    atoms.calc = SinglePointCalculator(atoms, **results)
    atoms.info["config_type"] = group
    return atoms


def copper(n: int = 24, *, strain: float = 0.0, rattle: float = 0.0, repeat: int = 1, seed: int = 0) -> list[Atoms]:
    """Strained and rattled cubic cells of 4 atoms, or supercells of them."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(n):
        atoms = bulk("Cu", cubic=True).repeat((repeat, 1, 1))
        change = rng.uniform(-strain, strain, (3, 3))
        atoms.set_cell(atoms.cell @ (np.eye(3) + 0.5 * (change + change.T)), scale_atoms=True)
        atoms.positions += rng.normal(0.0, rattle, atoms.positions.shape)
        made.append(labelled(atoms))
    return made


STRAINED = copper(strain=0.02)
RATTLED = copper(rattle=0.05, repeat=2)


def changed(structures: Sequence[Atoms], change: Change, which: Sequence[int] | None = None) -> list[Atoms]:
    """Copies in which the labels of some structures are changed."""
    made = []
    for index, atoms in enumerate(structures):
        copy = atoms.copy()
        results = {name: np.array(value) for name, value in atoms.calc.results.items()}
        if which is None or index in which:
            change(results, copy)
        results["energy"] = float(results["energy"])  # type: ignore[assignment]
        copy.calc = SinglePointCalculator(copy, **results)
        made.append(copy)
    return made


def times(label: str, factor: float) -> Change:
    def change(results: dict[str, np.ndarray], _: Atoms) -> None:
        results[label] = factor * results[label]

    return change


def only(report: Report, rule: str, severity: str = "error") -> Finding:
    """The one finding of a rule; no other rule finds an error."""
    assert {f.rule for f in report.errors} == ({rule} if severity == "error" else set()), str(report)
    (found,) = report.by_rule(rule)
    assert found.severity == severity
    return found


def test_sound_sets_are_silent(silicon: Silicon) -> None:
    for structures in (STRAINED, RATTLED, [a for a in silicon.train if a.info["config_type"] == "Surface"]):
        report = check_frames(structures)
        assert (report.errors, report.warnings) == ((), ()), str(report)


@pytest.mark.parametrize(
    ("factor", "rule", "words", "fix"),
    [
        (-1.0, "stress-sign", "wrong sign", "multiply it by -1"),
        (1.0 / GPa, "stress-unit", "GPa", f"multiply it by {GPa:.6g}"),
        (-10.0 / GPa, "stress-unit", "kbar and the sign of a pressure", f"multiply it by {-0.1 * GPa:.6g}"),
    ],
)
def test_stress_by_its_energies(factor: float, rule: str, words: str, fix: str) -> None:
    found = only(check_frames(changed(STRAINED, times("stress", factor))), rule)
    assert found.frames == tuple(range(24))
    assert words in found.what
    assert found.fix.startswith(fix)


@pytest.mark.parametrize(("sign", "fix"), [(-1.0, "store it as 'virial'"), (1.0, "divide it by the volume")])
def test_virial_given_as_stress(sign: float, fix: str) -> None:
    def virial(results: dict[str, np.ndarray], atoms: Atoms) -> None:
        results["stress"] = sign * atoms.get_volume() * results["stress"]

    found = only(check_frames(changed(STRAINED, virial)), "stress-is-virial")
    assert found.frames == tuple(range(24))
    assert found.fix.startswith(fix)


def shear_as_vasp(results: dict[str, np.ndarray], _: Atoms) -> None:
    results["stress"] = results["stress"][[0, 1, 2, 5, 3, 4]]


def test_order_of_shear_components() -> None:
    found = only(check_frames(changed(STRAINED, shear_as_vasp)), "stress-order")
    assert "the label reads xx yy zz xy yz xz" in found.what
    assert found.frames == tuple(range(24))
    assert "VASP" in found.fix


def test_order_of_shear_components_of_the_source_of_silicon(silicon: Silicon) -> None:
    """The source of data/silicon has its strained cells in the order of VASP: xx yy zz xy yz xz."""
    elastic = [atoms for atoms in silicon.train if atoms.info["config_type"] == "Elastic"]
    found = only(check_frames(changed(elastic, shear_as_vasp)), "stress-order")
    assert "reads xx yy zz xy yz xz" in found.what


def test_stress_off_by_a_pressure() -> None:
    def shift(results: dict[str, np.ndarray], _: Atoms) -> None:
        results["stress"][:3] -= 2.0 * GPa

    found = only(check_frames(changed(STRAINED, shift)), "stress-offset", "warning")
    assert re.search(r"by -2[01] ± \d kbar", found.what)
    assert "kbar" in found.what


def test_stress_by_volumes_of_cells_that_cannot_be_mapped() -> None:
    """Every cell is turned and its atoms are shuffled: only the volumes are left to compare."""
    rng = np.random.default_rng(1)
    structures = []
    for scale in np.linspace(0.97, 1.03, 9):
        atoms = bulk("Cu", cubic=True)
        atoms.set_cell(atoms.cell * scale, scale_atoms=True)
        atoms.rotate(float(rng.uniform(20, 80)), rng.normal(size=3), rotate_cell=True)
        structures.append(labelled(atoms))
    assert not check_frames(structures).errors
    assert only(check_frames(changed(structures, times("stress", -1.0))), "stress-sign").frames == tuple(range(9))


def test_stress_by_its_size_alone() -> None:
    one = [atoms for atoms in STRAINED if abs(atoms.get_stress()).max() > 0.03][:1]
    assert not check_frames(one).errors
    found = only(check_frames(changed(one, times("stress", 1.0 / GPa))), "stress-unit")
    assert "if they are in GPa" in found.fix


@pytest.mark.parametrize(
    ("factor", "rule", "words"),
    [
        (-1.0, "force-sign", "they are gradients"),
        (Bohr / Hartree, "force-unit", "Hartree/Bohr"),
        (mol / kcal, "force-unit", "kcal/mol/Å"),
        (3.0, "force-unit", "another unit"),
    ],
)
def test_forces_by_their_energies(factor: float, rule: str, words: str) -> None:
    found = only(check_frames(changed(RATTLED, times("forces", factor))), rule)
    assert found.frames == tuple(range(24))
    assert words in found.what
    assert found.fix.startswith("check both" if factor == 3.0 else f"multiply them by {1.0 / factor:.6g}")


def test_forces_of_other_atoms() -> None:
    def roll(results: dict[str, np.ndarray], _: Atoms) -> None:
        results["forces"] = np.roll(results["forces"], 1, axis=0)

    found = only(check_frames(changed(RATTLED, roll)), "forces-against-energy")
    assert "nothing to do" in found.what
    some = check_frames(changed(RATTLED, roll, [5, 11]))
    assert only(some, "forces-against-energy", "warning").frames == (5, 11)


def test_forces_of_a_real_frame_with_the_wrong_sign() -> None:
    vacancy = [
        atoms for atoms in read_frames(DATA / "molybdenum" / "train.xyz") if atoms.info["config_type"] == "Vacancy"
    ]
    found = only(check_frames(changed(vacancy, times("forces", -1.0), [5])), "forces-against-energy", "warning")
    assert found.frames == (5,)


def test_net_force() -> None:
    def drift(results: dict[str, np.ndarray], _: Atoms) -> None:
        results["forces"][:, 2] += 0.3

    found = only(check_frames(changed(RATTLED, drift, [4])), "net-force", "warning")
    assert found.frames == (4,)
    assert "0.3 eV/Å per atom" in found.what


def test_force_outlier() -> None:
    def pull(results: dict[str, np.ndarray], _: Atoms) -> None:
        results["forces"][0, 0] += 60.0
        results["forces"][1, 0] -= 60.0

    found = only(check_frames(changed(RATTLED, pull, [9])), "force-outlier", "warning")
    assert found.frames == (9,)


def per_atom(results: dict[str, np.ndarray], atoms: Atoms) -> None:
    results["energy"] = results["energy"] / len(atoms)


def shifted(structures: Sequence[Atoms]) -> list[Atoms]:
    """Total energies far from zero, as those of all-electron or pseudopotential codes are."""

    def down(results: dict[str, np.ndarray], atoms: Atoms) -> None:
        results["energy"] = results["energy"] - 50.0 * len(atoms)

    return changed(structures, down)


MIXED = shifted([*copper(12, rattle=0.05, seed=3), *copper(12, rattle=0.05, repeat=2, seed=4)])


def test_energies_per_atom() -> None:
    assert not check_frames(MIXED).errors
    assert only(check_frames(changed(MIXED, per_atom)), "energy-per-atom").frames == tuple(range(24))
    found = only(check_frames(changed(MIXED, per_atom, [2, 20])), "energy-per-atom")
    assert found.frames == (2, 20)
    assert "multiply them by the number of atoms" in found.fix


@pytest.mark.parametrize("odd", [3.0, 6.0])
def test_energies_of_another_unit_are_found_beside_one_of_none(odd: float) -> None:
    """One that no reading explains says nothing of the spread of the others, and the others are not of another unit."""
    faulty = changed(changed(MIXED, times("energy", 1.0 / Hartree), [1, 15]), times("energy", odd), [7])
    (found,) = check_frames(faulty).by_rule("energy-unit")
    assert found.frames == (1, 15)


@pytest.mark.parametrize("scale", [1.0, 20.0])
def test_hot_cells_of_one_size_are_of_one_unit(scale: float) -> None:
    """Read partly in Hartree and partly per atom (N = 32), factors that differ by 18 %, they would agree better."""
    energies = iter(scale * np.array([0.21, 0.2585, 0.2825, 0.2234, 0.2253]))

    def heat(results: dict[str, np.ndarray], atoms: Atoms) -> None:
        results["energy"] = len(atoms) * next(energies)

    report = check_frames(changed(copper(5, rattle=0.1, repeat=8), heat))
    assert not {f.rule for f in report.findings} & {"energy-unit", "energy-per-atom"}


def test_energies_per_atom_of_cells_of_one_size_by_the_isolated_atom() -> None:
    alone = Atoms("Cu", info={"config_type": "isolated_atom"})
    alone.calc = SinglePointCalculator(alone, energy=-46.5)
    structures = [*MIXED[:12], alone]
    assert not check_frames(structures).errors
    found = only(check_frames([*changed(MIXED[:12], per_atom), alone]), "energy-per-atom")
    assert found.frames == tuple(range(12))


@pytest.mark.parametrize(("factor", "unit"), [(1.0 / Hartree, "Hartree"), (2.0 / Hartree, "Rydberg")])
def test_energies_of_another_unit(factor: float, unit: str) -> None:
    found = only(check_frames(changed(MIXED, times("energy", factor), [1, 15, 16])), "energy-unit")
    assert found.frames == (1, 15, 16)
    assert unit in found.what
    assert f"{1.0 / factor:.6g}" in found.fix


def atoms_alone(*energies: float, symbol: str = "Cu") -> list[Atoms]:
    made = []
    for energy in energies:
        atoms = Atoms(symbol, info={"config_type": "isolated_atom"})
        atoms.calc = SinglePointCalculator(atoms, energy=energy)
        made.append(atoms)
    return made


@pytest.mark.parametrize(
    ("alone", "words"),
    [
        (atoms_alone(-46.5, -46.2), "differ by 0.3 eV"),
        (atoms_alone(-90.0), "eV/atom against isolated ones"),
        (atoms_alone(0.0), "all zero"),
        ([*atoms_alone(-46.5), *atoms_alone(-46.5, symbol="Ni")], "have the same energy"),
    ],
)
def test_isolated_atoms(alone: list[Atoms], words: str) -> None:
    found = only(check_frames([*MIXED, *alone]), "isolated-atom")
    assert found.frames == tuple(range(24, 24 + len(alone)))
    assert words in found.what


def test_pressed_and_torn_crystals_are_no_outliers() -> None:
    """An energy beside all others is one where bonds are as long as usual."""
    volumes = [labelled(bulk("Cu", a=a, cubic=True), "volumes") for a in np.linspace(2.0, 4.4, 13)]
    assert max(a.get_potential_energy() / len(a) for a in volumes) > 5.0 + RATTLED[0].get_potential_energy()
    assert not check_frames([*RATTLED, *volumes]).by_rule("energy-outlier")
    faulty = [
        *changed(RATTLED, lambda results, atoms: results.update(energy=results["energy"] + 8.0 * len(atoms)), [4])
    ]
    assert only(check_frames([*faulty, *volumes]), "energy-outlier").frames == (4,)


def test_energies_of_pressed_crystals_are_of_no_other_unit() -> None:
    """A quarter of the usual energy per atom, in a cell of four, would be the usual one per atom."""

    def down(results: dict[str, np.ndarray], atoms: Atoms) -> None:
        results["energy"] = results["energy"] - 5.0 * len(atoms)

    below, found = changed(RATTLED, down), []
    quarter = 0.25 * below[0].get_potential_energy() / len(below[0])
    for a in (2.5, 3.6):
        crystal = bulk("Cu", a=a, cubic=True)
        crystal.calc = SinglePointCalculator(crystal, energy=quarter * len(crystal), forces=np.zeros((4, 3)))
        found.append(check_frames([*below, crystal]).by_rule("energy-per-atom"))
    assert not found[0]
    assert found[1][0].frames == (len(below),)


def test_two_methods() -> None:
    """0.1 eV/atom between two sets of frames that are alike in structure."""

    def other(results: dict[str, np.ndarray], atoms: Atoms) -> None:
        results["energy"] = results["energy"] + 0.1 * len(atoms)

    structures = copper(40, strain=0.02, rattle=0.03, seed=5)
    assert not check_frames(structures).errors
    which = (0, 3, 4, 9, 17, 20, 21, 22, 30, 39)
    found = only(check_frames(changed(structures, other, which)), "two-methods")
    assert found.frames == which
    assert re.search(r"lie \+(99|100|101) meV/atom", found.what)


def test_an_energy_that_does_not_fit() -> None:
    def raise_it(results: dict[str, np.ndarray], atoms: Atoms) -> None:
        results["energy"] = results["energy"] + 0.3 * len(atoms)

    structures = copper(40, strain=0.02, seed=6)
    found = only(check_frames(changed(structures, raise_it, [13])), "energy-outlier", "warning")
    assert found.frames == (13,)
    assert "train 13: +" in found.what

    def absurd(results: dict[str, np.ndarray], _: Atoms) -> None:
        results["energy"] = np.array(-3e4)

    assert only(check_frames(changed(structures, absurd, [2])), "energy-outlier").frames == (2,)


def test_molecules_are_turned_before_they_are_compared() -> None:
    rng = np.random.default_rng(2)
    structures = []
    for _ in range(24):
        atoms = molecule("CH4")
        atoms.positions += rng.normal(0.0, 0.04, atoms.positions.shape)
        atoms.rotate(float(rng.uniform(0, 180)), rng.normal(size=3))
        structures.append(labelled(atoms))
    assert not check_frames(structures).errors
    assert only(check_frames(changed(structures, times("forces", -1.0))), "force-sign").frames == tuple(range(24))


def test_a_config_type_of_another_method() -> None:
    """Hot and cold crystals hardly overlap, and still a step between them is no physics."""
    cold, hot = copper(30, rattle=0.02, repeat=2, seed=10), copper(30, rattle=0.05, repeat=2, seed=11)
    for atoms in hot:
        atoms.info["config_type"] = "hot"
    assert not check_frames([*cold, *hot]).errors

    def other(results: dict[str, np.ndarray], atoms: Atoms) -> None:
        results["energy"] = results["energy"] + 0.2 * len(atoms)

    found = only(check_frames([*cold, *changed(hot, other)]), "two-methods")
    assert found.frames == tuple(range(30, 60))
    assert re.search(r"All energies of hot lie about \+2[01]\d meV/atom off", found.what)


def test_copies_are_not_taken_for_noise_or_for_a_second_method(silicon: Silicon) -> None:
    """Surfaces of a sound set that are there twice are copies, and no other method."""
    report = check_frames([*silicon.train, *silicon.train[40:70]])
    assert [(f.rule, f.severity) for f in report.findings if f.severity != "note"] == [("copies", "warning")]


def test_of_two_methods_only_frames_are_named_whose_side_is_clear(silicon: Silicon) -> None:
    """Hot liquids scatter more than 30 meV/atom: to which method they belong cannot be told."""

    def other(results: dict[str, np.ndarray], atoms: Atoms) -> None:
        results["energy"] = results["energy"] + 0.03 * len(atoms)

    truth = set(range(1, len(silicon.train), 4))
    (found,) = check_frames(changed(silicon.train, other, sorted(truth))).by_rule("two-methods")
    assert set(found.frames) < truth
    assert len(found.frames) > 0.4 * len(truth)
    assert re.search(r"lie \+30 meV/atom off \d+ others \(\d+ more are copies or cannot be told apart\)", found.what)


def test_frames_that_lack_an_atom_are_no_second_method() -> None:
    structures = read_frames(DATA / "molybdenum" / "train.xyz")
    for k in (30, 31):
        results = dict(structures[k].calc.results)
        del structures[k][4]
        results["forces"] = np.delete(results["forces"], 4, axis=0)
        structures[k].calc = SinglePointCalculator(structures[k], **results)
    found = only(check_frames(structures), "net-force", "warning")
    assert found.frames == (30, 31)


def test_copies_that_differ_do_not_accuse_forces() -> None:
    def lift(results: dict[str, np.ndarray], atoms: Atoms) -> None:
        results["energy"] = results["energy"] + 0.02 * len(atoms)

    found = only(check_frames([*RATTLED[:12], *changed(RATTLED[:12], lift)]), "copies-differ")
    assert found.frames == tuple(range(24))


THIRD = tuple(range(0, 24, 3))


@pytest.mark.parametrize(
    ("factor", "rule", "words"),
    [(-1.0, "stress-sign", "it is a pressure, in these"), (1.0 / GPa, "stress-unit", "looks like GPa in these")],
)
def test_stress_of_some_frames(factor: float, rule: str, words: str) -> None:
    found = only(check_frames(changed(STRAINED, times("stress", factor), THIRD)), rule)
    assert found.frames == THIRD
    assert words in found.what
    assert found.fix.startswith(f"multiply it by {1.0 / factor:.6g}")


@pytest.mark.parametrize(
    ("factor", "rule", "words"),
    [
        (-1.0, "force-sign", "wrong sign in these"),
        (Bohr / Hartree, "force-unit", "Hartree/Bohr in these"),
        (Bohr, "force-unit", "eV/Bohr in these"),
    ],
)
def test_forces_of_some_frames(factor: float, rule: str, words: str) -> None:
    found = only(check_frames(changed(RATTLED, times("forces", factor), THIRD)), rule)
    assert found.frames == THIRD
    assert words in found.what
    assert found.fix.startswith(f"multiply them by {1.0 / factor:.6g}")


@pytest.mark.parametrize("small", [True, False])
def test_labels_as_large_as_those_of_their_partners_are_of_one_unit(small: bool) -> None:
    """As of relaxed defects of two charges: what is left of the forces, times 51, would explain the energies."""
    rng, factor = np.random.default_rng(5), Hartree / Bohr
    ends_2p = np.array([(i, j) for i in range(12) for j in range(i) if (i < 4) != (j < 4)]).T
    odd_2p = ends_2p < 4
    halves_2p = rng.uniform(0.01, 0.02, ends_2p.shape)  # eV
    halves_2p[odd_2p] *= 1.0 / factor if small else 1.0
    energy_p = np.where(odd_2p, factor * halves_2p, halves_2p).sum(axis=0)
    found = mixed_factors(ends_2p, energy_p, halves_2p, FORCES)
    assert (found is not None and found.which == [0, 1, 2, 3]) if small else found is None


def test_stress_and_energies_of_different_frames() -> None:
    def shift(results: dict[str, np.ndarray], _: Atoms) -> None:
        results["stress"][:3] -= 40.0 * GPa

    found = only(check_frames(changed(STRAINED, shift)), "stress-against-energy", "warning")
    assert found.frames == tuple(range(24))
    assert "one of the three is wrong" in found.fix


def test_units_of_energies_of_cells_with_as_many_atoms_as_the_unit_is_large() -> None:
    """1 Ry = 13.6 eV, so 12 atoms in Rydberg look like energies per atom: the other frames decide."""
    structures = [*MIXED, *shifted(copper(4, rattle=0.05, repeat=3, seed=12))]
    wrong = (0, 13, 14, 24, 26)
    assert only(check_frames(changed(structures, times("energy", 2.0 / Hartree), wrong)), "energy-unit").frames == wrong
    assert only(check_frames(changed(structures, per_atom, wrong)), "energy-per-atom").frames == wrong


def test_force_outlier_among_forces_of_all_sizes_and_forces_of_zero() -> None:
    wide = [atoms for k in range(8) for atoms in copper(2, rattle=0.02 * 1.3**k, repeat=2, seed=20 + k)]

    def pull(results: dict[str, np.ndarray], _: Atoms) -> None:
        results["forces"][:2, 0] += (40.0, -40.0)

    assert not check_frames(wide).by_rule("force-outlier")
    assert only(check_frames(changed(wide, pull, [3])), "force-outlier", "warning").frames == (3,)
    found = only(check_frames([*changed(wide, times("forces", 0.0), [5]), *copper(1)]), "force-outlier", "warning")
    assert found.frames == (5,)
    assert "All forces are zero" in found.what


def test_isolated_atoms_that_nearly_agree_or_are_missing() -> None:
    found = only(check_frames([*MIXED, *atoms_alone(-46.5, -46.48)]), "isolated-atom", "warning")
    assert found.frames == (24, 25)
    missing = only(check_frames(MIXED), "isolated-atom", "note")
    assert missing.frames == ()
    assert "isolated atom of Cu" in missing.what


def test_forces_that_a_mask_leaves_out_are_not_judged() -> None:
    """Missing ones (NaN) are no zeros: energies cannot be compared with what is left."""
    for share in (2, 4):
        structures = copper(24, rattle=0.1, repeat=2)
        for atoms in structures:
            hidden = np.arange(len(atoms)) % share != 0
            atoms.arrays["force_mask"] = hidden
            forces = atoms.get_forces()
            forces[hidden] = np.nan
            atoms.calc.results["forces"] = forces
        report = check_frames(structures)
        assert report.errors == ()
        assert report.by_rule("forces-against-energy") == ()
        shown = max(np.linalg.norm(a.get_forces()[::share], axis=1).max() for a in structures)
        assert report.summary.groups["bulk"].force[1] == pytest.approx(shown)  # type: ignore[index]
