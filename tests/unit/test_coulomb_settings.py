"""Settings of the Coulomb baseline: where charges come from, what happens to an excess of them, and what is refused."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.units import Bohr, Hartree
from sklearn.base import clone

from gapkit.atoms.frame import Frame
from gapkit.atoms.labels import Keys, to_frame
from gapkit.baselines.coulomb import Coulomb
from gapkit.baselines.oxidation import STATES, formal_charges
from gapkit.errors import ConfigError, DataError, SpeciesError
from tests.contributions import arrays, energy, evaluate, same

E2 = Hartree * Bohr
ALL = ("energy", "forces", "stress")
POINTS = Coulomb({"Na": 1, "Cl": -1}, width=0.0)


def salt() -> Atoms:
    """A rattled crystal of two ions."""
    atoms = bulk("NaCl", "rocksalt", a=5.64)
    atoms.positions[1] += [0.2, -0.1, 0.3]
    return atoms


def layer() -> Atoms:
    """Two ions on a square lattice, periodic in the plane."""
    plane = [[4.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 0.0]]
    return Atoms("NaCl", positions=[[0.0, 0.0, 0.0], [2.0, 2.0, 0.5]], cell=plane, pbc=[True, True, False])


def test_scale_and_kinds() -> None:
    atoms = salt()
    one = evaluate(Coulomb({"Na": 1, "Cl": -1}), atoms)
    for baseline, factor in (
        (Coulomb({"Na": 1, "Cl": -1}, scale=0.8), 0.64),
        (Coulomb({"Na": 0.8, "Cl": -0.8}), 0.64),
        (Coulomb({"Na": 1, "Cl": -1}, scale="fit"), 1.0),
        (Coulomb({"Na": 1, "Cl": -1}, scale="fit").scaled(0.3), 0.3),
        (Coulomb({"Na": 1, "Cl": -1}, scale=7.0).scaled(0.3), 0.3),
        (Coulomb({"Na": 1, "Cl": -1}).scaled(0.0), 0.0),
    ):
        for mine, theirs in zip(arrays(evaluate(baseline, atoms)), arrays(one), strict=True):
            assert mine == pytest.approx(factor * theirs, rel=1e-12, abs=1e-12)
    bare = Coulomb({"Na": 1, "Cl": -1}).evaluate(to_frame(atoms), ("energy",))
    assert (bare.forces_ec, bare.virial_cc) == (None, None)
    assert bare.energies_e == pytest.approx(one.energies_e, rel=1e-14)
    with pytest.raises(ConfigError, match="energy_factor=-1"):
        Coulomb({"Na": 1}).scaled(-1)


def test_settings_travel_as_json_and_prepared_keeps_them() -> None:
    frames = [to_frame(bulk("NaCl", "rocksalt", a=5.64), where="t.xyz, frame 0"), to_frame(Atoms("Ag"))]
    given = Coulomb({"Na": 1, "Cl": -1}, scale="fit", excess="share", width=0.7, vacuum=9)
    ready = given.prepared(frames)
    assert ready.get_params() == given.get_params()
    twin = Coulomb(**json.loads(json.dumps(ready.get_params())))
    assert np.array_equal(twin.evaluate(frames[0], ()).energies_e, given.evaluate(frames[0], ()).energies_e)
    assert clone(given).get_params() == given.get_params()
    assert given.reach == math.inf
    assert repr(POINTS) == "Coulomb(charges={'Na': 1, 'Cl': -1}, width=0.0)"
    assert Coulomb("oxidation").prepared(frames).charges == {"Na": 1.0, "Cl": -1.0}
    whole = Coulomb({"Na": np.int64(1), "Cl": -1}).prepared(frames)
    assert json.dumps(whole.charges) == '{"Na": 1.0, "Cl": -1.0}'


def test_charges_of_the_structure() -> None:
    atoms = salt()
    fixed = evaluate(Coulomb({"Na": 0.9, "Cl": -0.9}), atoms)
    own = Coulomb("initial_charges")
    with pytest.raises(
        DataError, match=r"brings no charges for Coulomb \(b\.xyz\).*set_initial_charges.*Keys\(charges"
    ):
        own.evaluate(to_frame(atoms, where="b.xyz"), ())
    atoms.set_array("bader", np.array([0.9, -0.9]))
    frame = to_frame(atoms, keys=Keys(charges="bader"), labels=False)
    same(own.prepared([frame]).evaluate(frame, ALL), fixed)
    atoms.set_initial_charges([0.9, -0.9])
    same(evaluate(own, atoms), fixed)


def test_what_happens_to_an_excess_of_charge() -> None:
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    del atoms[int(np.flatnonzero(atoms.symbols == "Cl")[0])]
    frame = to_frame(atoms, where="d.xyz, frame 4")
    with pytest.raises(DataError, match=r"Na4Cl3 sum to \+1 e, not to 0 \(d\.xyz, frame 4\).*share.*background"):
        POINTS.evaluate(frame, ())
    with pytest.raises(DataError, match="sum to"):
        POINTS.prepared([frame])
    shared = atoms.copy()
    shared.set_initial_charges(np.where(atoms.numbers == 11, 1.0, -1.0) - 1.0 / 7.0)
    spread = Coulomb({"Na": 1, "Cl": -1}, excess="share")
    same(evaluate(spread, atoms), evaluate(Coulomb("initial_charges"), shared))
    assert not evaluate(spread, bulk("Na")).energies_e.any()
    charged = layer() + Atoms("Na", positions=[[0.0, 2.0, 3.0]])
    for excess, outcome in {"refuse": "sum to", "background": "charged slab has no finite energy"}.items():
        with pytest.raises(DataError, match=outcome):
            Coulomb({"Na": 1, "Cl": -1}, excess=excess).evaluate(to_frame(charged), ())
    assert np.isfinite(energy(spread, charged))
    ion = Atoms("NaClCl", positions=[[0.0, 0.0, 0.0], [2.0, 0.0, 0.0], [0.0, 9.0, 0.0]])
    with pytest.raises(DataError, match=r"NaCl2|Cl2Na"):
        POINTS.evaluate(to_frame(ion), ())
    expected = E2 * (-1 / 2 - 1 / 9 + 1 / math.hypot(2, 9))
    assert energy(Coulomb({"Na": 1, "Cl": -1}, width=0.0, excess="background"), ion) == pytest.approx(expected)


def test_a_hair_of_excess_is_neutral() -> None:
    atoms = layer()
    for excess, refused in ((0.9e-6, False), (1.1e-6, True)):
        atoms.set_initial_charges([1.0, -1.0 + excess])
        if refused:
            with pytest.raises(DataError, match="sum to"):
                energy(Coulomb("initial_charges"), atoms)
        else:
            assert energy(Coulomb("initial_charges", width=0.0), atoms) == pytest.approx(
                energy(POINTS, atoms), rel=1e-6
            )


def test_isolated_atoms_have_no_energy() -> None:
    lone = [Atoms("Na"), Atoms("Na", cell=[12, 12, 12], pbc=True), Atoms("Na", cell=[5, 5, 5], pbc=True)]
    lone[2].info["config_type"] = "isolated_atom"
    for atoms in lone:
        for excess in ("refuse", "background"):
            values = arrays(evaluate(Coulomb({"Na": 1}, excess=excess).prepared([to_frame(atoms)]), atoms))
            assert not any(value.any() for value in values)


def test_unknown_elements_and_wires_are_refused() -> None:
    atoms = bulk("NaBr", "rocksalt", a=5.9, cubic=True)
    frame = to_frame(atoms, where="e.xyz, frame 2")
    for call in (lambda: POINTS.evaluate(frame, ()), lambda: POINTS.prepared([frame])):
        with pytest.raises(SpeciesError, match=r"no charge of Br, only of Na, Cl \(e\.xyz, frame 2, atom 1\).*'Br'"):
            call()
    wire = to_frame(Atoms("NaCl", positions=[[0, 0, 0], [0, 0, 2.5]], cell=[0, 0, 5], pbc=[0, 0, 1]), where="w")
    boxed = to_frame(Atoms("NaCl", positions=[[0, 0, 0], [0, 0, 2.5]], cell=[20, 20, 5], pbc=True), where="w")
    for baseline, structure in ((POINTS, wire), (Coulomb({"Na": 1, "Cl": -1}, vacuum=8.0), boxed)):
        with pytest.raises(DataError, match=r"one periodic direction.*\(w\).*Fix: make the structure periodic"):
            baseline.evaluate(structure, ())
        with pytest.raises(DataError, match="one periodic direction"):
            baseline.prepared([structure])


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"charges": "bader"}, ConfigError, "'bader' are no charges.*'oxidation' or 'initial_charges'"),
        ({"charges": {}}, ConfigError, "are no charges"),
        ({"charges": 1.0}, ConfigError, "are no charges"),
        ({"charges": {"Nq": 1}}, SpeciesError, "'Nq', which is not an element"),
        ({"charges": {11: 1}}, SpeciesError, "11, which is not an element"),
        ({"charges": {"Na": "1"}}, ConfigError, "charge of Na is '1'"),
        ({"charges": {"Na": math.nan}}, ConfigError, "charge of Na is nan"),
        ({"charges": {"Na": 1}, "scale": "free"}, ConfigError, "Coulomb.scale='free'"),
        ({"charges": {"Na": 1}, "scale": -0.5}, ConfigError, "Coulomb.scale=-0.5"),
        ({"charges": {"Na": 1}, "excess": "shared"}, ConfigError, "'shared' is unknown.*did you mean 'share'"),
        ({"charges": {"Na": 1}, "width": -0.1}, ConfigError, "Coulomb.width=-0.1"),
        ({"charges": {"Na": 1}, "vacuum": 0.0}, ConfigError, "Coulomb.vacuum=0.0"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Coulomb(**settings).prepared([])


def test_an_unprepared_baseline_says_so() -> None:
    with pytest.raises(ConfigError, match="has not been prepared"):
        Coulomb("oxidation").evaluate(to_frame(bulk("NaCl", "rocksalt", a=5.64)), ())


def frames_of(*formulas: str) -> list[Frame]:
    """Frames with these compositions, in which all atoms are far apart."""
    found = []
    for k, formula in enumerate(formulas):
        n_atoms = len(Atoms(formula))
        x = np.column_stack([3.0 * np.arange(n_atoms), np.zeros((n_atoms, 2))])
        found.append(to_frame(Atoms(formula, x), where=f"t.xyz, frame {k}"))
    return found


@pytest.mark.parametrize(
    ("formulas", "charges"),
    [
        (["NaCl"], {"Na": 1, "Cl": -1}),
        (["MgAl2O4", "MgO", "Al2O3"], {"O": -2, "Mg": 2, "Al": 3}),
        (["BaTiO3", "Ba2Ti2O6"], {"O": -2, "Ti": 4, "Ba": 2}),
        (["Ti2O3"], {"O": -2, "Ti": 3}),
        (["LiFePO4"], {"Li": 1, "O": -2, "P": 5, "Fe": 2}),
        (["FePO4"], {"O": -2, "P": 5, "Fe": 3}),
        (["SiO2", "Si3N4"], {"N": -3, "O": -2, "Si": 4}),
        (["SiC"], {"C": -4, "Si": 4}),
        (["CaCO3"], {"C": 4, "O": -2, "Ca": 2}),
        (["CH4"], {"H": 1, "C": -4}),
        (["SiH4"], {"H": -1, "Si": 4}),
        (["NaH"], {"H": -1, "Na": 1}),
        (["H2O"], {"H": 1, "O": -2}),
        (["H2O2"], {"H": 1, "O": -1}),
        (["NH4Cl"], {"H": 1, "N": -3, "Cl": -1}),
        (["HNO3"], {"H": 1, "N": 5, "O": -2}),
        (["Na2SO4"], {"O": -2, "Na": 1, "S": 6}),
        (["NaClO4"], {"O": -2, "Na": 1, "Cl": 7}),
        (["CsPbI3"], {"I": -1, "Cs": 1, "Pb": 2}),
        (["GaAs"], {"Ga": 3, "As": -3}),
        (["Bi2Te3"], {"Te": -2, "Bi": 3}),
        (["Cu2O"], {"O": -2, "Cu": 1}),
        (["YBa2Cu3O6"], None),  # mixed valence
        (["Fe3O4"], None),
        (["FePO4", "LiFePO4"], None),  # two charges of iron
        (["NaCl", "Na2"], None),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_formal_charges(formulas: list[str], charges: dict[str, float] | None) -> None:
    if charges is None:
        with pytest.raises(DataError, match=r"No common oxidation states.*\(t\.xyz, frame \d\).*excess='share'"):
            formal_charges(frames_of(*formulas))
    else:
        assert formal_charges(frames_of(*formulas)) == charges


def test_the_first_frame_that_is_not_neutral_is_named_with_its_sum() -> None:
    frames = frames_of("NaCl", "Na2Cl2", "Na2Cl", "NaCl2")
    message = r"with Na \+1, Cl -1 the charges of Na2Cl sum to \+1 e \(t\.xyz, frame 2\)"
    with pytest.raises(DataError, match=message):
        formal_charges(frames)
    with pytest.raises(DataError, match=message):
        Coulomb("oxidation").prepared(frames)
    shared = Coulomb("oxidation", excess="share").prepared(frames)
    assert shared.charges == {"Na": 1.0, "Cl": -1.0}
    with pytest.raises(DataError, match="No common oxidation states"):  # an alloy has no ions
        formal_charges(frames_of("CuAu", "Cu3Au"), strict=False)


def test_the_choice_leaves_as_few_frames_charged_as_it_can() -> None:
    frames = frames_of("Fe2O3", "FeO", "FeO")
    assert formal_charges(frames, strict=False) == {"O": -2.0, "Fe": 2.0}
    assert formal_charges(frames[:2], strict=False) == {"O": -2.0, "Fe": 3.0}
    with pytest.raises(DataError, match="no structures, other than isolated atoms"):
        Coulomb("oxidation").prepared([to_frame(Atoms("Na"))])


def test_the_table_of_states() -> None:
    assert len(STATES) == 96
    for symbol, states in STATES.items():
        assert Atoms(symbol).numbers[0] > 0
        assert len(set(states)) == len(states)
        assert all(-4 <= state <= 8 for state in states)
    with pytest.raises(SpeciesError, match=r"no common oxidation state of Bk \(t\.xyz, frame 1\).*'Bk'"):
        formal_charges(frames_of("MgO", "BkO2"))
    many = "".join(symbol for symbol, states in STATES.items() if len(states) > 1)
    with pytest.raises(ConfigError, match="too many combinations"):
        formal_charges(frames_of(many))


def test_oxidation_is_resolved_once_and_isolated_atoms_do_not_count() -> None:
    frames = [*frames_of("MgO"), to_frame(Atoms("Ag"))]
    ready = Coulomb("oxidation", scale="fit").prepared(frames)
    assert ready.charges == {"O": -2.0, "Mg": 2.0}
    assert ready.prepared(frames).get_params() == ready.get_params()
    assert np.isfinite(ready.evaluate(to_frame(bulk("MgO", "rocksalt", a=4.2)), ()).energies_e).all()
    with pytest.raises(DataError, match="sum to"):
        ready.evaluate(to_frame(molecule("O2")), ())
