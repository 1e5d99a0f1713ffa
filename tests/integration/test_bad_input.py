"""Bad input: a clear error that names frame and atom and says the fix, and a model that stays as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms

from gapkit import (
    GAP,
    ConfigError,
    DataError,
    GapkitError,
    GapkitWarning,
    Keys,
    Noise,
    PairTerm,
    SoapTerm,
    SpeciesError,
    load,
    read_frames,
)
from tests.samples import atom, cluster, crystal, fitted, fitted_two, frames, model, soap_arguments

Change = Callable[[Atoms], Any]


def position(value: float) -> Change:
    def change(atoms: Atoms) -> None:
        atoms.positions[1, 2] = value

    return change


def result(name: str, index: Any, value: Any) -> Change:
    def change(atoms: Atoms) -> None:
        if index is None:
            atoms.calc.results[name] = value
        else:
            atoms.calc.results[name][index] = value

    return change


def on_one_spot(atoms: Atoms) -> None:
    atoms.calc = None
    atoms.positions[1] = atoms.positions[0] + [0.0, 0.005, 0.0]


def on_one_spot_of_the_next_cell(atoms: Atoms) -> None:
    atoms.calc = None
    atoms.positions[1] = atoms.positions[0] + atoms.cell[0] - atoms.cell[2]


def without_volume(atoms: Atoms) -> None:
    atoms.cell[2] = atoms.cell[0] + atoms.cell[1]


def dummy(atoms: Atoms) -> None:
    atoms.numbers[1] = 0


# what to do to frame 3, a crystal (or 4, a cluster), words of the message, the atom if there is one
LABELLED: dict[str, tuple[int, Change, str, str]] = {
    "NaN position": (3, position(np.nan), "positions array has NaN or infinite", "atom 1 (Si)"),
    "infinite position": (3, position(-np.inf), "positions array has NaN or infinite", "atom 1 (Si)"),
    "NaN force": (4, result("forces", (2, 0), np.nan), "forces array has NaN or infinite", "atom 2 (Si)"),
    "infinite force": (4, result("forces", (3, 1), np.inf), "forces array has NaN or infinite", "atom 3 (Si)"),
    "NaN energy": (3, result("energy", None, np.nan), "energy is NaN or infinite", ""),
    "infinite energy": (3, result("energy", None, np.inf), "energy is NaN or infinite", ""),
    "NaN stress": (3, result("stress", 4, np.nan), "stress array has NaN or infinite", ""),
    "zero volume": (3, without_volume, "zero volume", ""),
    "no cell": (3, lambda atoms: atoms.set_cell(np.zeros((3, 3))), "zero volume", ""),
    "NaN cell": (3, lambda atoms: atoms.cell.__setitem__(0, np.nan), "cell array has NaN", ""),
    "one spot": (4, on_one_spot, "Two atoms are on one spot", "atoms 0 (Si), 1 (Si)"),
    "one spot of an image": (3, on_one_spot_of_the_next_cell, "Two atoms are on one spot", "atoms 0 (Si), 1 (Si)"),
    "stress of a molecule": (4, result("stress", None, np.zeros(6)), "A stress needs three periodic directions", ""),
    "too few forces": (4, result("forces", None, np.zeros((3, 3))), "has shape (3, 3) for 4 atoms", ""),
    "forces of the wrong shape": (4, result("forces", None, np.zeros(12)), "has shape (12,)", ""),
    "five stresses": (3, result("stress", None, np.zeros(5)), "shape (5,)", ""),
    "two energies": (3, result("energy", None, np.zeros(2)), "2 values", ""),
    "energy in words": (3, result("energy", None, "low"), "not numeric", ""),
    "dummy atom": (4, dummy, "dummy species X", "atom 1"),
    "mask of the wrong length": (4, lambda a: a.info.update(energy_sigma=-1.0), "standard deviation", ""),
}


@pytest.mark.parametrize("name", LABELLED)
def test_a_bad_frame_names_itself_and_leaves_the_model_alone(name: str) -> None:
    index, change, message, spot = LABELLED[name]
    structures = frames(6)
    change(structures[index])
    made = model().fit(frames(6))
    before = made.predict(crystal(9)).energy
    for call in (lambda: made.fit(structures), lambda: made.score(structures)):
        with pytest.raises((DataError, SpeciesError)) as error:
            call()
        assert message in error.value.what
        assert f"frame {index}" in error.value.where
        assert spot in error.value.where
        assert error.value.fix
        assert "Fix: " in str(error.value)
    assert made.predict(crystal(9)).energy == before


@pytest.mark.parametrize(
    "name", ["NaN position", "infinite position", "zero volume", "NaN cell", "one spot", "dummy atom"]
)
def test_a_bad_structure_cannot_be_predicted(name: str) -> None:
    index, change, message, spot = LABELLED[name]
    structures = frames(6)
    change(structures[index])
    with pytest.raises((DataError, SpeciesError), match=message.split(" has")[0]) as error:
        fitted().predict(structures)
    assert f"frame {index}" in error.value.where
    assert spot in error.value.where
    with pytest.raises((DataError, SpeciesError), match=message.split(" has")[0]) as error:
        fitted().predict(structures[index])
    assert spot in error.value.where


def alloy(symbols: str) -> Atoms:
    """A chain with an energy."""
    atoms = Atoms(symbols)
    atoms.positions[:, 0] = 2.3 * np.arange(len(atoms))
    atoms.info["energy"] = -1.0
    return atoms


def test_an_element_that_the_model_does_not_know() -> None:
    odd = alloy("SiGeSiC")
    for call in (
        lambda: fitted_two().predict([crystal(1), odd]),
        lambda: fitted_two().score([crystal(1, kinds=["energy"]), odd]),
    ):
        with pytest.raises(SpeciesError, match=r"knows C, Si; here is Ge at atoms 1 \(frame 1\)") as error:
            call()
        assert "gapkit extend" in error.value.fix
    with pytest.raises(SpeciesError, match=r"knows Si; here is C, Ge at atoms 1, 3"):
        fitted().predict(odd)


def test_an_element_that_the_soap_does_not_have() -> None:
    structures = [*frames(2), alloy("SiGe")]
    with pytest.raises(SpeciesError, match=r"knows Si; here is Ge at atoms 1 \(frame 3\)"):
        GAP([SoapTerm(soap_arguments(species=["Si"]), n_sparse=5)], e0={"Ge": 0.0}).fit(structures)


def test_files(tmp_path: Path) -> None:
    (tmp_path / "empty.xyz").write_text("")
    (tmp_path / "text.xyz").write_text("this is no structure\n")
    ase.io.write(tmp_path / "good.xyz", frames(3))
    content = (tmp_path / "good.xyz").read_text()
    (tmp_path / "cut.xyz").write_text(content[: len(content) * 3 // 4])
    (tmp_path / "letter.xyz").write_text(content.replace("Si  ", "Sj  ", 1))
    expected = {
        "nowhere": "does not exist",
        "empty": "is empty",
        "text": "cannot be read",
        "cut": "after 3 readable frames",
        "letter": "cannot be read",
    }
    for name, message in expected.items():
        with pytest.raises(DataError, match=message) as error:
            read_frames(tmp_path / f"{name}.xyz")
        assert f"{name}.xyz" in error.value.where
    assert len(read_frames(tmp_path / "good.xyz")) == 4


NO_STRUCTURES: dict[str, tuple[Any, str]] = {
    "nothing": ([], "There are no structures"),
    "an empty generator": (iter(()), "There are no structures"),
    "none": (None, "Structures are needed, not NoneType"),
    "a path": ("train.xyz", "Structures are needed, not str"),
    "a number": (3, "Structures are needed, not int"),
    "numbers": ([1.0, 2.0], "Not a structure but float"),
    "an empty structure": ([Atoms()], "no atoms"),
}


@pytest.mark.parametrize("name", NO_STRUCTURES)
def test_no_structures(name: str) -> None:
    for call in (model().fit, fitted().predict, fitted().score):
        given, message = NO_STRUCTURES[name]
        given = iter(()) if name == "an empty generator" else given
        with pytest.raises(DataError, match=message):
            call(given)


def test_one_structure_instead_of_a_list() -> None:
    with pytest.raises(DataError, match=r"instead of a list.*pass \[atoms\]"):
        model().fit(crystal())


def test_no_labels() -> None:
    bare = [a.copy() for a in frames(4)]
    bare[1].info["Energie"] = 1.0
    for call in (model().fit, fitted().score):
        with pytest.raises(DataError, match="No frame has an energy, forces or a stress") as error:
            call(bare)
        assert "Energie" in error.value.fix
        assert "Keys" in error.value.fix


def test_a_key_that_matches_nothing() -> None:
    structures = frames(4)
    structures[1].info["dft_enrgy"] = -3.0
    with pytest.raises(DataError, match=r"No frame has 'dft_energy'.*did you mean 'dft_enrgy'"):
        model(keys=Keys(energy="dft_energy")).fit(structures)


def test_labels_that_noise_switches_off() -> None:
    with pytest.raises(ConfigError, match="σ"):
        model(noise=Noise(None, None, None)).fit(frames())


def test_isolated_atoms_only() -> None:
    for terms in ([SoapTerm(soap_arguments(), n_sparse=1)], [PairTerm(3.5)], None):
        with pytest.raises(GapkitError):
            GAP(terms).fit([atom(), atom()])


def test_more_sparse_points_than_environments_takes_all_and_warns() -> None:
    with pytest.warns(GapkitWarning, match=r"^soap0, Si: 999 sparse points wanted, but only \d environments"):
        made = GAP([SoapTerm(soap_arguments(), zeta=2, n_sparse=1000)], e0={"Si": 0.0}).fit([crystal(0), cluster(0)])
    # the two atoms of the cell are images of each other by inversion, and the isolated atom is added
    assert made.state_.terms[0].n_columns == 1 + 4 + 1


WRONG_SETTINGS: dict[str, tuple[Callable[[], GAP], str]] = {
    "SOAP cutoff": (lambda: GAP([SoapTerm({"r_cut": 1.0, "n_max": 2, "l_max": 2})]), "bigger than 1"),
    "pair cutoff": (lambda: GAP([PairTerm(r_cut=1.0)]), "r_cut=1 Å"),
    "no terms": (lambda: GAP([]), "no terms"),
    "a term alone": (lambda: GAP(PairTerm()), "no list of terms"),  # type: ignore[arg-type]
    "words as terms": (lambda: GAP(["soap"]), "no list of terms"),  # type: ignore[list-item]
    "a number as noise": (lambda: model(noise=0.1), "noise=0.1 is no Noise"),
    "negative noise": (lambda: model(noise=Noise(forces=-0.1)), "Noise.forces=-0.1"),
    "noise of an unknown kind": (lambda: model(noise=Noise(groups={"a": {"virial": 0.1}})), "no kind 'virial'"),
    "unknown element in e0": (lambda: model(e0={"Sj": 1.0}), "'Sj', which is not an element"),
    "e0 of the wrong kind": (lambda: model(e0=-2.5), "e0=-2.5 is no dictionary"),
    "infinite e0": (lambda: model(e0={"Si": np.inf}), "not a finite number"),
    "keys of the wrong kind": (lambda: model(keys="energy"), "keys='energy' are no Keys"),
    "no threads": (lambda: model(n_jobs=0), "n_jobs=0"),
    "half a thread": (lambda: model(n_jobs=0.5), "n_jobs=0.5"),
}


@pytest.mark.parametrize("name", WRONG_SETTINGS)
def test_wrong_settings(name: str) -> None:
    build, message = WRONG_SETTINGS[name]
    made = build()  # the constructor stores; fit complains
    with pytest.raises((ConfigError, SpeciesError)) as error:
        made.fit(frames())
    assert message in str(error.value)
    assert error.value.fix
    assert not hasattr(made, "state_")


def test_threads_are_checked_by_predict_as_well() -> None:
    made = model().fit(frames()).set_params(n_jobs=0)
    with pytest.raises(ConfigError, match="n_jobs=0"):
        made.predict([crystal()])


def test_wrong_seed() -> None:
    for rng in (-1, 0.5, "seed", np.random.RandomState(0)):
        with pytest.raises(ConfigError, match="rng="):
            model().fit(frames(), rng=rng)  # type: ignore[arg-type]


def test_a_damaged_model_file(tmp_path: Path) -> None:
    fitted().save(tmp_path / "a.gap")
    content = (tmp_path / "a.gap").read_bytes()
    (tmp_path / "a.gap").write_bytes(content[: len(content) // 2])
    with pytest.raises(OSError, match=r"damaged or truncated.*a\.gap.*Fix: "):
        load(tmp_path / "a.gap")
