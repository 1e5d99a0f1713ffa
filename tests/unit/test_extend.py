"""Extension of a model by new data, elements and sparse points, against dense Gaussians of the weights."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from scipy.spatial.distance import cdist, pdist

from gapkit import GAP, ConfigError, DataError, GapkitWarning, Noise, PairTerm, SoapTerm, TripletTerm, load
from gapkit.atoms.labels import to_frames
from gapkit.descriptors.wider import all_features
from gapkit.gp.posterior import solve
from gapkit.model import extending
from gapkit.model.fitting import EXACT, sigmas_of
from gapkit.model.terms import Term
from tests.reference.transfer import Data, Weights, carry, isolated, observed, rows_and_stds
from tests.samples import E0, atom, cluster, crystal, frames, fresh, label, numbers, soap_arguments, two_species

SIGMAS = {"energy": 0.002, "forces": 0.05, "stress": 0.02}


def soap_term(**changes: Any) -> SoapTerm:
    return SoapTerm(soap_arguments(), **{"zeta": 2, "n_sparse": 8, **changes})


def model(*terms: Term, **changes: Any) -> GAP:
    """Without a baseline, and unless terms are given of a SOAP alone, whose weights magnify rounding little."""
    return GAP(list(terms) or [soap_term()], **{"noise": Noise(**SIGMAS), "baselines": [], **changes})


def old_frames() -> list[Atoms]:
    return frames(6)


def new_frames() -> list[Atoms]:
    """Silicon that is denser."""
    found = []
    for k in range(3):
        atoms = crystal(50 + k)
        atoms.set_cell(atoms.cell.array * 0.94, scale_atoms=True)
        found.append(label(atoms, config_type="dense"))
    return [*found, cluster(53, "Si5", config_type="dense")]


def carbon() -> list[Atoms]:
    """Silicon carbide, and the isolated carbon atom."""
    return two_species(6)[1:]


def without_data(fit: GAP) -> GAP:
    """As it comes back from a file without its data."""
    made = copy(fit)
    made.state_ = replace(fit.state_, rows=None)
    return made


def assert_alike(one: GAP, other: GAP, tolerance: float, structures: Sequence[Atoms] | None = None) -> None:
    """Energies, forces, stresses and their σ."""
    for atoms in structures or (crystal(9), crystal(51)):
        expected = numbers(other, atoms)
        assert np.abs(numbers(one, atoms) - expected).max() <= tolerance * np.abs(expected).max()


def assert_is(fit: GAP, truth: Weights, structures: Sequence[Atoms], tolerance: float) -> None:
    """Means and data variances of energies, forces and virials are those of a Gaussian of the weights."""
    rows_xm, mean_x, known_x = rows_and_stds(fit, structures)
    expected, variance = truth.says(rows_xm)
    assert np.abs(mean_x - expected).max() <= tolerance * np.abs(expected).max()
    assert np.abs(known_x - variance).max() <= tolerance * variance.max()
    assert np.abs(expected).max() > 0.5


def all_data(fit: GAP, structures: Sequence[Atoms]) -> Data:
    symbols = sorted({s for atoms in structures for s in atoms.get_chemical_symbols()})
    return observed(fit.state_.terms, structures, E0, SIGMAS).plus(isolated(fit.state_.terms, symbols))


def test_with_the_old_frames_it_is_a_fresh_fit() -> None:
    fit = model(soap_term(n_sparse=6)).fit(frames(3)).extend(new_frames(), old_frames=frames(3))
    everything = [*frames(3), *new_frames()]
    assert_alike(fit, fresh(fit, everything), 1e-9)
    truth = Weights.prior(fit.state_.prior_mm).given(all_data(fit, everything))
    assert_is(fit, truth, [crystal(9), crystal(51), cluster(8)], 1e-8)
    assert fit.log_evidence_ == pytest.approx(fresh(fit, everything).log_evidence_, rel=1e-10)
    assert fit.training_["frames"] == len(everything)


def no_new_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sparse points stay as they are."""

    def kept(state: Any, *_: Any) -> Any:
        return [extending.unchanged(t) for t in state.terms], list(state.settings)

    monkeypatch.setattr(extending, "_grown", kept)


@pytest.mark.parametrize(("saved", "tolerance"), [(False, 1e-9), (True, 1e-7)])
def test_without_new_points_it_is_a_fit_to_all(saved: bool, tolerance: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a file only the factor of A is left, where labels have squared condition numbers of 1e10 against the prior."""
    fit = model().fit(old_frames())
    no_new_points(monkeypatch)
    fit = (without_data(fit) if saved else fit).extend(new_frames())
    everything = [*old_frames(), *new_frames()]
    assert_alike(fit, fresh(fit, everything), tolerance)
    lacking = fresh(fit, old_frames())
    assert np.abs(numbers(lacking, crystal(51)) - numbers(fit, crystal(51))).max() > 0.01  # the new data count


def test_environments_that_are_sparse_points_bring_none() -> None:
    structures = [atom(), *(crystal(k) for k in range(2)), *(cluster(k) for k in range(2))]
    with pytest.warns(GapkitWarning, match="only 10 environments are distinct"):
        fit = model(soap_term(n_sparse=99)).fit(structures)
    before = fit.state_.terms[0].n_columns
    again = [label(atoms.copy(), ("energy",), config_type="again") for atoms in structures[1:]]
    fit.extend(again)
    assert fit.state_.terms[0].n_columns == before
    assert_alike(fit, fresh(fit, [*structures, *again]), 1e-8)


@pytest.mark.parametrize(("saved", "tolerance"), [(False, 1e-8), (True, 1e-7)])
@pytest.mark.parametrize("added", ["points", "element"])
def test_with_new_points_old_data_speak_through_the_old_ones(added: str, saved: bool, tolerance: float) -> None:
    """The summary of a file holds isolated atoms at e0, too: they count twice then."""
    few = frames(3)
    old = model(soap_term(n_sparse=6)).fit(few)
    data = new_frames()[1:] if added == "points" else carbon()[:3]
    fit = (without_data(old) if saved else copy(old)).extend(data, n_sparse=3 if added == "points" else None)
    state, before = fit.state_, old.state_
    assert state.terms[0].n_columns > before.terms[0].n_columns + 2
    passed_on = observed(before.terms, few, E0, SIGMAS).on(carry(before.terms, state.terms, before.prior_mm))
    if saved:
        passed_on = passed_on.plus(isolated(state.terms, ["Si"]))
    truth = Weights.prior(state.prior_mm).given(passed_on.plus(all_data(fit, [atom(), *data])))
    tests = [crystal(9), crystal(51), cluster(8)] if added == "points" else [crystal(9, symbols="SiC"), crystal(9)]
    assert_is(fit, truth, tests, tolerance)
    # it is not the fit to all, whose old data speak of the new points, too
    other = fresh(fit, [*few, *data])
    assert np.abs(numbers(other, tests[0]) - numbers(fit, tests[0])).max() > 1e-5


def test_repeated_extension_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    data = new_frames()
    no_new_points(monkeypatch)
    once = model().fit(old_frames()).extend(data)
    twice = model().fit(old_frames()).extend(data[:2]).extend(data[2:])
    assert_alike(twice, once, 1e-9)
    assert twice.log_evidence_ == pytest.approx(once.log_evidence_, rel=1e-9)
    assert np.array_equal(twice.state_.hashes, once.state_.hashes)


def test_by_default_new_points_lie_where_old_ones_do_not_reach() -> None:
    """Between old points, which cover the old data, new ones have next to no old data against them."""
    old = model(soap_term(n_sparse=20)).fit(frames(12))
    (known,) = (all_features(p) for p in old.state_.terms[0].points.values())
    reach = pdist(known).min()
    alike = [label(crystal(100 + k)) for k in range(4)]
    assert copy(old).extend(alike).state_.terms[0].n_columns < 20 + 3
    assert copy(old).extend(alike, n_sparse=3).state_.terms[0].n_columns == 20 + 3
    far = [crystal(50 + k) for k in range(4)]
    for atoms in far:
        atoms.set_cell(atoms.cell.array * 0.8, scale_atoms=True)
    (both,) = (all_features(p) for p in copy(old).extend([label(a) for a in far]).state_.terms[0].points.values())
    assert len(both) > 20
    assert cdist(both[20:], known).min() > 0.999 * reach
    assert pdist(both[20:]).min() > 0.999 * reach


def test_an_element_that_is_known_from_crystals_alone_takes_new_points() -> None:
    """Its few environments, all that there were, cover nothing; the others go on sparing theirs."""
    diamond = [bulk("C", a=a) for a in (4.5, 4.6)]
    with pytest.warns(GapkitWarning, match="C: 5 sparse points wanted, but only 2 environments are distinct"):
        old = model(soap_term(n_sparse=24)).fit([*frames(12), atom("C"), *map(label, diamond)])
    before = {c: len(p.x_md) for c, p in old.state_.terms[0].points.items()}
    assert before[(6,)] == 3
    more = [label(crystal(100 + k)) for k in range(4)]
    for k, atoms in enumerate(diamond):
        atoms.rattle(0.1, seed=k)
    hot = [label(atoms) for atoms in diamond]
    after = {c: len(p.x_md) for c, p in old.extend([*more, *hot]).state_.terms[0].points.items()}
    assert after[(6,)] > before[(6,)]
    assert after[(14,)] < before[(14,)] + 3


def test_sparse_points_as_many_as_wanted_old_ones_first() -> None:
    old = model(soap_term(n_sparse={"Si": 8})).fit(old_frames())
    fit = copy(old).extend(carbon(), n_sparse={"Si": 3, "C": 4})
    points = fit.state_.terms[0].points
    assert {c: len(p.x_md) for c, p in points.items()} == {(6,): 5, (14,): 11}  # and the isolated atom of carbon
    usual = copy(old).extend(carbon()).state_.terms[0].points
    assert {c: len(p.x_md) for c, p in usual.items()} == {(6,): 9, (14,): 12}
    shared = copy(old).extend(carbon(), n_sparse=7).state_.terms[0].points
    assert sum(len(p.x_md) for p in shared.values()) == 8 + 7 + 1
    one, two = (copy(old).extend(carbon(), rng=5).state_.terms[0].points for _ in range(2))
    assert all(np.array_equal(one[c].x_md, two[c].x_md) for c in one)


def test_distances_and_triangles_are_added_where_the_old_ones_do_not_reach() -> None:
    old = model(PairTerm(3.5, n_sparse=6), TripletTerm(3.2, n_sparse=6)).fit(old_frames())
    shortest = old.state_.terms[0].points[14, 14].x_md[:, 0]
    far = copy(old).extend([crystal(30, config_type="same")])
    assert np.array_equal(far.state_.terms[0].points[14, 14].x_md[:, 0], shortest)
    near = copy(old).extend([label(Atoms("Si2", [[0, 0, 0], [0, 0, 1.4]]), ("energy",))])
    added = near.state_.terms[0].points[14, 14].x_md[6:, 0]
    assert added.min() == pytest.approx(1.4)
    assert added.max() < shortest.min()
    old_md, far_md = (f.state_.terms[1].points[14, 14, 14].x_md for f in (old, far))
    assert np.array_equal(far_md, old_md)
    small = copy(old).extend([label(Atoms("Si3", [[0, 0, 0], [0, 0, 1.6], [0, 1.6, 0.2]]))])
    small_md = small.state_.terms[1].points[14, 14, 14].x_md
    assert np.array_equal(small_md[:6], old_md)
    assert 6 < len(small_md) <= 9
    assert cdist(small_md[6:], old_md).min() > pdist(old_md).min()
    # all triangles of the data were taken: nothing is known of those beside them
    few = model(TripletTerm(3.2, n_sparse=99)).fit(old_frames()[:2])
    n_old, n_new = (
        len(f.state_.terms[0].points[14, 14, 14].x_md)
        for f in (few, copy(few).extend([crystal(30, config_type="same")]))
    )
    assert n_old < 99
    assert n_new > n_old


def test_old_triangles_may_be_farther_from_each_other_than_any_is_long() -> None:
    """Those of two elements differ in sign where the legs change places, and a short length scale makes that large."""
    term = TripletTerm(3.2, n_sparse=2, theta=(5.0, 0.05, 5.0))
    old = model(term).fit([*two_species(6), *old_frames()[1:]])
    fit = copy(old).extend([crystal(77, symbols="SiC", config_type="new")])
    for channel, own in old.state_.terms[0].points.items():
        assert np.array_equal(fit.state_.terms[0].points[channel].x_md[: len(own.x_md)], own.x_md)


def test_what_is_kept_and_what_is_dropped(tmp_path: Path) -> None:
    old = model(soap_term(n_sparse={"Si": 8})).fit(to_frames(old_frames(), where="old.xyz"))
    old.calibration_ = object()  # type: ignore[assignment]
    data = to_frames(carbon(), where="folder/new.xyz")
    fit = copy(old).extend(data)
    assert fit.calibration_ is None
    assert old.calibration_ is not None  # the model that was copied is as it was
    assert all(fit.trained_on([*old_frames(), *carbon()]))
    assert not any(fit.trained_on(new_frames()))
    n_atoms = sum(map(len, [*old_frames(), *carbon()]))
    assert (fit.training_["frames"], fit.training_["atoms"]) == (len(old_frames()) + len(carbon()), n_atoms)
    kinds = {(e["group"], e["kind"]) for e in fit.training_["errors"]}
    assert {("crystal", "forces"), ("cluster", "energy"), ("default", "stress")} <= kinds
    words = [fit.origin(m) for m in range(len(fit.state_.posterior.weights_m))]
    assert [w for w in words if w == "isolated C atom"] == ["isolated C atom"]
    named = [w for w in words if w.startswith("new.xyz")]
    assert len(named) == 12  # eight of carbon, four of silicon
    for text in named:  # and it is true
        frame, number, symbol = re.match(r"new.xyz, frame (\d+), atom (\d+) \((\w+)\)", text).groups()  # type: ignore[union-attr]
        assert carbon()[int(frame)][int(number)].symbol == symbol
    assert sum(w.startswith("old.xyz") for w in words) == 7
    fit.save(tmp_path / "a.gap", data=True)
    again = load(tmp_path / "a.gap")
    assert [again.origin(m) for m in range(len(words))] == words
    made = again.fit([*old_frames(), *carbon()])  # its settings know the new element
    assert made.species_ == (6, 14)


def test_what_a_model_can_do_it_still_can(monkeypatch: pytest.MonkeyPatch) -> None:
    fit = model().fit(old_frames()).extend(carbon())
    atoms = crystal(9, symbols="SiC")
    found = fit.leave_one_out(carbon()[1:3])
    less = model().fit(old_frames()).extend(carbon())
    less.remove([carbon()[1]])
    honest = less.residuals([carbon()[1]])
    for kind, own in honest.items():
        mine = found[kind].frame_x == 0
        assert found[kind].error_xc[mine] == pytest.approx(own.error_xc, abs=1e-6 * np.abs(own.error_xc).max())
    energies = [member.predict(atoms, {"energy"}).energy for member in fit.sample(300, rng=1)]
    e = fit.explain(atoms)
    assert np.std(energies) == pytest.approx(e.energy_data_std, rel=0.2)
    assert e.energy == pytest.approx(fit.predict(atoms).energy, abs=1e-9)
    assert e.energy_shares is not None
    assert sum(e.energy_shares.values()) == pytest.approx(1.0)
    quiet = copy(fit).refit(Noise(energy=0.01, forces=None, stress=0.1))
    rows = [p for p in fit.state_.rows or () if p.key.kind != "forces"]
    state = replace(fit.state_, noise=quiet.state_.noise)
    expected = solve(state.prior_mm, *sigmas_of(rows, state.noise)).weights_m
    assert quiet.state_.posterior.weights_m == pytest.approx(expected, rel=1e-7, abs=1e-7 * np.abs(expected).max())
    assert_alike(copy(quiet).refit(Noise(**SIGMAS)), fit, 1e-9, [atoms])
    after = without_data(fit).extend(new_frames())  # a summary is no label: it has no error and no other σ
    assert {e["group"] for e in after.training_["errors"]} == {"dense"}
    assert EXACT in [part.key for part in after.state_.rows or ()]


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"frames": [crystal(0, config_type="crystal")]}, DataError, r"in the fit already \(frame 0\).*only new"),
        ({"old_frames": frames(5)}, DataError, "1 of its 7 frames are missing.*leave old_frames out"),
        ({"old_frames": frames(7)}, DataError, "old_frames has frames that were not in the fit"),
        ({"e0": {"Si": -2.6}}, ConfigError, r"e0 of Si is -2.5 eV in the model, not -2.6 eV.*fine_tune"),
        ({"e0": [1.0]}, ConfigError, "e0=.* no dictionary"),
        ({"e0": {"Si": "low"}}, ConfigError, "not a number"),
        ({"n_sparse": 0}, ConfigError, "n_sparse=0"),
        ({"n_sparse": {"Ge": 3}}, ConfigError, "n_sparse names 'Ge', which is not in the data"),
        ({"n_sparse": "many"}, ConfigError, "n_sparse='many'"),
        ({"frames": []}, DataError, "There are no structures"),
        ({"frames": crystal(0)}, DataError, r"pass \[atoms\]"),
        ({"frames": [Atoms("Si2", [[0, 0, 0], [0, 0, 2]])]}, DataError, "No frame has an energy"),
    ],
)
def test_errors_leave_the_model_as_it_was(arguments: dict[str, Any], error: type[Exception], text: str) -> None:
    fit = model().fit(old_frames())
    before = fit.state_
    with pytest.raises(error, match=text):
        fit.extend(**{"frames": new_frames(), **arguments})
    assert fit.state_ is before


@pytest.mark.parametrize("shift", [0.0, 1e-4, 0.2])
def test_isolated_atoms_with_another_energy_are_noticed(shift: float) -> None:
    """The model keeps its e0, and says so."""
    one = model().fit(old_frames())
    lone = atom()
    lone.calc.results["energy"] += shift
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        one.extend([lone, *new_frames()])
    said = [str(w.message) for w in caught if "isolated Si" in str(w.message)]
    assert len(said) == (shift > 1e-3)
    assert not said or re.search(r"frame 0: isolated Si has -2\.3 eV, but -2\.5 eV in the model.*Fix:", said[0])
    assert one.predict(Atoms("Si")).energy == pytest.approx(-2.5, abs=1e-6)
