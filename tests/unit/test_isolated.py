"""Energies of isolated atoms: where they come from, and what is said when they are guessed."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.calculators.singlepoint import SinglePointCalculator

from gapkit.atoms.frame import Frame
from gapkit.atoms.labels import to_frame
from gapkit.baselines.isolated import FAR, is_isolated, isolated_energies, reference_energy
from gapkit.errors import ConfigError, GapkitWarning, SpeciesError


def labelled(atoms: Atoms, energy: float | None = None, **info: Any) -> Frame:
    atoms.info.update(info)
    if energy is not None:
        atoms.calc = SinglePointCalculator(atoms, energy=energy)
    return to_frame(atoms)


def in_box(symbol: str, length: float, pbc: Any = True) -> Atoms:
    return Atoms(symbol, cell=[length] * 3, pbc=pbc)


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (labelled(Atoms("Si")), True),
        (labelled(in_box("Si", 3.0, pbc=False)), True),
        (labelled(in_box("Si", FAR)), True),
        (labelled(in_box("Si", FAR - 0.01)), False),
        (labelled(in_box("Si", 6.0), config_type="isolated_atom"), True),
        (labelled(bulk("Al")), False),
        (labelled(Atoms("Si", cell=[3, 20, 20], pbc=[False, True, True])), True),
        (labelled(Atoms("Si", cell=[3, 20, 20], pbc=[True, False, False])), False),
        # Long vectors of a dense lattice: the nearest image is at 2 Å
        (labelled(Atoms("Si", cell=[[20, 0, 0], [18, 2, 0], [0, 0, 20]], pbc=True)), False),
        (labelled(molecule("O2"), config_type="isolated_atom"), False),
    ],
)
def test_what_counts_as_isolated(frame: Frame, expected: bool) -> None:
    assert is_isolated(frame) is expected


def test_single_atoms_win_over_the_fit_and_given_values_win_over_both() -> None:
    frames = [labelled(Atoms("H"), -13.6), labelled(in_box("O", 12.0), -2041.0), labelled(molecule("H2O"), -2078.0)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert isolated_energies(frames) == {1: -13.6, 8: -2041.0}
        assert isolated_energies(frames, {"O": -2000.0}) == {1: -13.6, 8: -2000.0}
        assert isolated_energies(frames, {8: -2000.0, "Au": 0.5}) == {1: -13.6, 8: -2000.0, 79: 0.5}


def test_least_squares_recovers_energies_that_compositions_determine_and_warns() -> None:
    truth = {1: -13.5, 6: -1030.0, 8: -2042.0}
    frames = [
        labelled(atoms, sum(truth[int(number)] for number in atoms.numbers))
        for atoms in (molecule("CH4"), molecule("CO2"), molecule("H2O"), molecule("C2H6"))
    ]
    with pytest.warns(GapkitWarning, match=r"e0 of H, C, O .* 4 frames: dissociation.*Fix: .*isolated_atom"):
        e0 = isolated_energies(frames)
    assert e0 == pytest.approx(truth, rel=1e-12)


def test_least_squares_weights_frames_as_their_noise_does() -> None:
    small, large = bulk("Si"), bulk("Si") * (2, 2, 2)
    with pytest.warns(GapkitWarning, match="e0 of Si"):
        e0 = isolated_energies([labelled(small, -10.0), labelled(large, -64.0)])
    # minimum of (E1 - 2e)²/2 + (E2 - 16e)²/16
    assert e0[14] == pytest.approx((-10.0 - 64.0) / 18, rel=1e-12)


def test_known_elements_are_taken_off_before_the_fit() -> None:
    frames = [labelled(Atoms("H"), -13.0), labelled(molecule("H2O"), -100.0), labelled(molecule("H2"), -26.5)]
    with pytest.warns(GapkitWarning, match=r"e0 of O .* 1 frames"):
        e0 = isolated_energies(frames)
    assert e0 == pytest.approx({1: -13.0, 8: -74.0}, rel=1e-12)


def test_one_stoichiometry_gives_the_minimum_norm_and_says_so() -> None:
    frames = [labelled(molecule("H2O"), -50.0)]
    with pytest.warns(GapkitWarning, match="do not tell these elements apart.*minimum norm"):
        e0 = isolated_energies(frames)
    # the shortest x with 2 x_H + x_O = -50
    assert e0 == pytest.approx({1: -20.0, 8: -10.0}, rel=1e-12)


def test_elements_without_an_energy_get_zero_and_a_warning() -> None:
    slab = fcc111("Al", (1, 1, 2), vacuum=5.0)
    with pytest.warns(GapkitWarning, match="No energy tells e0 of Al: 0 is used.*Fix"):
        assert isolated_energies([labelled(slab)]) == {13: 0.0}
    with pytest.warns(GapkitWarning, match="e0 of H comes.*No energy tells e0 of Al: 0 is used") as caught:
        e0 = isolated_energies([labelled(slab), labelled(molecule("H2"), -30.0)])
    assert e0 == pytest.approx({1: -15.0, 13: 0.0}, rel=1e-12)
    assert sum(issubclass(w.category, GapkitWarning) for w in caught) == 1  # ASE warns of its own with numpy 2.5


def test_isolated_atoms_that_disagree() -> None:
    with pytest.warns(GapkitWarning, match=r"Isolated H atoms differ.*-13\.6.*-13\.1.*lowest"):
        assert isolated_energies([labelled(Atoms("H"), -13.1), labelled(Atoms("H"), -13.6)]) == {1: -13.6}
    twice = [labelled(Atoms("H"), -13.1), labelled(Atoms("H"), -13.1)]
    assert isolated_energies(twice) == {1: -13.1}
    assert isolated_energies([*twice, labelled(Atoms("H"), -14.0)], {"H": -13.0}) == {1: -13.0}


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"Sj": -1.0}, SpeciesError, "'Sj', which is not an element"),
        ({0: -1.0}, SpeciesError, "e0 names 0"),
        ({"X": -1.0}, SpeciesError, "e0 names 'X'"),
        ({"Si": np.nan}, ConfigError, "not a finite number"),
        ({"Si": "low"}, ConfigError, "not a number"),
        ({"Si": -1.0, 14: -1.0}, ConfigError, "Si is given twice"),
    ],
)
def test_bad_given_energies(given: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        isolated_energies([], given)


def test_reference_energy_is_the_sum_over_atoms() -> None:
    e0 = {1: -13.6, 6: -1029.0, 8: -2041.0}
    numbers = molecule("CH3CH2OH").numbers
    assert reference_energy(numbers, e0) == pytest.approx(sum(e0[int(number)] for number in numbers), rel=1e-15)
    with pytest.raises(SpeciesError, match=r"knows H, C, O; the structure has Si.*t\.xyz, frame 3, first at atom 1"):
        reference_energy(np.array([1, 14, 14]), e0, where="t.xyz, frame 3")
