"""Names of labels that the user gives: the only ones looked up, and never silently without effect."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms

from gapkit.atoms.frame import Frame
from gapkit.atoms.labels import Keys, read_frames, to_frame, to_frames
from gapkit.errors import ConfigError, DataError

EXTXYZ = """\
2
Lattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3:forces:R:3 energy=-8.5 \
stress="-64 -6 -5 -6 -128 -4 -5 -4 -192" pbc="T T T"
Si 0 0 0  0.1 0.2 0.3
Si 1.5 1.5 1.5  -0.1 -0.2 -0.3
1
Properties=species:S:1:pos:R:3:forces:R:3 energy=-0.75 pbc="F F F"
Si 0 0 0  0 0 0
"""


def crystal(**info: Any) -> Atoms:
    atoms = Atoms("Si2", positions=[[0, 0, 0], [1.5, 1.5, 1.5]], cell=[4, 4, 4], pbc=True)
    atoms.info.update(info)
    return atoms


def quietly(atoms: Atoms, **options: Any) -> Frame:
    """The frame, with warnings as errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return to_frame(atoms, **options)


def test_given_keys_are_the_only_ones_looked_up() -> None:
    atoms = crystal(my_energy=-7.0, REF_energy=-1.0, my_group="liquid")
    atoms.arrays |= {"my_forces": np.ones((2, 3)), "REF_forces": np.zeros((2, 3))}
    frame = quietly(atoms, keys=Keys(energy="my_energy", forces="my_forces", group="my_group"))
    assert (frame.energy, frame.group) == (-7.0, "liquid")
    assert np.array_equal(frame.forces_ec, np.ones((2, 3)))


def test_given_keys_find_what_ase_moved_into_the_calculator(tmp_path: Path) -> None:
    (tmp_path / "moved.xyz").write_text(EXTXYZ)
    keys = Keys(energy="energy", forces="forces", stress="stress")
    frames = to_frames(read_frames(tmp_path / "moved.xyz"), keys=keys)
    assert [frame.energy for frame in frames] == [-8.5, -0.75]
    assert frames[0].stress_v == pytest.approx([-64, -128, -192, -4, -5, -6])
    assert all(frame.forces_ec is not None for frame in frames)


def test_a_given_key_may_be_missing_in_some_frames_but_not_in_all() -> None:
    structures = [crystal(), crystal(my_energy=-1.0)]
    assert [frame.energy for frame in to_frames(structures, keys=Keys(energy="my_energy"))] == [None, -1.0]
    with pytest.raises(DataError, match=r"'my_enrgy'.*Keys\(energy=.*a\.xyz.*did you mean 'my_energy'") as caught:
        to_frames(structures, keys=Keys(energy="my_enrgy"), where="a.xyz")
    assert caught.value.where == "a.xyz"
    with pytest.raises(DataError, match=r"'REF_energy'.*store the label first"):
        to_frame(crystal(), keys=Keys(energy="REF_energy"))


@pytest.mark.parametrize(
    "keys",
    [
        Keys(forces="f"),
        Keys(virial="v"),
        Keys(group="kind"),
        Keys(energy_sigma="s"),
        Keys(force_mask="m"),
        Keys(force_atom_sigma="s"),
        Keys(charges="q"),
    ],
)
def test_every_given_key_must_be_somewhere(keys: Keys) -> None:
    atoms = crystal(energy=-1.0)
    with pytest.raises(DataError, match=r"No frame has '\w+', given as Keys\("):
        to_frame(atoms, keys=keys)
    assert quietly(atoms, keys=keys, labels=False).energy is None


@pytest.mark.parametrize("bad", [{"energy": ""}, {"forces": 3}, {"group": None}, {"force_mask": ""}, {"charges": None}])
def test_keys_are_names(bad: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="is not a name"):
        Keys(**bad)


def test_charges_are_read_with_and_without_labels(tmp_path: Path) -> None:
    atoms = crystal(energy=-1.0)
    assert quietly(atoms).charges_e is None
    atoms.set_initial_charges([0.5, -0.5])
    atoms.arrays["bader"] = np.array([0.25, -0.25])
    atoms.write(tmp_path / "charged.xyz")
    (stored,) = read_frames(tmp_path / "charged.xyz")
    for labels in (True, False):
        assert np.array_equal(quietly(stored, labels=labels).charges_e, [0.5, -0.5])
        assert np.array_equal(quietly(stored, labels=labels, keys=Keys(charges="bader")).charges_e, [0.25, -0.25])
        assert quietly(stored, labels=labels, keys=Keys(energy="energy")).charges_e is not None
    atoms.arrays["wide"] = np.zeros((2, 3))
    with pytest.raises(DataError, match=r"charges array has shape \(2, 3\)"):
        quietly(atoms, keys=Keys(charges="wide"))
