"""Choosing settings: trials are honest fits, work is shared, searches go on where they stopped, verdicts are true."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gapkit import GAP, ConfigError, DataError, GapkitWarning, Noise, PairTerm, SoapTerm
from gapkit.tuning import Trial, Tuning, tune
from gapkit.tuning.search import Budget
from gapkit.tuning.space import space_of, value_text
from tests.samples import R_CUT, frames, model, numbers, soap_arguments, two_species

SPACE = {"zeta": [1, 4], "r_cut": [3.2], "n_sparse": [4, 6]}
GRID = 3 * 2 * 3


def run(space: Any = SPACE, budget: Any = None, structures: Any = None, **changes: Any) -> Tuning:
    settings = {"model": model(), **changes}
    return tune(frames() if structures is None else structures, space, budget, **settings)


def same(one: Trial, other: Trial) -> bool:
    """All but the time, to the digits that two orders of work have in common."""
    close = [
        (one.log_evidence, other.log_evidence),
        *((one.mae[k], other.mae[k]) for k in one.mae),
        *((one.rmse[k], other.rmse[k]) for k in one.rmse),
    ]
    alike = one.settings == other.settings and one.noise == other.noise and one.n_sparse == other.n_sparse
    return alike and all(math.isclose(a, b, rel_tol=1e-8) for a, b in close)


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch, stop_at: int | None = None) -> Iterator[list[GAP]]:
    """The passes over the data that are made; the one of this number is interrupted."""
    fits: list[GAP] = []
    usual = GAP.fit_each

    def fit_each(self: GAP, *given: Any, **more: Any) -> list[GAP]:
        if len(fits) == stop_at:
            raise KeyboardInterrupt
        fits.append(self)
        return usual(self, *given, **more)

    with monkeypatch.context() as patch:
        patch.setattr(GAP, "fit_each", fit_each)
        yield fits


@pytest.fixture(scope="module")
def grid() -> Tuning:
    return run()


def test_every_trial_is_the_fit_with_its_settings(grid: Tuning) -> None:
    structures = frames()
    assert len(grid.trials) == len({json.dumps(t.settings) for t in grid.trials}) == GRID
    assert grid.trials[0].settings == {"zeta": 2, "r_cut": R_CUT, "n_sparse": 8}
    for trial in grid.trials:
        zeta, r_cut, n = trial.settings.values()
        weighting = {"function": "poly", "r0": r_cut, "c": 1.0, "m": 1.0}
        soap = SoapTerm(soap_arguments(r_cut=r_cut, weighting=weighting), zeta=zeta, n_sparse=n)
        fresh = model(terms=[PairTerm(r_cut=3.5, n_sparse=6), soap]).fit(structures)
        errors = fresh.leave_one_out(structures)
        assert trial.log_evidence == pytest.approx(fresh.log_evidence_, rel=1e-9)
        assert trial.n_sparse == 6 + n
        for kind, own in errors.items():
            assert trial.mae[kind] == pytest.approx(np.abs(own.error_xc).mean(), rel=1e-6)
            assert trial.rmse[kind] == pytest.approx(np.sqrt(np.mean(own.error_xc**2)), rel=1e-6)
        assert trial.noise == {"energy": 0.002, "forces": 0.05, "stress": 0.02, "groups": None}


def test_powers_and_numbers_of_points_share_a_fit(grid: Tuning, monkeypatch: pytest.MonkeyPatch) -> None:
    from gapkit.model import soap_term

    chosen: list[int] = []
    usual = soap_term.choose_environments
    monkeypatch.setattr(soap_term, "choose_environments", lambda *a: chosen.append(1) or usual(*a))
    with counted(monkeypatch) as fits:
        found = run()
    assert len(fits) == len(chosen) == 2  # of each cutoff
    assert all(map(same, found.trials, grid.trials))


def test_points_in_no_order_are_fitted_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    terms = [SoapTerm(soap_arguments(), zeta=2, n_sparse=8, method="uniform")]
    with counted(monkeypatch) as fits:
        found = run({"n_sparse": [4, 6]}, model=model(terms=terms))
    assert len(fits) == len(found.trials) == 3
    expected = model(terms=[SoapTerm(soap_arguments(), zeta=2, n_sparse=4, method="uniform")]).fit(frames())
    assert found.trials[1].log_evidence == pytest.approx(expected.log_evidence_, rel=1e-9)


def test_a_search_goes_on_where_it_was_interrupted(
    grid: Tuning, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "trials.jsonl"
    with counted(monkeypatch, stop_at=1), pytest.warns(GapkitWarning, match="interrupted; the trials so far are kept"):
        part = run(checkpoint=path)
    assert all(map(same, part.trials, grid.trials[:9]))
    assert len(part.trials) == 9
    with path.open("ab") as stream:
        stream.write(b'{"settings": {"zeta": 1, "r_c')  # as of a machine that lost its power
    with counted(monkeypatch) as fits:
        found = run(checkpoint=path)
    assert len(fits) == 1
    assert all(map(same, found.trials, grid.trials))
    assert len(path.read_text().splitlines()) == 1 + GRID
    with counted(monkeypatch) as fits:  # more values, and other dimensions, keep what is known
        more = run({**SPACE, "zeta": [1, 4, 5]}, checkpoint=path)
        other = run({"n_sparse": [4]}, checkpoint=path)
    assert len(fits) == 2
    assert len(more.trials) == GRID + 6
    assert [t.settings for t in other.trials] == [{"n_sparse": 8}, {"n_sparse": 4}]


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    path, small = tmp_path / "trials.jsonl", {"n_sparse": [4]}
    run(small, checkpoint=path)
    content = path.read_bytes()
    for what, changes in {
        "other structures or labels": {"structures": frames(7)},
        "another model": {"model": model(noise=Noise(0.002, 0.06, 0.02))},
        "left out together": {"leave": [0, 1, 1, 2, 2, 3, 3]},
        "another seed": {"rng": 1},
    }.items():
        with pytest.raises(ConfigError, match=rf"checkpoint belongs to.*{what}.*\(.*trials.jsonl\).*remove this one"):
            run(small, checkpoint=path, **changes)
    assert path.read_bytes() == content
    for text in ('{"a": 1}\n', "not JSON\n", content.decode().replace("log_evidence", "evidence", 1)):
        path.write_text(text)
        with pytest.raises(ConfigError, match="no checkpoint of gapkit tune"):
            run(small, checkpoint=path)
    with pytest.raises(ConfigError, match="cannot be written"):
        run(small, checkpoint=tmp_path / "absent" / "trials.jsonl")


def test_the_budget_is_obeyed(grid: Tuning, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in (1, 5, 12):
        found = run(budget=n)
        assert len(found.trials) == n
        assert same(found.trials[0], grid.trials[0])
    assert len(run(budget=GRID).trials) == GRID
    with counted(monkeypatch) as fits:
        short = run(budget=1e-9)
    assert len(fits) == 1
    assert len(short.trials) == 9  # the first fit is always made


def test_a_resumed_search_has_the_same_budget(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    run(budget=4, checkpoint=path)
    found, expected = run(budget=8, checkpoint=path), run(budget=8)
    assert [t.settings for t in found.trials] == [t.settings for t in expected.trials]


def test_one_dimension_after_the_other_ends_where_no_step_helps(grid: Tuning) -> None:
    found = run(budget=GRID - 1)
    assert len(found.trials) < GRID
    best = found.best.settings
    score = {json.dumps(t.settings): t.score("leave_one_out") for t in grid.trials}
    neighbours = [{**best, name: v} for name, own in grid.space.values.items() for v in own]
    assert all(found.best.score("leave_one_out") <= score[json.dumps(s)] + 1e-9 for s in neighbours)


def test_without_a_space_values_about_the_start_are_tried() -> None:
    space = space_of(model(terms=[SoapTerm(soap_arguments(), zeta=4, n_sparse=400)]).terms, None)
    assert space.values == {
        "r_cut": (3.6, 2.9, 3.2, 4.0),
        "m": (1.0, 2.0),
        "zeta": (4, 2, 6),
        "sigma": (0.5, 0.4, 0.62),
        "n_sparse": (400, 100, 200),
    }
    found = run(None, budget=3, structures=frames(4))
    assert [t.settings["zeta"] for t in found.trials] == [2, 4, 6]
    with pytest.warns(GapkitWarning, match="environments are distinct"):  # terms and baselines from the data
        whole = tune(frames(6), {"n_sparse": [4]})
    assert [b.kind for b in whole.base.baselines] == ["zbl", "cohesion"]
    assert whole.trials[0].settings["n_sparse"] == whole.base.terms[1].n_sparse


def test_names_reach_every_term() -> None:
    terms = [PairTerm(r_cut=3.5, n_sparse=6), SoapTerm(soap_arguments(), n_sparse=8)]
    given = {"pair__r_cut": [4], "soap1__zeta": [2], "compression": ["mu2"], "m": [2], "embedding": [None, 2]}
    space = space_of(terms, given)
    assert space.start == {"pair__r_cut": 3.5, "soap1__zeta": 4, "compression": "off", "m": 1.0, "embedding": None}
    changed = {"pair__r_cut": 4.0, "soap1__zeta": 2, "compression": "mu2", "m": 2.0, "embedding": 2}
    pair, soap = space.changed(changed)
    assert (pair.r_cut, soap.zeta, soap.embedding) == (4.0, 2, 2)
    assert soap.soap["compression"] == {"mode": "mu2"}
    assert soap.soap["weighting"]["m"] == 2.0
    assert (terms[0].r_cut, terms[1].zeta, terms[1].soap) == (3.5, 4, soap_arguments())
    assert space_of(terms, {"r_cut": [np.float64(3.6), 5]}).values == {"r_cut": (3.6, 5.0)}
    (_, moved) = space_of(terms, {"r_cut": [5]}).changed({"r_cut": 5.0})
    assert moved.soap["r_cut"] == moved.soap["weighting"]["r0"] == 5.0


def test_the_size_of_the_basis_and_the_embedding_of_elements_are_varied() -> None:
    """Every trial of two elements is the fit with its settings; a wider basis and mixed elements are other models."""
    structures = two_species(8)
    vectors = {"Si": [1.0, 0.25], "C": [0.25, 1.0]}
    found = run({"n_max": [4], "l_max": [3], "embedding": [2, vectors]}, structures=structures)
    assert len(found.trials) == 2 * 2 * 3
    assert len({trial.log_evidence for trial in found.trials}) == len(found.trials)
    for trial in found.trials:
        n_max, l_max, embedding = trial.settings.values()
        soap = SoapTerm(soap_arguments(n_max=n_max, l_max=l_max), zeta=2, n_sparse=8, embedding=embedding)
        fresh = model(terms=[PairTerm(r_cut=3.5, n_sparse=6), soap]).fit(structures)
        assert trial.log_evidence == pytest.approx(fresh.log_evidence_, rel=1e-9)
        assert trial.mae["forces"] == pytest.approx(fresh.leave_one_out_errors(structures)["forces"].mae, rel=1e-6)
    assert value_text(vectors) == "(Si 1 0.25, C 0.25 1)"
    assert found.model().terms[1].embedding == found.best.settings["embedding"]


def test_settings_that_do_not_go_together_are_left_aside(tmp_path: Path) -> None:
    path, structures = tmp_path / "trials.jsonl", two_species(6)
    space = {"zeta": [1], "alchemical": [True], "embedding": [1, 2]}
    with pytest.warns(GapkitWarning) as caught:
        found = run(space, structures=structures, checkpoint=path)
    texts = [str(warning.message) for warning in caught]
    assert [t for t in texts if t.startswith("zeta 2, alchemical True, embedding none is left aside: an alchemical")]
    assert [t for t in texts if t.startswith("zeta 2, alchemical False, embedding 1 is left aside: embedding=1 is")]
    assert sum("is left aside" in text for text in texts) == 2  # the reason is said once, not for each ζ
    expected = [(False, None), (False, 2), (True, 2)]
    assert [tuple(t.settings.values())[1:] for t in found.trials] == [own for own in expected for _ in range(2)]
    assert len(path.read_text().splitlines()) == 1 + 6
    with pytest.warns(GapkitWarning, match="left aside"):  # what is refused costs nothing of the budget
        assert len(run(space, 6, structures=structures).trials) == 6
    with pytest.raises(ConfigError, match="embedding=1 is outside its range"):  # nothing is left to compare with
        run({"embedding": [1]}, structures=structures)


def test_species_share_points_as_in_the_thinner_model() -> None:
    structures = two_species(6)
    found = run({"n_sparse": [5], "zeta": [1]}, structures=structures)
    thin = model().fit(structures).thinned(5)
    expected = thin.leave_one_out_errors(structures)
    trial = next(t for t in found.trials if t.settings == {"n_sparse": 5, "zeta": 2})
    assert trial.mae["forces"] == pytest.approx(expected["forces"].mae, rel=1e-9)
    with pytest.warns(GapkitWarning, match="environments are distinct"):
        all_points = run({"n_sparse": [500]})
    assert all_points.trials[1].n_sparse < 100  # no more than there are


def test_what_was_chosen_can_be_fitted(grid: Tuning) -> None:
    made, start = grid.fit(frames()), model()
    zeta, r_cut, n = grid.best.settings.values()
    weighting = {"function": "poly", "r0": r_cut, "c": 1.0, "m": 1.0}
    soap = SoapTerm(soap_arguments(r_cut=r_cut, weighting=weighting), zeta=zeta, n_sparse=n)
    expected = model(terms=[PairTerm(r_cut=3.5, n_sparse=6), soap]).fit(frames())
    assert np.array_equal(numbers(made), numbers(expected))
    assert made.log_evidence_ == pytest.approx(grid.best.log_evidence, rel=1e-9)
    assert not hasattr(grid.model("evidence"), "state_")
    assert repr(grid.base.terms) == repr(start.terms)


def test_the_model_is_not_changed_and_noise_is_learned() -> None:
    start = model(noise=None)
    before = repr(start)
    found = run({"zeta": [1]}, model=start, n_jobs=2)
    assert repr(start) == before
    assert found.trials[0].noise != found.trials[1].noise
    assert found.model().n_jobs == 2
    assert found.model().noise is None


def test_sigma_of_each_kind_may_be_that_of_the_evidence() -> None:
    structures = frames(8)
    found = run({"zeta": [1], "n_sparse": [5]}, structures=structures, noise="kind")
    for trial in found.trials:
        zeta, n = trial.settings.values()
        terms = [PairTerm(r_cut=3.5, n_sparse=6), SoapTerm(soap_arguments(), zeta=zeta, n_sparse=n)]
        fresh = model(terms=terms).fit(structures).maximize_evidence("kind", delta=False)
        assert trial.log_evidence == pytest.approx(fresh.log_evidence_, abs=1e-3)
        assert trial.noise["forces"] == pytest.approx(fresh.noise.forces, rel=1e-3)
    made = found.fit(structures)
    assert made.noise.get_params() == found.best.noise
    assert made.log_evidence_ == pytest.approx(found.best.log_evidence, rel=1e-9)


def test_agreement_and_disagreement_are_reported() -> None:
    # few energies and many forces, whose σ are bound to one another: the evidence gives energies away
    wide = soap_arguments(r_cut=5.8, weighting={"function": "poly", "r0": 5.8, "c": 1.0, "m": 1.0})
    start = model(terms=[SoapTerm(wide, zeta=2, n_sparse=12)], noise=None)
    blind = run({"zeta": [1, 6]}, structures=frames(12, kinds=("energy", "forces")), model=start)
    sharp = run({"n_sparse": [2]}, model=model(terms=[SoapTerm(soap_arguments(), n_sparse=12)]))
    assert sharp.agrees
    assert sharp.agreement == "Evidence and left-out errors agree on n_sparse 12 over 2 trials."
    assert sharp.best is sharp.best_by_evidence is sharp.best_by_errors
    assert blind.best.settings == {"zeta": 1}
    assert blind.best_by_evidence.settings == {"zeta": 6}
    assert not blind.agrees
    assert blind.loss > 0.1
    errors, evidence = blind.best, blind.best_by_evidence
    more = 100.0 * (evidence.mae["energy"] / errors.mae["energy"] - 1.0)
    assert "disagree: the evidence prefers zeta 6 (log evidence +" in blind.agreement
    assert f"errors zeta 1. With the choice by evidence they are energy {more:+.1f} %, forces " in blind.agreement
    assert blind.model().terms[0].zeta == 1
    assert blind.model("evidence").terms[0].zeta == 6


def of(log_evidence: float, energy: float, forces: float, zeta: int = 2) -> Trial:
    mae = {"energy": energy, "forces": forces} if energy else {}
    return Trial({"zeta": zeta}, log_evidence, mae, dict(mae), {}, 9, 1.0)


def verdict(*trials: Trial, by: str = "leave_one_out") -> Tuning:
    space = space_of(model().terms, {"zeta": [t.settings["zeta"] for t in trials]})
    return Tuning(trials, model(), space, 0, by, "frame")


def test_a_best_value_at_the_end_of_those_tried_is_named() -> None:
    low, middle, high = of(1.0, 1.0, 1.0), of(1.0, 0.8, 0.8, 3), of(1.0, 0.6, 0.6, 4)
    assert verdict(low, middle, high).at_edge == {"zeta": 4}
    assert verdict(low, middle, high).as_dict()["at_edge"] == {"zeta": 4}
    assert verdict(of(1.0, 1.0, 1.0), middle, of(1.0, 0.9, 0.9, 4)).at_edge == {}
    assert verdict(low, high).at_edge == {}


def test_one_percent_of_energies_weighs_as_one_of_forces() -> None:
    first, energies, forces = of(1.0, 1.0, 1.0), of(3.0, 0.8, 1.1, 3), of(2.0, 1.1, 0.7, 4)
    found = verdict(first, energies, forces)
    assert found.best is forces
    assert verdict(first, energies, forces, by="energy").best is energies
    assert verdict(first, energies, forces, by="evidence").best is energies
    assert found.loss == pytest.approx(np.sqrt(0.88 / 0.77) - 1.0)
    assert found.rank_correlation == pytest.approx(0.5)
    assert "With the choice by evidence they are energy -27.3 %, forces +57.1 %; rank" in found.agreement
    close = verdict(of(1.0, 1.0, 1.0), of(3.0, 1.001, 1.002, 3))
    assert close.agrees
    assert "agree within 1 %" in close.agreement


def test_settings_that_cannot_be_judged_are_left_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = GAP.leave_one_out_errors

    def errors(self: GAP, *given: Any) -> Any:
        if self.terms[1].zeta == 1:
            raise DataError("What the fit says about a frame rests on its own labels alone", fix="a larger σ")
        return usual(self, *given)

    monkeypatch.setattr(GAP, "leave_one_out_errors", errors)
    with pytest.warns(GapkitWarning, match="^zeta 1 is left aside: what the fit says .*larger σ"):
        found = run({"zeta": [1]})
    assert found.trials[1].score("leave_one_out") == math.inf
    assert found.best is found.trials[0]
    unknown = verdict(of(1.0, 1.0, 1.0), of(2.0, 0.0, 0.0, 3))
    assert "are not known" in unknown.agreement
    json.dumps(unknown.as_dict(), allow_nan=False)


def test_trajectories_are_left_out_together() -> None:
    structures, small = frames(9), model(terms=[SoapTerm(soap_arguments(), n_sparse=6)])
    with pytest.warns(GapkitWarning, match=r"of . trajectories, too few to leave one out.*leave='frame'"):
        few = tune(structures[:5], {"zeta": [1]}, leave="trajectory", model=small)
    assert few.left_out == "frame"
    labels = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4]
    found = run({"zeta": [1]}, structures=structures, leave=labels)
    expected = model().fit(structures).leave_one_out_errors(structures, labels)
    assert found.trials[0].mae["forces"] == pytest.approx(expected["forces"].mae, rel=1e-9)
    assert found.left_out == "groups"


def test_the_report_and_the_figure(grid: Tuning, tmp_path: Path) -> None:
    report = json.loads(json.dumps(grid.as_dict(), allow_nan=False))
    first = report["trials"][0]
    assert first["energy"]["mae_meV_per_atom"] == pytest.approx(1000.0 * grid.trials[0].mae["energy"])
    assert report["agreement"] == grid.agreement
    assert report["best"]["settings"] == grid.best.settings
    grid.plot(tmp_path / "trials.png")
    assert (tmp_path / "trials.png").stat().st_size > 20_000
    with pytest.raises(ConfigError, match=r"cannot be written as 'trials\.doc'"):
        grid.plot(tmp_path / "trials.doc")


def test_budgets_in_words() -> None:
    assert Budget.of(None) == Budget()
    assert Budget.of(7) == Budget(trials=7)
    assert Budget.of(2.5) == Budget(seconds=2.5)
    assert [Budget.of(t).seconds for t in ("90s", "1.5min", " 2 h ", "1d")] == [90.0, 90.0, 7200.0, 86400.0]
    for wrong in (0, -1.0, "soon", "10", True, float("nan")):
        with pytest.raises(ConfigError, match="budget"):
            Budget.of(wrong)


@pytest.mark.parametrize(
    ("space", "message"),
    {
        "unknown": ({"zeat": [1]}, r"names 'zeat', which is no setting of SoapTerm.*did you mean 'zeta'"),
        "no such term": ({"acsf__theta": [1]}, r"no term is 'acsf'.*pair, pair0, soap, soap1"),
        "not of the pair term": ({"pair__zeta": [1]}, "no setting of PairTerm"),
        "a word": ({"zeta": "4"}, "no list of values"),
        "a number": ({"zeta": 4}, "no list of values"),
        "no dictionary": ([1], "no dictionary"),
        "nothing new": ({"zeta": [2]}, "nothing to vary"),
        "empty": ({}, "nothing to vary"),
        "not JSON": ({"zeta": [object()]}, "has the value"),
        "not finite": ({"r_cut": [math.inf]}, "has the value inf"),
        "out of range": ({"zeta": [40]}, "zeta=40"),
    }.values(),
)
def test_what_cannot_be_varied_is_said(space: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run(space)


def test_models_that_cannot_be_varied_are_said() -> None:
    soap = SoapTerm(soap_arguments(), n_sparse=8)
    bare = SoapTerm({k: v for k, v in soap_arguments().items() if k != "weighting"}, n_sparse=8)
    for terms, space, message in [
        ([soap, soap], {"zeta": [1]}, r"several SoapTerms.*soap0__r_cut or soap1__r_cut"),
        ([PairTerm(r_cut=3.5)], {"zeta": [1]}, "no SoapTerm"),
        ([SoapTerm(None)], {"zeta": [1]}, "no dictionary"),
        ([bare], {"m": [2]}, r"no weighting.*'poly'"),
    ]:
        with pytest.raises(ConfigError, match=message):
            run(space, model=model(terms=terms))
    with pytest.raises(ConfigError, match="score='errors'"):
        run(score="errors")
    with pytest.raises(ConfigError, match="noise='group' does not exist"):
        run(noise="group")
    with pytest.raises(ConfigError, match=r"leave='molecule' does not exist.*label for each"):
        run(leave="molecule")
