"""The sentinel: its estimate against exact variances, one flag per excursion, every action, every way to attach it."""

from __future__ import annotations

import copy
import pickle
import warnings
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.morse import MorsePotential
from ase.filters import FrechetCellFilter
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS

from gapkit import GAP, Calibration, ConfigError, GAPCalculator, GapkitWarning, Scale
from gapkit.atoms.labels import to_frame
from gapkit.atoms.neighbours import NeighbourList
from gapkit.gp.design import frame_rows
from gapkit.model.spread import spreads
from gapkit.uncertainty import Flag, Sentinel, SentinelStop
from gapkit.uncertainty.estimate import Estimate, Weights, first_guess, rms
from gapkit.uncertainty.limits import read_limit
from gapkit.uncertainty.watch import EXACT, FIRST_REFRESH, LAST_REFRESH, Schedule
from tests.samples import unguarded

FORCES = {14: Scale(np.array([0.01, 0.1]), np.array([0.02, 0.4]), 0.3), 0: Scale(np.ones(1), np.ones(1))}


def calibrated() -> GAP:
    """`unguarded()` with a calibration that is neither a factor nor blind to what its parts are."""
    model = copy.copy(unguarded())
    rng = np.random.default_rng(0)
    sigma_x = rng.uniform(0.05, 0.2, 2000)
    samples = np.stack([sigma_x, sigma_x * np.abs(rng.standard_normal(2000))], axis=1)
    scales = {"forces": FORCES, "energy": {0: Scale(np.ones(1), np.ones(1))}}
    model.calibration_ = Calibration(scales, {}, {"forces": samples})
    return model


def crystal(amplitude: float = 0.0) -> Atoms:
    """16 atoms, one of which is pushed towards another: σ rises with the amplitude."""
    atoms = bulk("Si", a=5.0) * 2
    atoms.rattle(0.03, seed=1)
    atoms.positions[3] += amplitude * np.array([0.6, 0.5, -0.2])
    return atoms


def sigma(model: GAP, amplitude: float) -> float:
    """Largest exact σ, rms over components, eV/Å."""
    return float(rms(model.predict(crystal(amplitude), {"forces_std"}).forces_std).max())


def moving(sentinel: Sentinel, atoms: Atoms, amplitudes: Any) -> None:
    """Look at the structure for every amplitude."""
    for amplitude in amplitudes:
        atoms.positions = crystal(amplitude).positions
        atoms.get_forces()
        sentinel()


def excursions(n: int, looks: int = 80) -> Any:
    """There and back n times."""
    return 0.5 - 0.5 * np.cos(np.linspace(0.0, 2.0 * np.pi * n, n * looks + 1))


def watched(limit: str | None, model: GAP | None = None, **options: Any) -> tuple[Sentinel, Atoms]:
    atoms = crystal()
    atoms.calc = GAPCalculator(model or calibrated())
    return Sentinel(atoms.calc, limit, **options), atoms


@pytest.fixture
def limit() -> str:
    """Half-way between the smallest and the largest σ of `excursions`."""
    model = calibrated()
    return f"{0.5 * (sigma(model, 0.0) + sigma(model, 1.0)):.6f} eV/Å"


def data_part(model: GAP, atoms: Atoms) -> np.ndarray:
    """k*ᵀA⁻¹k* of the forces, mean over components, from the rows of a fit."""
    frame = to_frame(atoms, labels=False)
    pairs = NeighbourList(model.reach).pairs(frame)
    rows = frame_rows(model.state_.terms, pairs, {"forces"})
    return spreads(model.state_, frame, pairs, rows, {"forces"}, 1e9)["forces"].data_xc.mean(axis=1)


def test_deviations_of_samples_average_to_the_variance() -> None:
    """Of n samples within four standard errors; that of the mean of d² of three components is at most √(2/n) of it."""
    model, atoms, n = unguarded(), crystal(0.5), 600
    variance_e, p = data_part(model, atoms), model.predict(atoms)
    calc, weights = GAPCalculator(model), Weights(model, np.random.default_rng(3))
    calc.sampler = lambda _: weights.draw()
    total_e = np.zeros(len(atoms))
    for _ in range(n):
        calc.reset()
        calc.get_property("forces", atoms)
        total_e += rms(calc.prediction.forces_sample - p.forces) ** 2
    assert total_e / n == pytest.approx(variance_e, rel=4.0 * np.sqrt(2.0 / n))
    guess_e = first_guess(model, atoms, p.forces, np.random.default_rng(0))
    assert guess_e == pytest.approx(variance_e, rel=4.0 * np.sqrt(2.0 / 16))


@pytest.mark.parametrize("model", [calibrated(), unguarded()], ids=["calibrated", "raw"])
def test_the_estimate_is_exact_where_it_has_learned_and_follows_from_there(model: GAP) -> None:
    atoms, later = crystal(0.3), crystal(0.45)
    exact, exact_later = (model.predict(a, EXACT) for a in (atoms, later))
    estimate = Estimate(model, atoms.numbers, data_part(model, atoms), 10.0)
    estimate.learn(exact)
    assert estimate.std_e == pytest.approx(rms(exact.forces_std), rel=1e-9)
    shift_ec = np.sqrt(data_part(model, later))[:, None] * np.array([1.0, -1.0, 1.0])
    for _ in range(200):
        alone_e = estimate.sample(shift_ec)
    assert estimate.std_e == pytest.approx(alone_e, rel=1e-6)  # nothing else was ever sampled
    assert estimate.std_e == pytest.approx(rms(exact_later.forces_std), rel=0.35)
    assert abs(np.log(estimate.std_e.max() / rms(exact_later.forces_std).max())) < abs(
        np.log(rms(exact.forces_std).max() / rms(exact_later.forces_std).max())
    )


@pytest.mark.parametrize(("n", "seed"), [(1, 0), (3, 0), (3, 1), (3, 2), (3, 3)])
def test_one_flag_per_excursion_with_an_exact_sigma(n: int, seed: int, limit: str) -> None:
    sentinel, atoms = watched(limit, rng=seed)
    amplitudes = excursions(n)
    moving(sentinel, atoms, amplitudes)
    assert len(sentinel.flags) == n
    for flag in sentinel.flags:
        p = calibrated().predict(crystal(amplitudes[flag.step]), EXACT)
        worst = int(rms(p.forces_std).argmax())
        assert (flag.kind, flag.atom, flag.symbol, flag.unit) == ("forces_std", worst, "Si", "eV/Å")
        assert flag.sigma == flag.value == pytest.approx(rms(p.forces_std)[worst], rel=1e-9)
        assert flag.sigma >= flag.limit == float(limit.split()[0])
        assert flag.extrapolation == pytest.approx(p.extrapolation[worst], rel=1e-9)
        assert flag.nearest == calibrated().origin(int(p.nearest[worst]))
        assert flag.energy == pytest.approx(p.energy, abs=1e-9)
        assert f"Si {worst}" in flag.message
    assert sentinel.exact_evaluations < len(amplitudes) / 8


def test_an_excursion_is_noticed_in_time(limit: str) -> None:
    sentinel, atoms = watched(limit)
    amplitudes = excursions(1, 400)
    moving(sentinel, atoms, amplitudes)
    model, least = calibrated(), float(limit.split()[0])
    passed = next(k for k, a in enumerate(amplitudes) if sigma(model, a) > least)
    assert passed <= sentinel.flags[0].step <= passed + 60


def test_below_the_limit_there_is_no_flag() -> None:
    model = calibrated()
    sentinel, atoms = watched(f"{1.05 * sigma(model, 1.0)} eV/Å", model)
    moving(sentinel, atoms, excursions(3))
    assert sentinel.flags == []
    assert 2 <= sentinel.exact_evaluations < 240 / 8


def test_a_jump_is_seen_at_once(limit: str) -> None:
    """What no sample shows in time, the extrapolation does."""
    sentinel, atoms = watched(limit)
    moving(sentinel, atoms, [0.001 * k for k in range(9)])
    moving(sentinel, atoms, [1.0, 1.001])
    assert [flag.step in (9, 10) for flag in sentinel.flags] == [True]


def test_samples_alone_see_a_jump_soon(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gapkit.uncertainty.watch.NOVEL", 1e9)
    sentinel, atoms = watched(limit)
    moving(sentinel, atoms, np.linspace(0.0, 0.01, 30))
    moving(sentinel, atoms, np.linspace(1.0, 1.001, 15))
    assert len(sentinel.flags) == 1


def test_the_structure_is_found_although_its_forces_are_known() -> None:
    atoms = crystal()
    atoms.calc = GAPCalculator(calibrated())
    atoms.get_forces()
    dynamics = run(atoms)
    sentinel = Sentinel(atoms.calc, TIGHT)
    dynamics.attach(sentinel, interval=1)
    dynamics.run(1)
    assert len(sentinel.flags) == 1


def test_every_second_calculation_brings_a_sample(limit: str) -> None:
    sentinel, atoms = watched(limit)
    drawn = []
    for k in range(20):
        atoms.positions = crystal(0.01 * k).positions
        atoms.get_forces()
        drawn.append(atoms.calc.prediction.forces_sample is not None)
        sentinel()
    assert sum(drawn) == 10
    sentinel, atoms = watched(limit, every=5)
    drawn.clear()
    for k in range(41):
        atoms.positions = crystal(0.01 * k).positions
        atoms.get_forces()
        drawn.append(atoms.calc.prediction.forces_sample is not None)
        if k % 5 == 0:
            sentinel()
    assert [k for k in range(6, 41) if drawn[k]] == list(range(10, 41, 5))


def test_exact_evaluations_become_rare() -> None:
    schedule, done = Schedule(), []
    for clock in range(1, 4000):
        if schedule.due(clock, 0.1):
            schedule.done(clock, 0.1)
            done.append(clock)
    gaps = np.diff(done)
    assert done[0] == 1
    assert gaps[0] == FIRST_REFRESH
    assert gaps[-1] == LAST_REFRESH
    assert schedule.due(4000, 0.13)
    assert not schedule.due(4000, 0.11)


def run(atoms: Atoms, steps: int = 6, **kwargs: Any) -> VelocityVerlet:
    """A dynamics with hot atoms, not yet run."""
    atoms.set_momenta(np.random.default_rng(0).normal(scale=3.0, size=(len(atoms), 3)))
    return VelocityVerlet(atoms, 1.0 * units.fs, **kwargs)


TIGHT = "0.001 eV/Å"


def test_actions(tmp_path: Path) -> None:
    seen: list[tuple[Flag, Atoms]] = []
    path = tmp_path / "flags.xyz"
    sentinel, atoms = watched(TIGHT, action=["record", "save", lambda *given: seen.append(given)], path=path)
    atoms.info["dft_energy"] = -1.0  # of other positions: must not be saved as a label of these
    atoms.set_array("dft_forces", np.ones((16, 3)))
    dynamics = run(atoms)
    assert sentinel.attach(dynamics) is sentinel
    dynamics.run(3)
    (flag,) = sentinel.flags
    assert flag.step == 0
    assert seen[0][0] is flag
    assert seen[0][1] is atoms
    frame = ase.io.read(path)
    assert frame.calc is None
    assert set(frame.info) == {"step", "flag", "reason", "flag_atom"}
    assert set(frame.arrays) == {"numbers", "positions", "momenta", "forces_std", "extrapolation"}
    assert f"sigma of the force on Si {flag.atom}" in frame.info["reason"]
    assert rms(frame.arrays["forces_std"])[flag.atom] == pytest.approx(flag.sigma, rel=1e-6)


def test_record_writes_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sentinel, atoms = watched(TIGHT)
    moving(sentinel, atoms, [0.0])
    assert len(sentinel.flags) == 1
    assert list(tmp_path.iterdir()) == []


def test_stop_leaves_a_trajectory_and_the_structure(tmp_path: Path, limit: str) -> None:
    atoms = crystal(0.0)
    atoms.calc = GAPCalculator(calibrated())
    path = tmp_path / "flags.xyz"
    dynamics = run(atoms, trajectory=str(tmp_path / "md.traj"), loginterval=1)
    sentinel = Sentinel(atoms.calc, limit, action="stop", path=path)
    dynamics.attach(sentinel, interval=1)
    atoms.set_momenta(atoms.get_momenta() * 8.0)
    with pytest.raises(SentinelStop, match=r"σ of the force on Si \d+ is .* \(step \d+\)\. Fix: label") as stop:
        dynamics.run(300)
    flag = stop.value.flag
    assert flag is sentinel.flags[0]
    assert 0 < flag.step == dynamics.nsteps < 300
    frames = ase.io.read(tmp_path / "md.traj", ":")
    assert len(frames) == flag.step + 1
    assert np.array_equal(frames[-1].positions, atoms.positions)
    assert ase.io.read(path).positions == pytest.approx(atoms.positions, abs=1e-7)
    twin = pickle.loads(pickle.dumps(stop.value))
    assert (str(twin), twin.flag) == (str(stop.value), flag)
    dynamics.run(1)  # and the run can go on
    assert len(sentinel.flags) == 1


def test_looking_changes_nothing(limit: str) -> None:
    ends = []
    for look in (False, True):
        atoms = crystal()
        atoms.calc = GAPCalculator(calibrated())
        dynamics = run(atoms)
        if look:
            Sentinel(atoms.calc, limit).attach(dynamics)
        dynamics.run(30)
        ends.append(atoms)
        assert (set(atoms.info), set(atoms.arrays)) == (set(), {"numbers", "positions", "momenta"})
    assert ends[1].positions == pytest.approx(ends[0].positions, abs=1e-9)
    assert ends[1].get_momenta() == pytest.approx(ends[0].get_momenta(), abs=1e-9)


@pytest.mark.parametrize("way", ["calc attach", "dyn.attach", "model attach", "model atoms", "model of the calc"])
@pytest.mark.parametrize("every", [1, 3])
def test_ways_to_attach(way: str, every: int) -> None:
    model, atoms = calibrated(), crystal()
    foreign = way in ("model attach", "model atoms")
    morse = MorsePotential(r0=2.2, epsilon=1.0, rho0=4.0, rcut1=1.0, rcut2=1.6)
    atoms.calc = morse if foreign else GAPCalculator(model)
    dynamics = run(atoms)
    source = model if "model" in way else atoms.calc
    sentinel = Sentinel(source, TIGHT, every=every, atoms=atoms if way == "model atoms" else None)
    if way in ("dyn.attach", "model atoms"):
        dynamics.attach(sentinel, interval=every)
    else:
        sentinel.attach(dynamics)
    dynamics.run(7)
    (flag,) = sentinel.flags
    assert flag.step == 0
    reference = atoms.copy()
    reference.positions = crystal().positions
    expected = rms(model.predict(reference, {"forces_std"}).forces_std).max()
    assert flag.sigma == pytest.approx(expected, rel=1e-9)
    if not foreign:
        assert atoms.calc.sampler is not None


@pytest.mark.parametrize("cell_filter", [None, FrechetCellFilter])
def test_optimisers(cell_filter: Any) -> None:
    sentinel, atoms = watched(TIGHT)
    atoms.rattle(0.05, seed=2)
    optimiser = BFGS(atoms if cell_filter is None else cell_filter(atoms), logfile=None)
    sentinel.attach(optimiser)
    optimiser.run(fmax=0.05, steps=8)
    assert [flag.step for flag in sentinel.flags] == [0]
    other, atoms = watched(TIGHT)
    atoms.rattle(0.05, seed=2)
    optimiser = BFGS(atoms if cell_filter is None else cell_filter(atoms), logfile=None)
    optimiser.attach(other, interval=2)
    optimiser.run(fmax=0.05, steps=8)
    assert other.flags[0].sigma == pytest.approx(sentinel.flags[0].sigma, rel=1e-9)


def test_a_new_fit_or_calibration_starts_the_watch_anew(limit: str) -> None:
    model = copy.copy(calibrated())
    sentinel, atoms = watched(limit, model)
    moving(sentinel, atoms, np.linspace(0.0, 0.05, 6))
    before = sentinel.exact_evaluations
    model.state_ = copy.copy(model.state_)
    moving(sentinel, atoms, np.linspace(0.05, 0.1, 6))
    assert sentinel.exact_evaluations == before + 1


def test_another_number_of_atoms_starts_anew(limit: str) -> None:
    sentinel, atoms = watched(limit)
    moving(sentinel, atoms, [0.0, 0.01, 0.02])
    del atoms[5]
    atoms.get_forces()
    sentinel()
    assert sentinel.flags == [] or sentinel.flags[-1].kind == "forces_std"
    assert len(sentinel._watch._numbers_e) == 15  # type: ignore[union-attr]


def test_energy_limit() -> None:
    model = calibrated()
    sigmas = [model.predict(crystal(a), {"energy_std"}).energy_std / 16 for a in (0.0, 1.0)]
    sentinel, atoms = watched(f"{500.0 * sum(sigmas)} meV/atom", model)
    moving(sentinel, atoms, [*np.linspace(0, 1, 60), *np.linspace(1, 0, 60), *np.linspace(0, 1, 60)])
    assert [flag.kind for flag in sentinel.flags] == ["energy_std"] * len(sentinel.flags)
    assert 1 <= len(sentinel.flags) <= 2
    flag = sentinel.flags[0]
    assert (flag.atom, flag.symbol, flag.unit) == (-1, "", "eV/atom")
    assert flag.value > flag.limit
    assert flag.sigma > 0.0
    assert sentinel.exact_evaluations <= 5


UNITS = {
    "0.15 eV/Å": ("forces", 0.15),
    "0.15 eV/A": ("forces", 0.15),
    "0.15eV/Ang": ("forces", 0.15),
    "150 meV/A\u030a": ("forces", 0.15),
    " 1.5e-1 eV/\u212b ": ("forces", 0.15),
    "5 meV/atom": ("energy", 0.005),
    "0.005 eV / atom": ("energy", 0.005),
}


@pytest.mark.parametrize("text", UNITS)
def test_units(text: str) -> None:
    found = read_limit(text, 0.05, calibrated())
    assert found is not None
    assert found.kind == UNITS[text][0]
    assert found.value == pytest.approx(UNITS[text][1], rel=1e-12)


def test_auto_is_what_the_calibration_says() -> None:
    model = calibrated()
    for miss_rate in (0.02, 0.2):
        sentinel, _ = watched("auto", model, miss_rate=miss_rate)
        assert sentinel.limit == ("forces", model.calibration_.limit(miss_rate))  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match="'auto' needs a calibrated model") as caught:
        Sentinel(GAPCalculator(unguarded()), "auto")
    assert "gapkit calibrate" in caught.value.fix


def test_raw_sigma_is_warned_of() -> None:
    with pytest.warns(GapkitWarning, match="may be ten times too small") as caught:
        Sentinel(unguarded(), "0.1 eV/Å")
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Sentinel(unguarded(), None)


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "number": ({"limit": 0.15}, "limit without unit"),
    "no unit": ({"limit": "0.15"}, "limit without unit"),
    "nothing": ({"limit": ""}, "limit without unit"),
    "unit": ({"limit": "0.15 GPa"}, "unknown unit 'GPa'"),
    "negative": ({"limit": "-0.1 eV/Å"}, "not a positive number"),
    "zero": ({"limit": "0 eV/Å"}, "not a positive number"),
    "no number": ({"limit": "1.2.3 eV/Å"}, "not a positive number"),
    "action": ({"action": "stpo"}, "action 'stpo' does not exist"),
    "no action": ({"action": ["save", 3]}, "neither a name nor a function"),
    "every": ({"every": 0}, "every=0"),
    "force": ({"max_force": -1.0}, "max_force"),
    "temperature": ({"max_temperature": "hot"}, "max_temperature"),
    "bond": ({"shortest_bond": 0.0}, "shortest_bond"),
    "memory": ({"memory": 0.5}, "memory"),
    "calculator": ({"source": EMT()}, "not EMT"),
    "structure": ({"source": crystal()}, "not Atoms"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name: str) -> None:
    changes, message = BAD[name]
    with pytest.raises(ConfigError, match=message):
        Sentinel(**{"source": calibrated(), "limit": "0.1 eV/Å", **changes})


def test_without_a_structure() -> None:
    with pytest.raises(ConfigError, match="does not know which structure"):
        Sentinel(calibrated(), "0.1 eV/Å")()
    with pytest.raises(ConfigError, match="no ASE dynamics"):
        Sentinel(calibrated(), "0.1 eV/Å").attach(crystal())


def test_a_flag_may_be_handled_by_raising(limit: str) -> None:
    """What a user's function raises comes through, and the trajectory before it is there."""

    def angry(flag: Flag, atoms: Atoms) -> None:
        raise RuntimeError(flag.kind)

    sentinel, atoms = watched(TIGHT, action=angry)
    with pytest.raises(RuntimeError, match="forces_std"):
        moving(sentinel, atoms, [0.0])
    assert len(sentinel.flags) == 1
