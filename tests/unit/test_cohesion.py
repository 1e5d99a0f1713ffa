"""Cohesion: its numbers by hand, its limits, what a fit finds for it, and that a model with it obeys the laws."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from copy import copy
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import covalent_radii

from gapkit import GAP, ZBL, Cohesion, ConfigError, GapkitWarning, Noise, PairTerm, SoapTerm, SpeciesError, load
from gapkit.atoms.frame import Frame
from gapkit.atoms.labels import to_frame, to_frames
from gapkit.atoms.neighbours import NeighbourList, Pairs
from gapkit.atoms.pieces import pieces
from gapkit.baselines.base import Contribution
from gapkit.model.known import known_of
from gapkit.testing import GAPLaws, ModelLaws, agrees, slope, zoo
from gapkit.typing import Kind
from tests.samples import E0, atom, cluster, crystal, frames, soap_arguments, two_species
from tests.unit.test_known import Constant

EVERYTHING = ("energy", "forces", "stress")
C = {"Si": -4.5, "C": -7.25}
NOISE = {"energy": 0.002, "forces": 0.05, "stress": 0.02}


def frame(atoms: Atoms) -> Frame:
    return to_frame(atoms, labels=False, where="t.xyz, frame 7")


def onset(a: int, b: int) -> float:
    return 1.2 * float(covalent_radii[a] + covalent_radii[b])


def by_hand(atoms: Atoms) -> float:
    """The energy of a molecule with loops over atoms; the step is that of `by_hand` of ZBL's tests, by its integral."""
    total = 0.0
    for i in atoms:
        count = 0.0
        for j in atoms:
            if i.index != j.index:
                u = min(max((np.linalg.norm(i.position - j.position) - onset(i.number, j.number)) / 1.5, 0.0), 1.0)
                count += 1.0 - 30.0 * (u**3 / 3.0 - u**4 / 2.0 + u**5 / 5.0)
        total += C[i.symbol] * (1.0 - np.exp(-4.0 * count))
    return float(total)


def loose(seed: int, symbols: str = "SiCSi2C") -> Atoms:
    """Atoms at distances in the fade, where all derivatives live."""
    rng = np.random.default_rng(seed)
    spots = 3.1 * np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]])
    return Atoms(symbols, spots + rng.uniform(-0.3, 0.3, spots.shape))


@pytest.mark.parametrize("seed", range(4))
def test_energy_by_hand(seed: int) -> None:
    atoms = loose(seed)
    found = Cohesion(C).evaluate(frame(atoms), ())
    assert found.energies_e.sum() == pytest.approx(by_hand(atoms), rel=1e-12)
    assert (found.forces_ec, found.virial_cc) == (None, None)


def test_forces_and_virial_are_slopes() -> None:
    rng = np.random.default_rng(1)
    for atoms in (loose(5), crystal(3, symbols="SiC"), loose(6)):
        if atoms.pbc.any():
            atoms.set_cell(1.7 * atoms.cell.array, scale_atoms=True)
        found = Cohesion(C).evaluate(frame(atoms), EVERYTHING)
        assert np.abs(found.forces_ec).max() > 1e-3  # not all atoms are saturated
        way = rng.normal(size=(len(atoms), 3))
        strain = rng.normal(size=(3, 3))
        strain += strain.T

        def moved(h: float, atoms: Atoms = atoms, way: np.ndarray = way) -> float:
            other = atoms.copy()
            other.positions += h * way
            return float(Cohesion(C).evaluate(frame(other), ()).energies_e.sum())

        def strained(h: float, atoms: Atoms = atoms, strain: np.ndarray = strain) -> float:
            other, by = atoms.copy(), np.eye(3) + h * strain
            other.set_cell(other.cell.array @ by)
            other.positions = atoms.positions @ by
            return float(Cohesion(C).evaluate(frame(other), ()).energies_e.sum())

        agrees(-float((found.forces_ec * way).sum()), slope(moved), "force of cohesion")
        agrees(float((found.virial_cc * strain).sum()), slope(strained), "virial of cohesion")


def test_limits() -> None:
    """Nothing alone and beyond the reach; all but 2 % with one bond, all with many."""
    baseline = Cohesion(C)
    alone = baseline.evaluate(frame(Atoms("Si")), EVERYTHING)
    assert alone.energies_e.tolist() == [0.0]
    assert not alone.forces_ec.any()
    assert not alone.virial_cc.any()
    end = onset(14, 14) + 1.5
    for r, share in [(1.0, 1 - np.exp(-4)), (onset(14, 14), 1 - np.exp(-4)), (end, 0.0), (end + 1.0, 0.0)]:
        found = baseline.evaluate(frame(Atoms("Si2", [[0, 0, 0], [0, 0, r]])), EVERYTHING)
        assert found.energies_e == pytest.approx(np.full(2, -4.5 * share), rel=1e-12, abs=1e-12)
        assert np.abs(found.forces_ec).max() < 1e-10
    assert baseline.evaluate(frame(crystal(1)), ()).energies_e == pytest.approx([-4.5, -4.5], rel=1e-5)
    assert baseline.reach == pytest.approx(end)
    assert Cohesion({"C": -1.0}).reach == pytest.approx(onset(6, 6) + 1.5)


@pytest.mark.parametrize("edge", [onset(14, 6), onset(14, 6) + 1.5])
def test_two_continuous_derivatives(edge: float) -> None:
    def force(r: float) -> float:
        found = Cohesion(C).evaluate(frame(Atoms("SiC", [[0, 0, 0], [0, 0, r]])), ("forces",))
        return float(found.forces_ec[1, 2])

    scale = max(abs(force(r)) for r in np.linspace(edge - 1.5, edge + 1.5, 31))
    assert scale > 1.0
    for h in (1e-3, 1e-4):  # a kink of the force would leave a difference that does not fall with h
        left, right = (force(edge) - force(edge - h)) / h, (force(edge + h) - force(edge)) / h
        assert abs(right - left) < 200.0 * scale * h


def test_given_pairs_are_used() -> None:
    atoms = frame(loose(2))
    plain = Cohesion(C).evaluate(atoms, EVERYTHING)
    wide = Cohesion(C).evaluate(atoms, EVERYTHING, NeighbourList(7.0).pairs(atoms))
    none = NeighbourList(7.0).pairs(atoms).keep(slice(0, 0))
    assert wide.energies_e == pytest.approx(plain.energies_e, rel=1e-13)
    assert wide.forces_ec == pytest.approx(plain.forces_ec, rel=1e-12, abs=1e-13)
    assert not Cohesion(C).evaluate(atoms, (), none).energies_e.any()


def test_regions_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large structure, done in parts of bounded memory."""
    atoms = crystal(9).repeat((6, 5, 4))
    atoms.set_cell(1.6 * atoms.cell.array, scale_atoms=True)
    atoms.rattle(0.2, seed=1)
    f, seen = frame(atoms), []
    whole = Cohesion(C).evaluate(f, EVERYTHING)
    monkeypatch.setattr("gapkit.baselines.cohesion._PAIRS_AT_ONCE", 200)
    monkeypatch.setattr("gapkit.baselines.cohesion.pieces", lambda *a: seen.extend(found := list(pieces(*a))) or found)
    parts = Cohesion(C).evaluate(f, EVERYTHING)
    assert len(seen) > 1
    assert np.abs(whole.forces_ec).max() > 0.1
    assert parts.energies_e == pytest.approx(whole.energies_e, rel=1e-12, abs=1e-12)
    assert parts.forces_ec == pytest.approx(whole.forces_ec, rel=1e-10, abs=1e-11)
    assert parts.virial_cc == pytest.approx(whole.virial_cc, rel=1e-10, abs=1e-9)


def test_settings() -> None:
    given = {"Si": -4}
    ready = Cohesion(given).prepared([frame(crystal())])
    given["Si"] = 0
    assert json.loads(json.dumps(ready.get_params())) == {"energies": {"Si": -4.0}}
    assert ready.completed({14: 9.0, 6: -7.0}).energies == {"Si": -4.0, "C": -7.0}
    assert ready.energies == {"Si": -4.0}
    assert Cohesion().prepared([]).energies == {}
    for wrong, error, text in [
        ({"Sj": -1.0}, SpeciesError, "'Sj'"),
        ({"Si": float("nan")}, ConfigError, "Si is nan"),
        ({"Si": True}, ConfigError, "Si is True"),
        ({"Si": "-4"}, ConfigError, "Si is '-4'"),
        (-4.0, ConfigError, "no energies"),
    ]:
        with pytest.raises(error, match=text):
            Cohesion(wrong).prepared([])  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="not been prepared"):
        Cohesion().evaluate(frame(crystal()), ())
    with pytest.raises(SpeciesError, match=r"no energy of C, only of Si.*frame 7, atom 1"):
        ready.evaluate(frame(crystal(symbols="SiC")), ())
    with pytest.raises(ConfigError, match="twice"):
        GAP(baselines=[Cohesion(), Cohesion({"Si": -1.0})]).fit(frames())


# what a fit finds


def several() -> list[Atoms]:
    """Isolated atoms, and bound structures of several compositions."""
    return [*two_species(), cluster(7, "Si3C"), cluster(8, "SiC4")]


def by_normal_equations(data: Sequence[Frame], rest: Sequence[float], numbers: Sequence[int]) -> list[float]:
    """Least squares against composition with weights 1/N of squares, for bound atoms."""
    counts = np.array([[int((f.numbers_e == z).sum()) for z in numbers] for f in data], dtype=float)
    weight = 1.0 / counts.sum(axis=1) if len(numbers) > 1 else np.array([1.0 / f.n_atoms for f in data])
    normal = (counts * weight[:, None]).T @ counts
    return list(np.linalg.solve(normal, (counts * weight[:, None]).T @ np.array(rest)))


def atomisation(data: Sequence[Frame]) -> list[float]:
    e0 = {14: E0["Si"], 6: E0["C"]}
    return [float(f.energy or 0.0) - sum(e0[int(z)] for z in f.numbers_e) for f in data]


def test_energies_by_least_squares() -> None:
    data = to_frames(several())
    found, found_b, known = known_of(data, [Cohesion({})], None)
    assert found_b == []
    bound = [f for f in data if f.n_atoms > 1]
    expected = by_normal_equations(bound, atomisation(bound), (6, 14))
    assert [found.cohesion[z] for z in (6, 14)] == pytest.approx(expected, rel=1e-9)
    assert min(abs(c) for c in expected) > 0.5
    baseline = Cohesion({"C": found.cohesion[6], "Si": found.cohesion[14]})
    for f, own in zip(data, known, strict=True):
        assert own.fixed.energies_e.sum() == pytest.approx(
            float(baseline.evaluate(f, ()).energies_e.sum()) + sum({14: -2.5, 6: -1.25}[int(z)] for z in f.numbers_e)
        )
        if f.forces_ec is not None:
            assert own.fixed.forces_ec == pytest.approx(baseline.evaluate(f, ("forces",)).forces_ec)


def test_unbound_atoms_do_not_count() -> None:
    """Far apart, the atoms of a frame have no cohesion, and a dimer beside one is two bound atoms of three."""
    dimer = Atoms("Si3", [[0, 0, 0], [0, 0, 2.0], [0, 0, 9.0]])
    dimer.calc = SinglePointCalculator(dimer, energy=3 * E0["Si"] - 3.0)
    found, _, _ = known_of(to_frames([atom(), dimer]), [Cohesion({})], None)
    assert found.cohesion == {14: pytest.approx(-1.5)}
    apart = Atoms("Si2", [[0, 0, 0], [0, 0, 9.0]])
    apart.calc = SinglePointCalculator(apart, energy=2 * E0["Si"])
    assert known_of(to_frames([atom(), apart]), [Cohesion({})], None)[0].cohesion == {14: 0.0}


def test_one_composition_gets_the_smallest_energies() -> None:
    """Small differences of how bound atoms are must not tell elements apart."""
    data = to_frames([atom("Si"), atom("C"), *(crystal(k, symbols="SiC") for k in range(4))])
    found, _, _ = known_of(data, [Cohesion({})], None)
    assert found.cohesion[6] == pytest.approx(found.cohesion[14], rel=1e-9)
    mean = np.mean([a / 2 for a in atomisation([f for f in data if f.n_atoms > 1])])
    assert found.cohesion[6] == pytest.approx(mean, rel=1e-9)


def test_only_where_e0_is_known() -> None:
    """An e0 of least squares has the cohesion in it."""
    with pytest.warns(GapkitWarning, match="least squares"):
        fit = small().fit(frames()[1:])
    assert [b.kind for b in fit.state_.baselines] == ["zbl"]
    assert "cohesion" not in fit.predict(crystal(9)).by_term
    partly = [a for a in several() if a.get_chemical_formula() != "C"]
    with pytest.warns(GapkitWarning, match="e0 of C comes"):
        found, _, _ = known_of(to_frames(partly), [Cohesion({})], None)
    assert found.cohesion[6] == 0.0
    plain = small().fit(frames())
    assert [b.kind for b in plain.state_.baselines] == ["zbl", "cohesion"]
    assert small(baselines=[Cohesion({"Si": 0.0})]).fit(frames()).state_.baselines == []
    forces = [a for a in frames(kinds=("forces",)) if len(a) > 1]
    assert [b.kind for b in small(e0=E0).fit(forces).state_.baselines] == ["zbl"]


def test_given_energies_stay() -> None:
    data = to_frames(several())
    found, _, _ = known_of(data, [Cohesion({"Si": -1.0})], None)
    bound = [f for f in data if f.n_atoms > 1]
    share = [float(Cohesion({"Si": -1.0, "C": 0.0}).evaluate(f, ()).energies_e.sum()) for f in bound]
    rest = [a - b for a, b in zip(atomisation(bound), share, strict=True)]
    assert found.cohesion == {6: pytest.approx(by_normal_equations(bound, rest, (6,))[0], rel=1e-9), 14: 0.0}
    fit = small(baselines=[Cohesion({"Si": -1.0})]).fit(several())
    (baseline,) = fit.state_.baselines
    assert baseline.energies == {"Si": -1.0, "C": found.cohesion[6]}
    assert fit.baselines[0].energies == {"Si": -1.0}  # the user's setting stays


def test_an_open_baseline_brings_what_it_takes_from_cohesion() -> None:
    """For any scale, what is known is the open baseline and the energies of elements that fit what it leaves."""
    data = to_frames(several())
    bound = [f for f in data if f.n_atoms > 1]
    found, (found_b,), known = known_of(data, [Constant({14: 2.0, 6: 0.5}, "fit"), Cohesion({})], None)
    assert [found_b.cohesion[z] for z in (6, 14)] == pytest.approx([0.5, 2.0], rel=1e-9)
    for scale in (0.0, 0.7, 2.0):
        rest = [
            a - scale * sum({14: 2.0, 6: 0.5}[int(z)] for z in f.numbers_e)
            for a, f in zip(atomisation(bound), bound, strict=True)
        ]
        now = found.minus(found_b, scale)
        assert [now.cohesion[z] for z in (6, 14)] == pytest.approx(by_normal_equations(bound, rest, (6, 14)), abs=1e-9)
    for f, own in zip(data, known, strict=True):
        left = 0.0 if f.n_atoms == 1 else sum({14: 2.0, 6: 0.5}[int(z)] for z in f.numbers_e)
        gone = Cohesion({"C": 0.5, "Si": 2.0}).evaluate(f, ()).energies_e.sum()
        assert own.open_b[0].energies_e.sum() == pytest.approx(left - float(gone), abs=1e-9)


class Crowd(Constant):
    """Grows with the number of neighbours, which cohesion does not."""

    def __init__(self, energy: dict[int, float], scale: Any = "fit") -> None:
        super().__init__(energy, scale)

    def prepared(self, frames: Sequence[Frame]) -> Crowd:
        return self

    def scaled(self, factor: float) -> Crowd:
        return Crowd(self.energy, factor)

    def evaluate(self, frame: Frame, kinds: Collection[Kind], pairs: Pairs | None = None) -> Contribution:
        near = NeighbourList(3.5).pairs(frame)
        crowd_e = np.bincount(near.i_p, (3.5 - np.linalg.norm(near.r_pc, axis=1)) ** 2, frame.n_atoms)
        return Contribution(super().evaluate(frame, ()).energies_e * crowd_e)


def test_a_scale_is_found_beside_it() -> None:
    """Labels are cohesion and 0.6 times another baseline: both are found, though each alone could take most."""
    data = []
    for a in several():
        f = to_frame(a)
        own = [Cohesion(C), Crowd({14: -0.5, 6: -0.8}, 0.6)]
        energy = sum(float(b.evaluate(f, ()).energies_e.sum()) for b in own)
        a.calc = SinglePointCalculator(a, energy=energy + sum(E0[s] for s in a.get_chemical_symbols()))
        data.append(a)
    fit = small(baselines=[Crowd({14: -0.5, 6: -0.8}), Cohesion()]).fit(data)
    assert fit.state_.baselines[0].scale == pytest.approx(0.6, abs=1e-3)
    # an atom with one bond counts as a whole one, but has 1 - exp(-4) of the energy
    assert fit.state_.baselines[1].energies == pytest.approx(C, rel=np.exp(-4.0))
    twin = small(baselines=[fit.state_.baselines[0], Cohesion()]).fit(data)
    assert twin.state_.baselines[1].energies == pytest.approx(fit.state_.baselines[1].energies, rel=1e-8)


# models with it


def small(**changes: Any) -> GAP:
    """Terms that see as far as the baseline does."""
    weighting = {"function": "poly", "r0": 4.5, "c": 1.0, "m": 1.0}
    terms = [PairTerm(4.5, n_sparse=5), SoapTerm(soap_arguments(r_cut=4.5, weighting=weighting), zeta=2, n_sparse=6)]
    return GAP(**{"terms": terms, "noise": Noise(**NOISE), "baselines": [ZBL(), Cohesion()], **changes})


@lru_cache(maxsize=1)
def silicon() -> GAP:
    """Fitted: shared, so not to be changed."""
    fit = small().fit(frames(4))
    assert [b.kind for b in fit.state_.baselines] == ["zbl", "cohesion"]
    assert fit.reach > fit.state_.baselines[1].reach
    return fit


class TestSilicon(GAPLaws, ModelLaws):
    """A repulsion and cohesion, in both harnesses."""

    species = ("Si",)

    def structures(self) -> dict[str, Atoms]:
        return {name: zoo(["Si"])[name] for name in ("skewed", "water", "dimer")}

    def others(self) -> list[Atoms]:
        return [zoo(["Si"], seed=7)[name] for name in ("skewed", "dimer")]

    @pytest.fixture
    def frames(self) -> list[Atoms]:
        return frames(4)

    @pytest.fixture
    def model(self) -> GAP:
        return silicon()


def test_the_model_adds_what_the_fit_subtracted() -> None:
    """A fit to the labels without cohesion, with cohesion added by hand."""
    fit = small().fit(several())
    p = fit.predict(loose(3))
    energies = dict(fit.state_.baselines[1].energies)
    bare = []
    for a in several():
        f = to_frame(a)
        part = Cohesion(energies).evaluate(f, EVERYTHING)
        stress = {} if f.stress_v is None else {"stress": f.stress_v - _voigt(part.virial_cc) / f.volume}
        forces = {} if f.forces_ec is None else {"forces": f.forces_ec - part.forces_ec}
        a.calc = SinglePointCalculator(a, energy=f.energy - float(part.energies_e.sum()), **forces, **stress)
        bare.append(a)
    own = Cohesion(energies).evaluate(frame(loose(3)), ("forces",))
    q = small(baselines=[ZBL()]).fit(bare).predict(loose(3))
    assert p.energy == pytest.approx(q.energy + own.energies_e.sum(), abs=1e-8)
    assert p.forces == pytest.approx(q.forces + own.forces_ec, abs=1e-7)
    assert p.by_term["cohesion"] == pytest.approx(own.energies_e.sum(), rel=1e-12)


def _voigt(virial_cc: np.ndarray) -> np.ndarray:
    return virial_cc[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]


def test_extend_finds_that_of_new_elements(tmp_path: Path) -> None:
    fit = small().fit(frames(4))
    fit.save(tmp_path / "a.gap", data=True)
    old = dict(fit.state_.baselines[1].energies)
    new = [atom("C"), crystal(1, symbols="SiC"), cluster(8, "SiC4")]
    grown = copy(load(tmp_path / "a.gap")).extend(new)
    energies = grown.state_.baselines[1].energies
    bound = to_frames(new)[1:]
    share = [float(Cohesion({**old, "C": 0.0}).evaluate(f, ()).energies_e.sum()) for f in bound]
    rest = [a - b for a, b in zip(atomisation(bound), share, strict=True)]
    assert energies == {"Si": old["Si"], "C": pytest.approx(by_normal_equations(bound, rest, (6,))[0], rel=1e-6)}
    assert grown.predict(atom("C")).energy == pytest.approx(E0["C"], abs=1e-6)
    again = fit.extend([crystal(30)]).state_.baselines[1]
    assert again.energies == old
