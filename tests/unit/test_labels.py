"""Labels are found wherever people store them, converted to one form, and never confused."""

from __future__ import annotations

import copy
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from gapkit.atoms.frame import Frame
from gapkit.atoms.labels import Keys, read_frames, to_frame, to_frames
from gapkit.errors import DataError, GapkitWarning, SpeciesError

# One frame as gap_fit wants it and one as ASE writes it.
EXTXYZ = """\
2
Lattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3:dft_force:R:3:force_mask:L:1:force_atom_sigma:R:1 \
dft_energy=-8.5 dft_virial="-64 -6 -5 -6 -128 -4 -5 -4 -192" config_type=bulk energy_sigma=0.02 force_sigma=0.3 \
virial_sigma=0.4 pbc="T T T"
Si 0 0 0  0.1 0.2 0.3 F 0.1
Si 1.5 1.5 1.5  -0.1 -0.2 -0.3 T 0.2
1
Properties=species:S:1:pos:R:3:forces:R:3 energy=-0.75 pbc="F F F"
Si 0 0 0  0 0 0
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "train.xyz"
    path.write_text(EXTXYZ)
    return path


def crystal(**info: Any) -> Atoms:
    atoms = Atoms("Si2", positions=[[0, 0, 0], [1.5, 1.5, 1.5]], cell=[4, 4, 4], pbc=True)
    atoms.info.update(info)
    return atoms


def labelled(atoms: Atoms, **info: Any) -> Atoms:
    twin = atoms.copy()
    twin.info.update(info)
    return twin


def quietly(atoms: Atoms, **options: Any) -> Frame:
    """The frame, with warnings as errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return to_frame(atoms, **options)


class Untouchable(Calculator):
    """A live calculator that fails the test when anybody asks it to work."""

    implemented_properties = ("energy", "forces", "stress")

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes) -> None:
        raise AssertionError("a calculation was triggered")


def test_files_in_the_style_of_gap_fit_and_of_ase(file: Path) -> None:
    bulk_frame, atom_frame = to_frames(read_frames(file), where=file.name)
    assert bulk_frame.energy == -8.5
    assert np.array_equal(bulk_frame.forces_ec, [[0.1, 0.2, 0.3], [-0.1, -0.2, -0.3]])
    # stress = -virial / 64 Å³, in ASE's order xx yy zz yz xz xy
    assert bulk_frame.stress_v == pytest.approx(np.array([64, 128, 192, 4, 5, 6]) / 64, rel=1e-14)
    assert bulk_frame.group == "bulk"
    assert bulk_frame.where == "train.xyz, frame 0"
    # per-frame σ of energy and virial are absolute in gap_fit: 2 atoms
    expected = {"energy": 0.02 / 2**0.5, "forces": 0.3, "stress": 0.4 / 2**0.5}
    assert bulk_frame.sigma == pytest.approx(expected, rel=1e-15)
    assert np.array_equal(bulk_frame.force_sigma_e, [0.1, 0.2])
    # gap_fit's mask says which forces to leave out, the frame's which to use
    assert np.array_equal(bulk_frame.force_mask_e, [True, False])
    assert (atom_frame.energy, atom_frame.kinds) == (-0.75, ("energy", "forces"))
    assert (atom_frame.group, atom_frame.where) == ("default", "train.xyz, frame 1")
    assert (atom_frame.force_mask_e, atom_frame.force_sigma_e, atom_frame.sigma) == (None, None, {})


def test_sigma_of_a_frame_can_be_read_per_atom(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        frame = to_frames(read_frames(file), keys=Keys(sigma_per_atom=True))[0]
    assert frame.sigma == {"energy": 0.02, "forces": 0.3, "stress": 0.4}
    assert "1 frames bring their own energy or virial sigma, taken as per atom" in caplog.text


def test_stress_and_virial_labels_mean_the_strain_derivative() -> None:
    """Reference: energies of strained crystals, nothing of gapkit or of ASE's stress."""
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, rng=np.random.default_rng(0))
    derivative = np.zeros((3, 3))
    step = 1e-5
    for a in range(3):
        for b in range(3):
            for sign in (1, -1):
                strain = np.eye(3)
                strain[a, b] += sign * step
                strained = atoms.copy()
                strained.set_cell(atoms.cell.array @ strain.T, scale_atoms=True)
                strained.calc = EMT()
                derivative[a, b] += sign * strained.get_potential_energy() / (2 * step)
    derivative = (derivative + derivative.T) / 2  # rotations change nothing
    volume = float(atoms.get_volume())
    voigt = [derivative[a, b] / volume for a, b in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))]
    computed = atoms.copy()
    computed.calc = EMT()
    computed.get_stress()
    for form in (
        computed,
        labelled(atoms, virial=-derivative),
        labelled(atoms, virial=-derivative.ravel()),
        labelled(atoms, REF_stress=derivative / volume),
        labelled(atoms, dft_stress=(derivative / volume).ravel()),
        labelled(atoms, stress=np.array(voigt)),
    ):
        assert quietly(form).stress_v == pytest.approx(voigt, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("name", ["energy", "Energy", "REF_energy", "ref_energy", "dft_energy", "DFT_energy"])
def test_usual_names_of_the_energy(name: str) -> None:
    assert quietly(crystal(**{name: np.array([-3.5])})).energy == -3.5


@pytest.mark.parametrize("name", ["force", "forces", "REF_forces", "dft_forces", "dft_force", "DFT_force"])
def test_usual_names_of_the_forces(name: str) -> None:
    atoms = crystal()
    atoms.arrays[name] = np.array([[1, 0, 0], [-1, 0, 0]])
    assert np.array_equal(quietly(atoms).forces_ec, [[1, 0, 0], [-1, 0, 0]])


def test_predictions_of_other_models_are_not_labels() -> None:
    atoms = crystal(gap_energy=-1.0, free_energy=-2.0)
    atoms.arrays["gap_force"] = np.zeros((2, 3))
    atoms.calc = SinglePointCalculator(atoms, free_energy=-3.0)
    assert quietly(atoms).kinds == ()


def test_prefixed_names_win_with_one_warning_for_all_frames() -> None:
    structures = [crystal(REF_energy=-1.0, energy=-2.0), crystal(REF_energy=-1.5), crystal(REF_energy=-3.0)]
    for atoms in structures[1:]:
        atoms.calc = SinglePointCalculator(atoms, energy=-2.5)
    with pytest.warns(GapkitWarning) as caught:
        frames = to_frames(structures, where="a.xyz")
    assert [frame.energy for frame in frames] == [-1.0, -1.5, -3.0]
    messages = [str(warning.message) for warning in caught]
    assert len(messages) == 2
    assert "'REF_energy' and 'energy' differ" in messages[0]
    assert "(a.xyz, frame 0)" in messages[0]
    assert "'REF_energy' and 'calculator's energy' differ" in messages[1]
    assert "(a.xyz, frame 1 and 1 more frames)" in messages[1]


def test_results_of_the_calculator_win_over_plain_names() -> None:
    atoms = crystal(energy=-1.0)
    atoms.calc = SinglePointCalculator(atoms, energy=-2.0)
    with pytest.warns(GapkitWarning, match="'calculator's energy' and 'energy' differ"):
        assert to_frame(atoms).energy == -2.0
    with pytest.warns(GapkitWarning, match="'energy' and 'calculator's energy' differ"):
        assert to_frame(atoms, keys=Keys(energy="energy")).energy == -1.0


def test_the_same_value_under_two_names_needs_no_warning() -> None:
    atoms = crystal(REF_energy=-1.0, energy=-1.0, REF_virial=-64 * np.eye(3))
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0 - 1e-12, stress=np.array([1.0, 1, 1, 0, 0, 0]))
    assert quietly(atoms).energy == -1.0


def test_a_virial_of_the_wrong_sign_beside_the_stress_is_noticed() -> None:
    atoms = crystal(virial=64 * np.eye(3))
    atoms.calc = SinglePointCalculator(atoms, stress=np.array([1.0, 1, 1, 0, 0, 0]))
    with pytest.warns(GapkitWarning, match="'calculator's stress' and 'virial' differ"):
        frame = to_frame(atoms)
    assert frame.stress_v == pytest.approx([1, 1, 1, 0, 0, 0])
    assert quietly(atoms, keys=Keys(virial="virial")).stress_v == pytest.approx([-1, -1, -1, 0, 0, 0])


def test_prefixed_virial_wins_over_the_stress_of_a_calculator() -> None:
    atoms = crystal(dft_virial=-64 * np.eye(3))
    atoms.calc = SinglePointCalculator(atoms, stress=np.full(6, 9.0))
    with pytest.warns(GapkitWarning, match="'dft_virial' and 'calculator's stress' differ"):
        assert to_frame(atoms).stress_v == pytest.approx([1, 1, 1, 0, 0, 0])


def test_a_tensor_that_is_not_symmetric_is_noticed() -> None:
    tensor = np.array([[1.0, 0.2, 0], [0.4, 1.0, 0], [0, 0, 1.0]])
    with pytest.warns(GapkitWarning, match="'stress' is not symmetric"):
        frame = to_frame(crystal(stress=tensor))
    assert frame.stress_v == pytest.approx([1, 1, 1, 0, 0, 0.3])


def test_no_calculation_is_ever_triggered() -> None:
    atoms = crystal()
    atoms.calc = Untouchable()
    assert quietly(atoms).kinds == ()


def test_results_for_other_positions_are_ignored_and_said_to_be() -> None:
    atoms = crystal()
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0)
    assert quietly(atoms).energy == -1.0
    for change in ("positions", "cell", "numbers"):
        moved = atoms.copy()
        moved.calc = atoms.calc
        if change == "positions":
            moved.positions[0, 0] += 1e-3
        elif change == "cell":
            moved.set_cell([4, 4, 4.01])
        else:
            moved.numbers[0] = 32
        with pytest.warns(GapkitWarning, match="results belong to other positions"):
            assert to_frame(moved).energy is None


def test_the_argument_is_untouched_and_not_shared() -> None:
    atoms = crystal(REF_energy=-1.0, virial=np.eye(3))
    atoms.arrays["forces"] = np.zeros((2, 3))
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0)
    before = copy.deepcopy((atoms.arrays, atoms.info, atoms.cell.array, atoms.calc.results))
    frame = quietly(atoms)
    atoms.arrays["forces"][0, 0] = 5.0
    assert frame.forces_ec is not None
    assert frame.forces_ec[0, 0] == 0.0
    atoms.arrays["forces"][0, 0] = 0.0
    np.testing.assert_equal((atoms.arrays, atoms.info, atoms.cell.array, atoms.calc.results), before)


def test_labels_false_sees_no_label_but_all_structural_errors() -> None:
    atoms = crystal(energy=np.nan, stress="nonsense")
    assert quietly(atoms, labels=False).kinds == ()
    atoms.positions[1, 2] = np.nan
    with pytest.raises(DataError, match=r"positions.*atom 1 \(Si\)"):
        to_frame(atoms, labels=False)


@pytest.mark.parametrize(
    ("info", "arrays", "message"),
    [
        ({"energy": "low"}, {}, "'energy' is not numeric"),
        ({"energy": [1.0, 2.0]}, {}, "'energy' has 2 values"),
        ({"energy": np.nan}, {}, "energy is NaN"),
        ({}, {"forces": np.zeros((3, 3))}, r"'forces' has shape \(3, 3\) for 2 atoms.*shape \(2, 3\)"),
        ({}, {"forces": np.array([[0, 0, 0], [0, np.inf, 0]])}, r"forces array has NaN.*atom 1 \(Si\)"),
        ({"stress": np.zeros(5)}, {}, r"'stress' has shape \(5,\).*Voigt"),
        ({"stress": np.full((3, 3), np.inf)}, {}, "stress array has NaN or infinite"),
        ({"virial": np.full((3, 3), np.nan)}, {}, "stress array has NaN or infinite"),
        ({"virial": np.zeros(6)}, {}, r"'virial' has shape \(6,\).*order of 6 is not agreed"),
        ({"energy_sigma": 0.0}, {}, "0.0 of 'energy' is not a positive number"),
        ({"virial_sigma": np.ones((3, 3))}, {}, "'virial_sigma' has 9 values"),
        ({}, {"force_mask": np.array([0, 2])}, "'force_mask' is not logical"),
        ({}, {"force_mask": np.array([True])}, "force mask array has shape"),
        ({}, {"force_atom_sigma": np.array([0.1, -1.0])}, r"not positive.*atom 1 \(Si\)"),
    ],
)
def test_bad_labels_name_the_frame(info: Any, arrays: Any, message: str) -> None:
    good, bad = crystal(energy=-1.0), crystal(**info)
    bad.arrays.update(arrays)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GapkitWarning)
        with pytest.raises(DataError, match=message) as caught:
            to_frames([good, bad], where="a.xyz")
    assert caught.value.where.startswith("a.xyz, frame 1")


@pytest.mark.parametrize("info", [{"stress": np.zeros(6)}, {"virial": np.zeros((3, 3))}, {"REF_virial": np.eye(3)}])
def test_stress_of_a_molecule(info: Any) -> None:
    atoms = molecule("H2O")
    atoms.info.update(info)
    with pytest.raises(DataError, match="three periodic directions"):
        to_frame(atoms)


def test_structures_that_cannot_be_used_name_frame_and_atom() -> None:
    flat, twice, dummy = crystal(virial=np.eye(3)), crystal(), crystal()
    flat.set_cell([4, 4, 0])
    twice.positions[1] = [4, 0, 8]
    dummy.numbers[1] = 0
    cases: list[tuple[Any, type[Exception], str]] = [
        (flat, DataError, "zero volume.*a.xyz, frame 1"),
        (twice, DataError, r"one spot.*a.xyz, frame 1, atoms 0 \(Si\), 1 \(Si\)"),
        (dummy, SpeciesError, "dummy species X.*a.xyz, frame 1, atom 1"),
        (Atoms(), DataError, "no atoms.*a.xyz, frame 1"),
        ("train.xyz", DataError, "Not a structure but str.*a.xyz, frame 1"),
    ]
    for structure, error, message in cases:
        with pytest.raises(error, match=message):
            to_frames([crystal(), structure], where="a.xyz")


def test_lists_that_cannot_be_used() -> None:
    with pytest.raises(DataError, match="no structures"):
        to_frames([])
    with pytest.raises(DataError, match=r"One Atoms object.*pass \[atoms\]"):
        to_frames(crystal())
    with pytest.raises(DataError, match="Not a structure but NoneType"):
        to_frame(None)  # type: ignore[arg-type]
    unlabelled = [crystal(E_dft=-1.0), crystal(config_type="bulk")]
    assert len(to_frames(unlabelled)) == 2
    with pytest.raises(DataError, match=r"No frame has an energy.*the frames have E_dft, config_type\."):
        to_frames(unlabelled, require_labels=True)
    assert to_frames(iter([crystal(), crystal(energy=-1.0)]), require_labels=True)[1].where == "frame 1"


def test_components_of_sigma_are_not_dropped_silently() -> None:
    atoms = crystal(energy=-1.0, virial_component_sigma=np.ones(9))
    with pytest.warns(GapkitWarning, match="'virial_component_sigma' is not supported"):
        to_frame(atoms)
