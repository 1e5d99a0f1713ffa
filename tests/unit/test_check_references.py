"""Energies of a whole config_type against forces: what no comparison of like structures can tell."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc100, fcc111
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from gapkit.datasets import check, check_frames
from gapkit.datasets.references import Seen, energies_against_forces, largest_step


def labelled(atoms: Atoms, group: str, seed: int, shift: float) -> Atoms:
    """Copper by EMT, with another zero of the energy per atom."""
    atoms.rattle(0.08, seed=seed)
    atoms.calc = EMT()
    energy, forces = atoms.get_potential_energy() + shift * len(atoms), atoms.get_forces()
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
    atoms.info["config_type"] = group
    return atoms


def copper(shift: float) -> list[Atoms]:
    """Crystals, crystals with a vacancy, and slabs, whose energies are shifted."""
    made = []
    for k in range(12):
        crystal = bulk("Cu", a=3.55 + 0.01 * k, cubic=True) * (2, 2, 2)
        made.append(labelled(crystal.copy(), "bulk", k, 0.0))
        del crystal[0]
        made.append(labelled(crystal, "vacancy", 50 + k, 0.0))
    for k in range(8):
        made.append(labelled(fcc111("Cu", (3, 2, 6), a=3.6, vacuum=6.0, periodic=True), "slab", 100 + k, shift))
        made.append(labelled(fcc100("Cu", (3, 2, 6), a=3.6, vacuum=6.0, periodic=True), "slab", 200 + k, shift))
    return made


@pytest.mark.parametrize("shift", [0.0, -0.4])
def test_slabs_with_another_zero_of_the_energy_are_found_by_the_forces(
    shift: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "RULES", ())
    monkeypatch.setattr(check, "COMPARISONS", (energies_against_forces,))
    structures = copper(shift)
    found = check_frames(structures).by_rule("two-methods")
    if shift == 0.0:
        assert not found
        return
    (one,) = found
    assert {structures[s].info["config_type"] for s in one.frames} == {"slab"}
    height = float(one.what.split("about ")[1].split()[0])
    assert 0.4 < height / (1e3 * shift) < 1.2
    assert "judged by the forces of all" in one.what


def test_without_forces_or_with_one_config_type_there_is_nothing_to_compare() -> None:
    structures = copper(-0.4)
    for atoms in structures:
        del atoms.info["config_type"]
    assert not check_frames(structures).by_rule("two-methods")
    bare = copper(-0.4)
    for atoms in bare:
        atoms.calc = SinglePointCalculator(atoms, energy=atoms.get_potential_energy())
    assert not [f for f in check_frames(bare).by_rule("two-methods") if "forces" in f.what]


def test_two_structures_of_another_element_are_left_alone() -> None:
    structures = copper(0.0)
    for k in range(2):
        structures.append(labelled(bulk("Ni", cubic=True) * (2, 1, 1), "nickel", k, 0.0))
    report = check_frames(structures)
    assert not report.by_rule("two-methods")
    assert not report.by_rule("energy-outlier")


def test_a_step_that_like_structures_show_is_told_once() -> None:
    structures = copper(0.0)
    for atoms in structures:
        if atoms.info["config_type"] == "vacancy":
            results = atoms.calc.results
            atoms.calc = SinglePointCalculator(
                atoms, energy=results["energy"] + 0.2 * len(atoms), forces=results["forces"]
            )
    assert len(check_frames(structures).by_rule("two-methods")) == 1


def test_dimers_beside_crystals_have_no_zero_that_forces_could_tell() -> None:
    structures = [a for a in copper(0.0) if a.info["config_type"] == "bulk"]
    for k in range(8):
        structures.append(labelled(Atoms("Cu2", [[0, 0, 0], [0, 0, 2.2 + 0.1 * k]]), "dimer", k, 0.0))
    assert not check_frames(structures).by_rule("two-methods")


DEFECTS = [
    Seen(f"defect {k}", off, 0.001, 0.008, -4.8, (0.5, 0.5))
    for k, off in enumerate([-0.038, -0.03, -0.014, 0.007, 0.022])
]


def test_the_step_of_one_config_type_is_measured_from_the_usual_one() -> None:
    off = Seen("slab", 0.17, 0.018, 0.02, -4.6, (0.48, 0.52))
    found = largest_step([*DEFECTS, off])
    assert found is not None
    assert (found.group, found.height) == ("slab", pytest.approx(0.184))
    assert largest_step(DEFECTS) is None
    assert largest_step([*DEFECTS, off._replace(shares=(1.0, 0.0))]) is None  # another e0 would explain it


def test_a_small_potential_is_no_judge_of_energies_far_from_all_others() -> None:
    """Nor are these a measure for the others."""
    far = Seen("shear", 0.26, 0.005, 0.03, -2.3, (0.5, 0.5))
    assert largest_step([*DEFECTS, far]) is None
    found = largest_step([*DEFECTS, far._replace(bound=-4.5)])
    assert found is not None
    assert found.group == "shear"


def test_perfect_crystals_and_elements_that_share_densities_are_judged_with_care() -> None:
    """No force leads from the former to the others; of the latter σ is too small."""
    off = Seen("crystal", 0.17, 0.018, 0.02, -4.6, (0.5, 0.5))
    assert largest_step([*DEFECTS, off]) is not None
    assert largest_step([*DEFECTS, off._replace(pushed=False)]) is None
    three = [one._replace(shares=(0.5, 0.5, 0.0)) for one in [*DEFECTS, off]]
    assert largest_step(three) is None
    assert largest_step([*three[:-1], three[-1]._replace(off=0.25)]) is not None


def test_a_single_energy_of_another_structure_is_found_by_the_forces_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two defects, too few to be compared with one another and too far from all others to be compared with these."""
    monkeypatch.setattr(check, "COMPARISONS", (energies_against_forces,))
    structures = copper(0.0)
    for k in range(2):
        crystal = bulk("Cu", cubic=True) * (2, 2, 2)
        crystal += Atoms("Cu", [crystal.positions[0] + [1.8, 0.1 * k, 0.0]])
        structures.append(labelled(crystal, "interstitial", 300 + k, 1.5 * k))
    (one,) = check_frames(structures).by_rule("energy-outlier")
    assert one.frames == (len(structures) - 1,)
    assert "+1." in one.what


def apart(seed: int, repeat: tuple[int, int, int] = (3, 2, 2)) -> Atoms:
    """A rattled crystal in a cell of its own: no other structure is near enough to compare ΔE with forces."""
    random = np.random.default_rng(seed)
    atoms = bulk("Cu", a=3.6, cubic=True) * repeat
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + random.normal(scale=0.02, size=(3, 3))), scale_atoms=True)
    return labelled(atoms, "default", seed, 0.0)


@pytest.mark.parametrize("mixed", [False, True])
def test_forces_of_other_atoms_are_found_without_like_structures(mixed: bool) -> None:
    structures = [apart(k) for k in range(32)]
    random = np.random.default_rng(0)
    for k, atoms in enumerate(structures):
        forces = atoms.get_forces()
        order = random.permutation(len(atoms)) if mixed else slice(None)
        results = {"energy": atoms.get_potential_energy(), "forces": forces[order]}
        structures[k].calc = SinglePointCalculator(atoms, **results)
    report = check_frames(structures)
    assert len(report.by_rule("not-compared")) == 1
    found = report.by_rule("forces-against-structure")
    assert len(found) == mixed
    assert not [f for f in report.findings if f.severity != "note" and f not in found]
    for finding in found:
        assert finding.severity == "error"
        assert len(finding.frames) == len(structures)
        missed, size = (float(x) for x in re.findall(r"misses ([\d.]+) of ([\d.]+) eV/Å", finding.what)[0])
        assert 0.6 * size < missed <= size


def given(atoms: Atoms, **labels: Any) -> None:
    atoms.calc = SinglePointCalculator(atoms, **{**atoms.calc.results, **labels})


def test_only_energies_are_wrong_beside_isolated_atoms() -> None:
    structures = [apart(k) for k in range(32)]
    for atoms in structures:
        given(atoms, energy=-3000.0 * len(atoms))
    alone = Atoms("Cu", cell=[20.0] * 3, pbc=True)
    alone.calc = SinglePointCalculator(alone, energy=0.0)
    report = check_frames([*structures, alone])
    assert report.by_rule("isolated-atom")
    assert not report.by_rule("forces-against-structure")


def test_forces_of_config_types_that_were_judged_accuse_no_others() -> None:
    runs = [labelled(bulk("Cu", a=3.6, cubic=True) * (2, 2, 2), name, 300 + k, 0.0) for name in "ab" for k in range(12)]
    for atoms in runs[:12]:
        given(atoms, forces=51.4 * atoms.get_forces())
    report = check_frames([*runs, *(apart(k) for k in range(32))])
    assert report.by_rule("force-unit")
    assert not report.by_rule("forces-against-structure")


def test_frames_with_names_of_their_own_are_judged_together() -> None:
    structures = [apart(k) for k in range(32)]
    for k, atoms in enumerate(structures):
        atoms.info["config_type"] = f"frame-{k}"
        given(atoms, forces=atoms.get_forces()[np.random.default_rng(k).permutation(len(atoms))])
    (found,) = check_frames(structures).by_rule("forces-against-structure")
    assert len(found.frames) == len(structures)
    assert "(32 config_types)" in found.what


def test_too_few_labels_or_no_atoms_in_reach_tell_nothing() -> None:
    structures = [apart(k, (1, 1, 1)) for k in range(4)]
    for k, atoms in enumerate(structures):
        given(atoms, forces=atoms.get_forces()[np.random.default_rng(k).permutation(len(atoms))])
    assert not check_frames(structures).by_rule("forces-against-structure")
    for atoms in structures:
        results = dict(atoms.calc.results)
        atoms.set_cell(100.0 * atoms.cell.array, scale_atoms=True)
        atoms.calc = SinglePointCalculator(atoms, **results)
    assert not check_frames(structures).by_rule("forces-against-structure")


def test_forces_of_relaxed_structures_are_not_judged_so() -> None:
    structures = [apart(k) for k in range(32)]
    for k, atoms in enumerate(structures):
        small = 0.05 * np.random.default_rng(k).normal(size=(len(atoms), 3))
        structures[k].calc = SinglePointCalculator(atoms, energy=atoms.get_potential_energy(), forces=small)
    assert not check_frames(structures).by_rule("forces-against-structure")
