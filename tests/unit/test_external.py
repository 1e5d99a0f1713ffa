"""ASE calculators as baselines: their own numbers, what may be named, and what is said when they fail."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from gapkit.atoms.frame import Frame
from gapkit.atoms.labels import to_frame
from gapkit.baselines import external
from gapkit.baselines.external import TRUSTED, External, register_calculator
from gapkit.errors import ConfigError, DataError
from gapkit.testing.differences import agrees, slope

EVERYTHING = ("energy", "forces", "stress")
LJ = {"sigma": 2.3, "epsilon": 0.2, "rc": 6.0}


class Toy(Calculator):
    """Half a spring to the origin for each atom: records what it is asked for, and fails as it is told to."""

    implemented_properties = ("energy", "forces")
    made = 0

    def __init__(self, k: float = 1.0, fail: str = "", options: Any = None) -> None:
        super().__init__()
        self.k, self.fail, self.options, self.asked = k, fail, options, []
        Toy.made += 1

    def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        self.asked += [(len(atoms), *properties)]
        x = atoms.positions
        self.results = {"energy": 0.5 * self.k * np.sum(x * x) + 3.0 * len(x), "forces": -self.k * x}
        if self.fail and len(x) > 1:
            if self.fail == "raise":
                raise RuntimeError("SCF did not converge")
            self.results[self.fail] = self.results[self.fail] * np.nan


class Spoiler(Toy):
    """Leaves nothing of the structure that it is given."""

    def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        atoms.positions *= -3.0
        atoms.cell[:] = 0.0


@pytest.fixture(autouse=True)
def _registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry of this test's own."""
    monkeypatch.setattr(external, "_registered", {})
    Toy.made = 0


def alloy(seed: int = 0) -> Atoms:
    atoms = bulk("Cu", cubic=True)
    atoms.symbols[:2] = "Au"
    atoms.rattle(0.1, seed=seed)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + np.random.default_rng(seed).uniform(-0.05, 0.05, (3, 3))), True)
    return atoms


def frame(atoms: Atoms, where: str = "t.xyz, frame 7") -> Frame:
    return to_frame(atoms, labels=False, where=where)


@pytest.mark.parametrize(("name", "arguments", "make"), [("emt", None, EMT), ("lj", LJ, lambda: LennardJones(**LJ))])
def test_numbers_are_those_of_the_calculator(name: str, arguments: Any, make: Any) -> None:
    atoms = alloy()
    direct = atoms.copy()
    direct.calc = make()
    found = External(name, arguments).prepared([]).evaluate(frame(atoms), EVERYTHING)
    alone = {}
    for symbol in ("Cu", "Au"):
        lone = Atoms(symbol, [[3.0, 2.0, 1.0]])
        lone.calc = make()
        alone[symbol] = lone.get_potential_energy()
    local = direct.get_potential_energies() - [alone[symbol] for symbol in atoms.symbols]
    assert found.energies_e == pytest.approx(local, rel=1e-12, abs=1e-12)
    total = direct.get_potential_energy() - sum(alone[symbol] for symbol in atoms.symbols)
    assert found.energies_e.sum() == pytest.approx(total, rel=1e-12)
    assert found.forces_ec == pytest.approx(direct.get_forces(), rel=1e-12, abs=1e-14)
    assert found.virial_cc == pytest.approx(direct.get_stress(voigt=False) * atoms.get_volume(), rel=1e-12, abs=1e-14)


def test_laws_by_differences() -> None:
    """E, F and ∂E/∂ε belong together: the stress has ASE's sign."""
    atoms, baseline = alloy(), External("emt").prepared([])
    rng = np.random.default_rng(3)
    move_ec, strain_cc = rng.normal(size=(4, 3)), rng.normal(size=(3, 3))
    strain_cc += strain_cc.T

    def energy(x: float, strain: float = 0.0) -> float:
        moved = atoms.copy()
        moved.positions += x * move_ec
        moved.set_cell(moved.cell.array @ (np.eye(3) + strain * strain_cc), scale_atoms=True)
        return float(baseline.evaluate(frame(moved), ("energy",)).energies_e.sum())

    found = baseline.evaluate(frame(atoms), EVERYTHING)
    agrees(-np.sum(found.forces_ec * move_ec), slope(energy), "F = -dE/dx")
    agrees(np.sum(found.virial_cc * strain_cc), slope(lambda s: energy(0.0, s)), "virial = dE/dε")


@pytest.mark.parametrize("name", ["emt", "lj"])
def test_an_isolated_atom_has_no_energy(name: str) -> None:
    assert EMT().get_potential_energy(Atoms("Cu")) > 1.0
    lone = External(name).evaluate(frame(Atoms("Cu", [[1.0, 2.0, 3.0]])), ("energy", "forces"))
    assert lone.energies_e == pytest.approx([0.0], abs=1e-12)
    assert not lone.forces_ec.any()


def test_without_energies_of_atoms_the_energy_is_shared_evenly() -> None:
    register_calculator("toy", Toy)
    positions = np.array([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0]])
    found = External("toy", {"k": 2.0}).evaluate(frame(Atoms("CuAuCu", positions)), ("energy", "forces"))
    # each atom alone, at the origin, has 3 eV
    assert found.energies_e == pytest.approx(np.full(3, 14.0 / 3.0), rel=1e-14)
    assert found.forces_ec == pytest.approx(-2.0 * positions, rel=1e-14)


def test_only_what_is_needed_is_asked_for_and_once() -> None:
    made = []
    register_calculator("toy", lambda: made.append(Toy()) or made[-1])
    baseline, atoms = External("toy"), frame(Atoms("Cu2", [[0, 0, 1], [0, 0, 3]]))
    assert not made
    energy_only = baseline.evaluate(atoms, ())
    assert (energy_only.forces_ec, energy_only.virial_cc) == (None, None)
    assert made[0].asked == [(1, "energy"), (2, "energy")]
    baseline.evaluate(frame(Atoms("Cu2", [[0, 0, 1], [0, 0, 4]])), ("forces",))
    assert made[0].asked[2:] == [(2, "forces")]
    assert len(made) == 1
    baseline.set_params(arguments={})
    baseline.evaluate(atoms, ())
    assert len(made) == 1
    register_calculator("toy", lambda k: made.append(Toy(k)) or made[-1])
    baseline.set_params(arguments={"k": 2.0})
    assert baseline.evaluate(atoms, ()).energies_e.sum() == pytest.approx(10.0, rel=1e-14)
    assert len(made) == 2


def test_frames_stay_as_they_are() -> None:
    register_calculator("spoiler", Spoiler)
    structure = frame(alloy())
    held = structure.positions_ec.copy(), structure.cell_cc.copy()
    External("spoiler").evaluate(structure, ())
    assert np.array_equal(structure.positions_ec, held[0])
    assert np.array_equal(structure.cell_cc, held[1])


def test_arguments_stay_as_they_are() -> None:
    given: dict[str, Any] = {"k": 2.0, "options": {"list": [1, 2]}}
    register_calculator("toy", lambda k, options: options["list"].append(3) or Toy(k))
    structure = frame(Atoms("Cu2", [[0, 0, 1], [0, 0, 3]]))
    ready = External("toy", given).prepared([structure])
    first = ready.evaluate(structure, ("forces",))
    assert first.forces_ec == pytest.approx(ready.evaluate(structure, ("forces",)).forces_ec, rel=0)
    assert given == {"k": 2.0, "options": {"list": [1, 2]}} == ready.get_params()["arguments"]
    given["options"]["list"].append(4)
    assert ready.get_params()["arguments"]["options"] == {"list": [1, 2]}


def test_a_slab_has_a_stress_and_a_molecule_does_not() -> None:
    slab = fcc111("Cu", (1, 1, 3), vacuum=6.0)
    slab.rattle(0.1, seed=1)
    direct = slab.copy()
    direct.calc = EMT()
    found = External("emt").evaluate(frame(slab), ("stress",))
    assert found.virial_cc == pytest.approx(direct.get_stress(voigt=False) * slab.get_volume(), rel=1e-12)
    with pytest.raises(DataError, match=r"without a cell has no stress \(t.xyz, frame 7\). Fix: leave stress out"):
        External("emt").evaluate(frame(molecule("N2")), EVERYTHING)


@pytest.mark.parametrize(
    ("fail", "kinds", "error", "message"),
    [
        ("", EVERYTHING, ConfigError, r"'toy' has no stress \(t.xyz, frame 7\). Fix: .*Noise\(stress=None\)"),
        ("raise", (), DataError, r"'toy' failed \(RuntimeError: SCF did not converge\) \(t.xyz, frame 7\). Fix: check"),
        ("energy", (), DataError, r"energy of calculator 'toy' has NaN or infinite numbers \(t.xyz, frame 7\)"),
        ("forces", ("forces",), DataError, r"forces of calculator 'toy' has NaN or infinite numbers"),
    ],
)
def test_failures(fail: str, kinds: Any, error: type[Exception], message: str) -> None:
    register_calculator("toy", Toy)
    pair = Atoms("Cu2", [[0, 0, 1], [0, 0, 3]], cell=[9, 9, 9], pbc=True)
    baseline = External("toy", {"fail": fail})
    with pytest.raises(error, match=message):
        baseline.evaluate(frame(pair), kinds)
    if fail == "forces":  # the energy alone is in order
        assert np.isfinite(baseline.evaluate(frame(pair), ()).energies_e).all()


def test_an_element_that_the_calculator_does_not_know() -> None:
    with pytest.raises(DataError, match=r"'emt' failed \(.*\) \(isolated Si atom, whose energy is taken off\)"):
        External("emt").evaluate(frame(bulk("Si")), ())


@pytest.mark.parametrize("name", ["os", "os:system", "ase.calculators.emt:EMT", "vasp", "", "EMT", 3, None, ["emt"]])
def test_nothing_but_trusted_and_registered_names_is_looked_up(name: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def imported(module: str) -> None:
        raise AssertionError(f"{module} was imported")

    monkeypatch.setattr(external, "import_module", imported)
    with pytest.raises(ConfigError, match=r"is not known. Fix: call gapkit.register_calculator\(.*built in are "):
        External(name).prepared([])


def test_trusted_calculators_run_no_programs() -> None:
    assert {module.split(".")[0] for module, _, _ in TRUSTED.values()} == {"ase", "tblite", "dftd3", "dftd4"}
    for key in ("command", "directory", "label", "restart", "parameters"):
        with pytest.raises(ConfigError, match=f"'emt' may not be given {key}. Fix: leave it out"):
            External("emt", {key: "anything"}).prepared([])


@pytest.mark.parametrize(
    "arguments",
    [{"k": value} for value in (np.float32(1.0), np.nan, np.inf, (1, 2), {1: 2}, np.ones(2), EMT())] + [[1], "k"],
)
def test_arguments_that_a_model_file_cannot_hold(arguments: Any) -> None:
    register_calculator("toy", Toy)
    with pytest.raises(ConfigError, match=r"cannot be kept in a model file. Fix: give \{name: value\}"):
        External("toy", arguments).prepared([])


def test_arguments_that_the_calculator_does_not_take() -> None:
    register_calculator("toy", Toy)
    with pytest.raises(ConfigError, match=r"'toy' cannot be made of \{'q': 1\} \(TypeError: .*'q'\). Fix: correct"):
        External("toy", {"q": 1}).prepared([])


@pytest.mark.parametrize(("name", "package"), [("tblite", "tblite"), ("dftd4", "dftd4")])
def test_a_missing_package(name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, f"{package}.ase", None)
    with pytest.raises(ConfigError, match=f"'{name}' needs the package {package}, .*Fix: pip install {package}"):
        External(name).prepared([])


@pytest.mark.parametrize(
    ("name", "factory", "message"),
    [
        ("emt", Toy, "cannot be registered as 'emt'"),
        ("", Toy, "cannot be registered as ''"),
        (3, Toy, "cannot be registered as 3"),
        ("toy", "Toy", "factory of 'toy' cannot be called"),
    ],
)
def test_registration_that_is_refused(name: Any, factory: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        register_calculator(name, factory)


def test_settings_survive_json_and_copies_and_the_calculator_is_in_none() -> None:
    register_calculator("toy", Toy)
    structure = frame(Atoms("Cu2", [[0, 0, 1], [0, 0, 3]]))
    baseline = External("toy", {"k": 2.0}).prepared([structure])
    before = baseline.evaluate(structure, ()).energies_e
    made = Toy.made
    again = External(**json.loads(json.dumps(baseline.get_params())))
    for other in (copy.copy(baseline), copy.deepcopy(baseline), pickle.loads(pickle.dumps(baseline)), again):
        assert vars(other) == {"name": "toy", "arguments": {"k": 2.0}}
        assert other.evaluate(structure, ()).energies_e == pytest.approx(before, rel=0)
    assert Toy.made == made + 4


def test_other_processes_get_the_registered_factory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one without a name of its own, that the standard pickle cannot send."""
    k = 7.0
    register_calculator("lambda", lambda: LennardJones(epsilon=k))
    sent = pickle.dumps(External("lambda"))
    program = (
        "import pickle, sys\nfrom ase import Atoms\nfrom gapkit.atoms.labels import to_frame\n"
        "baseline = pickle.loads(sys.stdin.buffer.read())\n"
        "frame = to_frame(Atoms('Cu2', [[0, 0, 0], [0, 0, 1.2]]), labels=False)\n"
        "print(repr(float(baseline.evaluate(frame, ()).energies_e.sum())))"
    )
    output = subprocess.run([sys.executable, "-c", program], input=sent, stdout=subprocess.PIPE, check=True).stdout
    dimer = Atoms("Cu2", [[0, 0, 0], [0, 0, 1.2]], calculator=LennardJones(epsilon=k))
    assert float(output) == pytest.approx(dimer.get_potential_energy(), rel=1e-12)
    # what this process knows is not replaced by what comes in
    register_calculator("lambda", Toy)
    pickle.loads(sent)
    assert external._registered["lambda"] is Toy


def test_a_factory_that_cannot_be_sent() -> None:
    lock = threading.Lock()
    register_calculator("stuck", lambda: Toy(options=lock))
    baseline = External("stuck")
    assert copy.deepcopy(baseline).name == "stuck"
    with pytest.raises(ConfigError, match=r"'stuck' cannot be sent to other processes .*Fix: use n_jobs=1"):
        pickle.dumps(baseline)


def test_threads_have_a_calculator_each() -> None:
    register_calculator("toy", Toy)
    baseline, together = External("toy"), threading.Barrier(4)

    def energy(k: int) -> float:
        together.wait(20.0)
        structure = frame(Atoms("Cu2", [[0, 0, 1], [0, 0, 2.0 + k]]))
        return float(baseline.evaluate(structure, ("forces",)).energies_e.sum())

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(energy, range(40)))
    assert found == pytest.approx([0.5 * (1 + (2.0 + k) ** 2) for k in range(40)], rel=1e-12)
    assert Toy.made == 4


def test_gfn2_of_ethanol() -> None:
    TBLite = pytest.importorskip("tblite.ase").TBLite
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.05, seed=0)
    found = External("tblite", {"method": "GFN2-xTB"}).evaluate(frame(atoms), ("energy", "forces"))
    atoms.calc = TBLite(method="GFN2-xTB", verbosity=0)
    alone = {s: Atoms(s, calculator=TBLite(method="GFN2-xTB", verbosity=0)).get_potential_energy() for s in "CHO"}
    total = atoms.get_potential_energy() - sum(alone[symbol] for symbol in atoms.symbols)
    assert -60.0 < total < -20.0  # the energy of atomisation is 33 eV in nature
    assert found.energies_e.sum() == pytest.approx(total, abs=1e-6)
    assert found.forces_ec == pytest.approx(atoms.get_forces(), abs=1e-6)
