"""A model moved to another reference method, against dense Gaussians of the weights."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.neighborlist import neighbor_list

from gapkit import (
    GAP,
    ConfigError,
    DataError,
    GapkitWarning,
    Keys,
    Noise,
    PairTerm,
    SoapTerm,
    SpeciesError,
    evaluate,
    load,
)
from gapkit.model.difference import CANDIDATES
from gapkit.model.fitting import EXACT_SIGMA
from tests.reference.transfer import Weights, carry, isolated, observed, rows_and_stds
from tests.samples import atom, cluster, crystal, frames, label, numbers, soap_arguments, two_species

SIGMAS = {"energy": 0.002, "forces": 0.05, "stress": 0.02}
OLD, NEW = {"Si": -2.5}, {"Si": -3.1}
SHIFTED = 3.4  # Å, where the other method's extra attraction ends


def model(**changes: Any) -> GAP:
    term = SoapTerm(soap_arguments(), zeta=2, n_sparse=6)
    return GAP([term], **{"noise": Noise(**SIGMAS), "baselines": [], **changes})


def other(atoms: Atoms, kinds: tuple[str, ...] = ("energy", "forces", "stress"), strength: float = 0.3) -> Atoms:
    """The labels of another method: an attraction of pairs, -A (1 - r²/R²)³ a bond, and another energy of the atom."""
    found = label(atoms.copy())
    i_p, j_p, r_p, r_pc = neighbor_list("ijdD", atoms, SHIFTED)
    inside_p = 1.0 - (r_p / SHIFTED) ** 2
    slope_p = 0.5 * strength * 6.0 * inside_p**2 * r_p / SHIFTED**2
    gradient_pc = (slope_p / r_p)[:, None] * r_pc
    results = dict(found.calc.results)
    results["energy"] += (NEW["Si"] - OLD["Si"]) * len(atoms) - 0.5 * strength * float((inside_p**3).sum())
    forces_ec = np.zeros((len(atoms), 3))
    np.add.at(forces_ec, i_p, gradient_pc)
    np.subtract.at(forces_ec, j_p, gradient_pc)
    results["forces"] = results["forces"] + forces_ec
    if "stress" in results:
        virial = r_pc.T @ gradient_pc
        results["stress"] = results["stress"] + virial[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]] / atoms.get_volume()
    found.calc = SinglePointCalculator(found, **{k: v for k, v in results.items() if k in kinds})
    return found


def few(kinds: tuple[str, ...] = ("energy", "forces", "stress"), n: int = 3) -> list[Atoms]:
    return [other(crystal(20 + k) if k % 2 else cluster(20 + k), kinds) for k in range(n)]


def tuned(**changes: Any) -> tuple[GAP, GAP]:
    """The old model, and the same fine-tuned."""
    old = model().fit(frames(3))
    return old, copy(old).fine_tune(few(), e0=NEW, **changes)


def old_weights(old: GAP) -> tuple[Weights, Weights]:
    """Prior and posterior of the old model, which sees isolated atoms at e0 too."""
    terms, prior = old.state_.terms, Weights.prior(old.state_.prior_mm)
    return prior, prior.given(observed(terms, frames(3), OLD, SIGMAS).plus(isolated(terms, ["Si"])))


def assert_is(fit: GAP, truth: Weights, tolerance: float) -> None:
    rows_xm, mean_x, known_x = rows_and_stds(fit, [crystal(9), cluster(8)])
    expected, variance = truth.says(rows_xm)
    assert np.abs(mean_x - expected).max() <= tolerance * np.abs(expected).max()
    assert np.abs(known_x - variance).max() <= tolerance * variance.max()


def test_the_other_method_has_consistent_derivatives() -> None:
    """Of the labels that the tests below are made of."""
    atoms, h = cluster(3), 1e-4
    way = np.random.default_rng(0).normal(size=(4, 3))
    sides = []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions += sign * h * way
        sides.append(other(moved).get_potential_energy())
    assert (sides[0] - sides[1]) / (2 * h) == pytest.approx(-(other(atoms).get_forces() * way).sum(), abs=1e-6)
    cell = crystal(3)
    energies = []
    for sign in (1, -1):
        strained = cell.copy()
        strained.set_cell(cell.cell.array * (1 + sign * h), scale_atoms=True)
        energies.append(other(strained).get_potential_energy())
    pressure = other(cell).get_stress()[:3].sum() * cell.get_volume()
    assert (energies[0] - energies[1]) / (2 * h) == pytest.approx(pressure, abs=1e-5)


@pytest.mark.parametrize("difference", [0.0, 0.4, 3.0])
def test_it_is_the_old_posterior_plus_a_difference(difference: float) -> None:
    """Seen through the new labels; with 0 these are simply added."""
    old, fit = tuned(difference=difference)
    prior, posterior = old_weights(old)
    terms = fit.state_.terms
    seen = observed(terms, few(), NEW, SIGMAS).plus(isolated(terms, ["Si"]))
    assert_is(fit, posterior.moved(prior, difference).given(seen), 1e-7)
    assert fit.e0_ == {14: pytest.approx(NEW["Si"])}
    assert terms[0].delta == pytest.approx(np.sqrt(1.0 + difference**2))
    if not difference:
        both = observed(terms, frames(3), OLD, SIGMAS).plus(seen).plus(isolated(terms, ["Si"]))
        assert_is(fit, prior.given(both), 1e-7)


def test_with_new_points_it_is_the_same() -> None:
    """The difference has the prior of all points; what the old labels say goes through the old ones."""
    difference = 0.5
    old = model().fit(frames(3))
    fit = copy(old).fine_tune(few(), e0=NEW, difference=difference, n_sparse=3)
    terms, before = fit.state_.terms, old.state_
    assert terms[0].n_columns == before.terms[0].n_columns + 3
    # the factor of the model has δ √(1 + f²)
    prior = Weights.prior(fit.state_.prior_mm, 1.0 / np.sqrt(1.0 + difference**2))
    passed_on = observed(before.terms, frames(3), OLD, SIGMAS).plus(isolated(before.terms, ["Si"]))
    carry_on = carry(before.terms, [replace(terms[0], delta=before.terms[0].delta)], before.prior_mm)
    posterior = prior.given(passed_on.on(carry_on))
    seen = observed(terms, few(), NEW, SIGMAS).plus(isolated(terms, ["Si"]))
    assert_is(fit, posterior.moved(prior, difference).given(seen), 1e-6)


def test_a_large_difference_forgets_the_old_labels() -> None:
    """What is left of them is 1/f² of their weight: 1e-6 with f = 1000, against labels of 0.1 to 1 % of the prior."""
    old, fit = tuned(difference=1e3)
    terms = fit.state_.terms
    seen = observed(terms, few(), NEW, SIGMAS).plus(isolated(terms, ["Si"]))
    alone = Weights.prior(old.state_.prior_mm, 1e3).given(seen)
    assert_is(fit, alone, 1e-5)
    _, near = tuned(difference=0.1)
    rows_xm, mean_x, _ = rows_and_stds(near, [crystal(9), cluster(8)])
    assert np.abs(mean_x - alone.says(rows_xm)[0]).max() > 1e-3  # and a small one does not


def miss(old: GAP, data: list[Atoms], difference: float) -> float:
    """Mean square of errors over σ, each frame predicted by a model that was tuned without it."""
    squares = []
    for k, atoms in enumerate(data):
        rest = [a for j, a in enumerate(data) if j != k]
        found = copy(old).fine_tune(rest, e0=NEW, difference=difference).residuals([atoms])
        for kind, own in found.items():
            squares.append(np.square(own.error_xc / _sigma(own, kind, atoms)).ravel())
    return float(np.mean(np.concatenate(squares)))


def _sigma(own: Any, kind: str, atoms: Atoms) -> float:
    """σ of a row in the units of `Residuals`, as `Noise` defines it."""
    noise, n = old_noise(), len(atoms)
    per_atom = {"energy": noise.energy / np.sqrt(n), "forces": noise.forces, "stress": noise.stress * np.sqrt(n)}[kind]
    return per_atom / (atoms.get_volume() if kind == "stress" else 1.0)


def old_noise() -> Noise:
    return model().noise


def test_the_difference_predicts_best_what_is_left_out() -> None:
    """Of the candidates, the one of honest refits without each frame."""
    old, data = model().fit(frames(3)), few()
    fit = copy(old).fine_tune(data, e0=NEW)
    chosen = float(np.sqrt(fit.state_.terms[0].delta ** 2 - 1.0))
    place = int(np.argmin(np.abs(np.log(CANDIDATES / chosen))))
    assert CANDIDATES[place] == pytest.approx(chosen, rel=1e-6)
    near = [miss(old, data, float(CANDIDATES[k])) for k in range(place - 1, place + 2) if 0 <= k < len(CANDIDATES)]
    assert min(near) == miss(old, data, float(CANDIDATES[place]))
    assert miss(old, data, float(CANDIDATES[0])) > min(near) < miss(old, data, float(CANDIDATES[-1]))


def test_the_difference_is_that_of_the_labels() -> None:
    """An eightfold change of the labels is a larger difference; labels of the same method have hardly one."""
    found = []
    for strength in (0.0, 0.1, 0.8):
        data = [other(a, strength=strength) for a in few(n=6)]
        fit = model(noise=Noise(0.005, 0.1, 0.05)).fit(frames(6)).fine_tune(data, e0=NEW)
        found.append(float(np.sqrt(fit.state_.terms[0].delta ** 2 - 1.0)))
    assert found[0] < 0.1
    assert found[0] <= found[1] < found[2] / 2.0
    assert found[0] < 0.4


def test_a_few_energies_beat_the_old_model_and_a_model_of_themselves() -> None:
    terms = [PairTerm(3.5, n_sparse=8), SoapTerm(soap_arguments(n_max=4, l_max=3), zeta=3, n_sparse=30)]
    made = GAP(terms, Noise(0.001, 0.02, 0.01), baselines=[])
    old = made.fit([atom(), *(build(k) for k in range(24) for build in (crystal, cluster))])
    data = [atom_of(NEW), *(other(build(100 + k), ("energy",)) for k in range(4) for build in (crystal, cluster))]
    tests = [other(build(200 + k)) for k in range(8) for build in (crystal, cluster)]
    fit = copy(old).fine_tune(data)
    alone = GAP(terms, Noise(0.001, None, None), baselines=[])
    with pytest.warns(GapkitWarning, match="sparse points wanted"):
        alone.fit(data)

    def errors(one: GAP) -> np.ndarray:
        shift = NEW["Si"] - one.e0_[14]  # the old model is judged without its other zero
        energy = [one.predict(a).energy + shift * len(a) - a.get_potential_energy() for a in tests]
        forces = np.concatenate([(one.predict(a).forces - a.get_forces()).ravel() for a in tests])
        return np.array([np.std(energy), np.std(forces)])

    assert (errors(fit) < 0.5 * errors(old)).all()
    assert (errors(fit) < 0.5 * errors(alone)).all()


def atom_of(e0: dict[str, float]) -> Atoms:
    found = atom()
    found.calc = SinglePointCalculator(found, energy=e0["Si"])
    return found


def test_energies_of_isolated_atoms_move() -> None:
    """Given, from single atoms, or from least squares of the difference, with a warning."""
    old = model().fit(frames(3))
    assert copy(old).fine_tune(few(), e0={"Si": -4.0}).e0_ == {14: -4.0}
    assert copy(old).fine_tune([atom_of(NEW), *few()]).e0_ == {14: pytest.approx(NEW["Si"], abs=1e-8)}
    shifted = [atoms.copy() for atoms in (crystal(30), cluster(31), cluster(32, "Si3"))]
    for atoms in shifted:  # what the model says, and a constant for each atom
        atoms.calc = SinglePointCalculator(atoms, energy=old.predict(atoms).energy + 0.75 * len(atoms))
    with pytest.warns(GapkitWarning, match="e0 of Si moves by least squares.*isolated atoms.*or give e0"):
        moved = copy(old).fine_tune(shifted, difference=0.1)
    assert moved.e0_[14] == pytest.approx(-2.5 + 0.75, abs=1e-10)
    p, q = moved.predict(shifted[0]), old.predict(shifted[0])
    assert p.energy == pytest.approx(q.energy + 2 * 0.75, abs=1e-6)
    assert p.forces == pytest.approx(q.forces, abs=1e-5)
    forces = [other(crystal(40), ("forces",))]
    assert copy(old).fine_tune(forces, e0=NEW, difference=0.3).e0_ == NEW_BY_NUMBER
    assert copy(old).fine_tune(forces, difference=0.3).e0_ == {14: -2.5}
    moved = copy(old).fine_tune(few(), e0=NEW)
    assert moved.predict(Atoms("Si")).energy == pytest.approx(NEW["Si"], abs=EXACT_SIGMA)


NEW_BY_NUMBER = {14: pytest.approx(NEW["Si"])}


def test_what_is_kept(tmp_path: Any) -> None:
    old, fit = tuned(noise=Noise(0.005, 0.2, None))
    assert fit.state_.noise.energy == fit.noise.energy == 0.005
    assert old.state_.noise.energy == 0.002
    assert fit.calibration_ is None
    assert fit.training_["frames"] == len(frames(3)) + len(few())
    assert {e["kind"] for e in fit.training_["errors"]} == {"energy", "forces"}
    assert all(fit.trained_on(few()))
    fit.save(tmp_path / "a.gap", data=True)
    again = load(tmp_path / "a.gap")
    assert np.array_equal(numbers(again), numbers(fit))
    again.remove([few()[0]])
    left = copy(old).fine_tune(few()[1:], e0=NEW, noise=Noise(0.005, 0.2, None), difference=0.4)
    _, whole = tuned(noise=Noise(0.005, 0.2, None), difference=0.4)
    assert numbers(whole.remove([few()[0]])) == pytest.approx(numbers(left), rel=1e-6, abs=1e-7)
    softer = copy(left).refit(Noise(0.05, 2.0, None))
    assert softer.predict(crystal(9), {"energy_std"}).energy_std > left.predict(crystal(9), {"energy_std"}).energy_std
    more = copy(left).extend([other(crystal(60))], n_sparse=3)
    assert more.training_["frames"] == left.training_["frames"] + 1
    with pytest.raises(DataError, match="labels of the frame are bound to the sparse points of an earlier fit"):
        copy(more).remove([few()[1]])
    assert copy(more).remove([other(crystal(60))]).training_["frames"] == left.training_["frames"]
    with pytest.raises(DataError, match="bound to the sparse points of an earlier fit"):
        copy(left).remove([frames(3)[1]])


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"frames": two_species()}, SpeciesError, "Species not covered.*knows Si; here is C"),
        ({"difference": -0.1}, ConfigError, "difference=-0.1"),
        ({"difference": "small"}, ConfigError, "difference='small'"),
        ({"difference": float("nan")}, ConfigError, "difference=nan"),
        ({"noise": 0.1}, ConfigError, "noise=0.1 is no Noise"),
        ({"e0": -3.1}, ConfigError, "no dictionary"),
        ({"e0": {"Xy": 1.0}}, SpeciesError, "not an element"),
        ({"n_sparse": 0}, ConfigError, "n_sparse=0"),
        ({"frames": [Atoms("Si2", [[0, 0, 0], [0, 0, 2]])]}, DataError, "No frame has an energy"),
        ({"frames": [atom()]}, DataError, "All frames are isolated atoms"),
        ({"noise": Noise(None, None, None)}, ConfigError, "No label is left to fit"),
    ],
)
def test_errors_leave_the_model_as_it_was(arguments: dict[str, Any], error: type[Exception], text: str) -> None:
    fit = model().fit(frames(3))
    before = fit.state_
    with pytest.raises(error, match=text):
        fit.fine_tune(**{"frames": few(), "e0": NEW, **arguments})
    assert fit.state_ is before


def test_old_frames_of_a_tuned_model_are_refused() -> None:
    _, fit = tuned(difference=0.3)
    with pytest.raises(ConfigError, match=r"have labels of more than one reference method.*leave old_frames"):
        fit.extend([crystal(60)], old_frames=[*frames(3), *few()])


def test_frames_of_the_fit_may_be_among_the_new_ones() -> None:
    old = model().fit(frames(3))
    again = [other(a) for a in frames(3)[1:]]
    fit = copy(old).fine_tune(again, e0=NEW)
    assert fit.predict(again[0]).energy == pytest.approx(again[0].get_potential_energy(), abs=0.05)
    assert abs(old.predict(again[0]).energy - again[0].get_potential_energy()) > 1.0
    assert fit.trained_on([frames(3)[1], again[0]]) == [True, True]


def test_the_names_of_the_new_labels_stay(tmp_path: Any) -> None:
    """And an e0 that an isolated atom tells is no longer a guess, but one by least squares is."""
    with pytest.warns(GapkitWarning, match="e0 of Si"):
        fit = model().fit(frames(4)[1:])
    assert fit.state_.guessed == (14,)
    data = [atom_of(NEW), *few()]
    for atoms in data:
        atoms.info["E_new"] = atoms.get_potential_energy() - 1.0 * len(atoms)
    fit.keys = Keys(energy="E_new")
    fit.fine_tune(data)
    assert fit.state_.guessed == ()
    fit.save(tmp_path / "a.gap")
    twin = load(tmp_path / "a.gap")
    assert twin.keys == fit.keys
    assert evaluate(twin, data).as_dict() == evaluate(fit, data).as_dict()
    known = model().fit(frames(4))
    with pytest.warns(GapkitWarning, match="moves by least squares"):
        known.fine_tune(few())
    assert known.state_.guessed == (14,)
