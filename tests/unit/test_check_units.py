"""Units of energies and forces of a whole file, by the comparison of both: each named by its cause."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111
from ase.calculators.singlepoint import SinglePointCalculator
from ase.units import Bohr, GPa, Hartree, kcal, mol

from gapkit.datasets import check_frames
from gapkit.datasets.scales import readings
from gapkit.datasets.sizes import HUGE
from tests.unit.test_check_physics import RATTLED, STRAINED, Change, changed, copper, labelled, only, per_atom, times

SMALLEST_AND_28 = [*copper(12, rattle=0.05, seed=35), *copper(16, rattle=0.05, repeat=7, seed=36)]
LARGER = copper(12, rattle=0.05, repeat=4, seed=31)


def both(energy: float, forces: float) -> Change:
    def change(results: dict[str, np.ndarray], _: Atoms) -> None:
        results["energy"] = energy * results["energy"]
        results["forces"] = forces * results["forces"]

    return change


@pytest.mark.parametrize("structures", [RATTLED, LARGER, SMALLEST_AND_28])
def test_energies_per_atom_by_their_forces(structures: list[Atoms]) -> None:
    """Cells of one size, and of several, to which no common factor belongs; 1/28 alone would be Hartree too."""
    found = only(check_frames(changed(structures, per_atom)), "energy-per-atom")
    assert found.frames == tuple(range(len(structures)))
    assert found.what.startswith("Energies look like energies per atom:")
    assert found.fix == "multiply energies by the number of atoms N"


@pytest.mark.parametrize(("factor", "unit"), [(1.0 / Hartree, "Hartree"), (mol / kcal, "kcal/mol")])
def test_unit_of_energies_by_their_forces(factor: float, unit: str) -> None:
    found = only(check_frames(changed(RATTLED, times("energy", factor))), "energy-unit")
    assert found.what.startswith(f"Energies look like {unit}:")
    assert found.fix == f"multiply energies by {1.0 / factor:.6g}"


def test_atomic_units_and_ev_per_bohr_are_both_named_the_likelier_first() -> None:
    """Their ratio is the same; forces in Rydberg/Bohr make a crystal too soft."""
    structures = [*RATTLED, *in_group(STRAINED, "elastic")]
    rydberg = check_frames(changed(structures, both(2.0 / Hartree, 2.0 * Bohr / Hartree)))
    found = only(rydberg, "force-unit")  # and stresses are not accused
    assert found.what.startswith("Energies and forces look like Rydberg and Rydberg/Bohr, or Hartree and Hartree/Bohr")
    assert "or forces look like eV/Bohr" in found.what
    assert "in Rydberg multiply energies by 13.6057 and forces by 25.711" in found.fix
    found = only(check_frames(changed(RATTLED, times("forces", Bohr))), "force-unit")
    assert found.what.startswith("Forces look like eV/Bohr, or energies and forces look like Rydberg")
    assert found.fix.startswith("multiply them by 1.88973; or ")


def test_units_far_too_small_for_both() -> None:
    found = only(check_frames(changed(RATTLED, both(mol / kcal, mol / kcal))), "energy-unit", "warning")
    assert "both are too large" in found.what
    assert "0.0433641 if they are in kcal/mol" in found.fix


def test_cells_with_as_many_atoms_as_an_energy_is_large() -> None:
    """1/27 is energies per atom of 27 atoms or energies in Hartree; with a sign, forces are named too."""
    assert [reading.rule for reading in readings(1 / 27.0, 1.0, 5.0)] == ["energy-per-atom", "energy-unit"]
    assert [reading.rule for reading in readings(1 / 27.0, 1.0, 5.0, one_factor=False)] == ["energy-per-atom"]
    assert readings(-1 / 8.0, -1.0, 5.0)[0].fix == "multiply energies by the number of atoms N, and forces by -1"
    assert readings(3.0, 0.0, 5.0) == []
    assert readings(1.0 / Bohr, 0.0, 5.0)[0].what == "forces look like eV/Bohr"
    assert readings(Bohr, 0.0, 5.0)[0].rule == "lengths-in-bohr"


def test_what_could_not_be_compared_is_said() -> None:
    """No two of these frames have equal cells; those that do stay out of the note, and so do cells without forces."""
    apart = copper(6, strain=0.01, rattle=0.05, repeat=2, seed=32)
    for atoms in apart:
        atoms.info["config_type"] = "apart"
    perfect = [labelled(bulk("Cu", cubic=True), "perfect") for _ in range(3)]
    report = check_frames([*RATTLED, *apart, *perfect])
    found = only(report, "not-compared", "note")
    assert found.frames == tuple(range(24, 30))
    assert found.what.startswith("Energies and forces could not be compared, in apart:")
    assert not check_frames(RATTLED).by_rule("not-compared")


def test_energies_per_atom_that_differ_little() -> None:
    """-2 eV for cells of 4 and of 16 atoms (lithium): total energies would grow with them."""

    def down(results: dict[str, np.ndarray], atoms: Atoms) -> None:
        results["energy"] = results["energy"] / len(atoms) - 2.0

    structures = [*STRAINED, *in_group(LARGER, "larger")]
    found = only(check_frames(changed(structures, down)), "energy-per-atom")
    assert found.frames == tuple(range(36))
    total = changed(
        changed(structures, down), lambda results, atoms: results.update(energy=results["energy"] * len(atoms))
    )
    assert not check_frames(total).errors
    assert not check_frames(changed(STRAINED, down)).by_rule("energy-per-atom")  # of one size nothing is known


@pytest.mark.parametrize(("bound", "unit"), [(-3.5, "kcal/mol"), (-7.0, "kcal/mol or kJ/mol")])
def test_unit_of_energies_by_isolated_atoms(bound: float, unit: str) -> None:
    """Bound atoms against isolated ones, eV, given in kcal/mol; 7 of them might be kJ/mol too."""

    def bind(results: dict[str, np.ndarray], atoms: Atoms) -> None:
        results["energy"] = np.array(bound * mol / kcal * len(atoms) if len(atoms) > 1 else 0.0)

    found = only(check_frames(changed([*RATTLED[:1], labelled(Atoms("Cu"))], bind)), "isolated-atom")
    assert f"energies look like {unit}" in found.what
    assert found.fix.startswith("multiply energies by 0.0433641")


def in_group(structures: list[Atoms], group: str) -> list[Atoms]:
    copies = changed(structures, lambda results, atoms: None)
    for atoms in copies:
        atoms.info["config_type"] = group
    return copies


def stress_in_gpa(results: dict[str, np.ndarray], _: Atoms) -> None:
    results["stress"] = results["stress"] / GPa


def virial(results: dict[str, np.ndarray], atoms: Atoms) -> None:
    results["stress"] = -atoms.get_volume() * results["stress"]


FEW = in_group(copper(2, rattle=0.1, repeat=2, seed=33), "few")
ELASTIC = in_group(copper(12, strain=0.02, seed=34), "elastic")


@pytest.mark.parametrize(
    ("change", "rule", "words"),
    [
        (stress_in_gpa, "stress-unit", "Stress looks like GPa"),
        (virial, "stress-is-virial", "This stress is the virial of the cell"),
        (times("stress", -1.0), "stress-sign", "Stress has the wrong sign, it is a pressure"),
    ],
)
def test_one_cause_of_all_config_types(change: Change, rule: str, words: str) -> None:
    """Two have evidence, the third is too small to have any."""
    found = only(check_frames(changed([*STRAINED, *ELASTIC, *FEW], change)), rule)
    assert found.frames == tuple(range(38))
    assert found.what.startswith(f"{words}, in bulk, elastic: in ")
    assert found.what.endswith("most likely also in few, where no frames tell")


def test_a_pressure_beyond_reason_is_no_other_cause() -> None:
    """A group whose pairs do not fit any unit well has that of the others, and a warning where these are right."""

    def shift(results: dict[str, np.ndarray], _: Atoms) -> None:
        results["stress"][:3] -= 40.0 * GPa

    shifted = changed(in_group(STRAINED, "shifted"), shift)
    found = only(check_frames([*changed([*STRAINED, *ELASTIC], stress_in_gpa), *shifted]), "stress-unit")
    assert found.frames == tuple(range(60))
    assert "most likely also in shifted" in found.what
    right = check_frames([*STRAINED, *ELASTIC, *shifted])
    assert only(right, "stress-against-energy", "warning").frames == tuple(range(36, 60))


def test_no_cause_is_assumed_where_half_of_the_config_types_are_right() -> None:
    structures = [*STRAINED, *changed(ELASTIC, times("stress", -1.0)), *FEW]
    found = only(check_frames(structures), "stress-sign")
    assert found.frames == tuple(range(24, 36))
    assert "also" not in found.what


def test_energies_per_atom_do_not_accuse_stresses() -> None:
    """Neither in the config_type with the evidence nor in others, which are named with it."""
    strained = in_group(copper(12, strain=0.02, seed=34), "bulk")
    report = check_frames(changed([*RATTLED, *strained, *FEW, *ELASTIC], per_atom))
    found = only(report, "energy-per-atom")
    assert found.frames == tuple(range(50))
    assert "most likely also in elastic, few" in found.what
    assert not report.by_rule("not-compared")
    mixed = [*changed([*RATTLED, *strained], per_atom), *in_group(LARGER, "larger")]
    assert only(check_frames(mixed), "energy-per-atom").frames == tuple(range(36))


def test_sizes_of_stresses_of_several_config_types_are_one_finding() -> None:
    structures = changed([*FEW, *in_group(FEW, "more")], stress_in_gpa)
    found = only(check_frames(structures), "stress-unit")
    assert found.frames == (0, 1, 2, 3)
    assert found.what.startswith("Stresses of few, more are of the order of")
    assert "if they are in GPa" in found.fix


@pytest.mark.parametrize("factor", [15.0, 160.0])
def test_few_pressed_cells_among_others_are_no_unit(factor: float) -> None:
    """A config_type by itself: stresses of 15 times the usual ones are those of a pressed cell, of 160 times in GPa."""
    usual = [in_group([atoms], f"run-{k}")[0] for k, atoms in enumerate(copper(12, rattle=0.1, repeat=2, seed=35))]
    work = np.median([np.abs(a.get_stress()).max() * a.get_volume() / len(a) for a in usual])
    (pressed,) = in_group(changed(usual[:1], times("stress", 1.0)), "pressed")
    pressed.calc.results["stress"] = (
        np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0]) * HUGE * len(pressed) / pressed.get_volume()
    )
    scaled = changed(usual, times("stress", HUGE / (factor * work)))
    pressed.calc.results["stress"] *= 1.01
    report = check_frames([*scaled, pressed])
    assert len(report.by_rule("stress-unit")) == (factor > 100.0)
    many = [in_group([pressed], f"pressed-{k}")[0] for k in range(20)]  # more than the others: each is one of them
    assert len(check_frames([*scaled, *in_group(many, "pressed")]).by_rule("stress-unit")) == (factor > 100.0)


def test_one_cause_of_forces_of_several_config_types() -> None:
    structures = [*RATTLED, *in_group(LARGER, "larger")]
    found = only(check_frames(changed(structures, times("forces", -1.0))), "force-sign")
    assert found.frames == tuple(range(36))
    assert found.what.startswith("Forces have the wrong sign, they are gradients, in bulk, larger: in ")


def test_large_atoms_alone_in_a_box_are_not_lengths_in_bohr() -> None:
    alone = Atoms("K", cell=[10.0] * 3, pbc=True)
    alone.calc = SinglePointCalculator(alone, energy=-1.0)
    assert not check_frames([alone]).by_rule("lengths-in-bohr")


def test_energies_of_vacancies_against_the_crystal_are_not_per_atom() -> None:
    """They do not grow with the cell either."""
    structures = []
    for k in range(12):
        atoms = bulk("Cu", cubic=True) * (2 + k % 2, 2, 2)
        del atoms[0]
        atoms.rattle(0.01, seed=k)
        atoms.calc = SinglePointCalculator(atoms, energy=1.26 + 0.002 * k)
        structures.append(atoms)
    assert not check_frames(structures).by_rule("energy-per-atom")


def test_a_scan_of_one_stiff_bond_is_not_kcal() -> None:
    """C and O of a molecule on a slab that stands still: 118 eV/Å², stiffer than any solid."""
    structures = []
    for stretch in np.linspace(-0.08, 0.08, 12):
        slab = fcc111("Cu", (2, 2, 4), vacuum=8.0, periodic=True)
        top = slab.positions[:, 2].max()
        atoms = slab + Atoms("CO", [[0.0, 0.0, top + 1.85 - stretch / 2], [0.0, 0.0, top + 3.0 + stretch / 2]])
        forces = np.zeros((len(atoms), 3))
        forces[-2:, 2] = [118.0 * stretch, -118.0 * stretch]
        atoms.calc = SinglePointCalculator(atoms, energy=-60.0 + 59.0 * stretch**2, forces=forces)
        structures.append(atoms)
    assert not check_frames(structures).by_rule("energy-unit")
