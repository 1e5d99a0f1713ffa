"""Settings that are chosen by the evidence and by errors of left-out frames when the user gives none."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from gapkit import GAP, GapkitWarning, Noise, SoapTerm, TripletTerm
from gapkit.gp.folds import Scales
from gapkit.model import choosing
from gapkit.model.choice import GIVEN
from gapkit.model.choosing import Chosen, _Search, choose
from gapkit.model.defaults import soap_of
from gapkit.model.prepared import Prepared
from gapkit.model.sigmas import scales_of_least_errors
from gapkit.model.trials import Judged, gain_of
from gapkit.typing import Kind
from tests.samples import E0, cluster, crystal, label

SMALL = {"n_max": 3, "l_max": 2}
"""Settings that make the trials quick; they are given, so they are not chosen."""


def data(n: int = 20, **changes: Any) -> Prepared:
    """Crystals and clusters of silicon, energies of the Morse potential."""
    structures = [crystal(k, **changes) if k % 2 else cluster(k, "Si6", **changes) for k in range(n)]
    return GAP(e0=E0).prepare(structures)


def chosen(given: dict[str, Any], noise: Noise | None = None, n: int = 20, **changes: Any) -> Chosen:
    return choose(data(n, **changes), {**SMALL, **given}, noise, n_jobs=1, ceiling=float("inf"))


@pytest.fixture(scope="module")
def found() -> Chosen:
    return chosen({})


def reasons(found: Chosen) -> dict[str, str]:
    return {choice.name: choice.why for choice in found.choices}


def test_every_setting_has_a_reason(found: Chosen) -> None:
    names = {"terms", "r_cut", "weight", "n_sparse", "sigma", "n_max", "l_max", "zeta"}
    sigmas = {"sigma_energy", "sigma_forces", "sigma_stress"}
    assert set(reasons(found)) == names | sigmas
    assert len(found.choices) == len(reasons(found))
    assert all(choice.value and choice.why for choice in found.choices)
    assert "log evidence per label" in reasons(found)["r_cut"]
    assert "left-out frames" in reasons(found)["sigma_forces"]
    assert reasons(found)["n_max"] == reasons(found)["l_max"] == GIVEN


def test_what_was_chosen_is_what_was_said(found: Chosen) -> None:
    values = {choice.name: choice.value for choice in found.choices}
    soap = soap_of(found.terms)
    assert values["r_cut"] == f"{soap.soap['r_cut']:g} Å"
    assert values["weight"].endswith(f"m {soap.soap['weighting']['m']:g}")
    assert ("triplet" in values["terms"]) == any(isinstance(term, TripletTerm) for term in found.terms)
    assert found.noise is not None
    assert values["sigma_forces"] == f"{found.noise.forces:.2g} eV/Å"


def test_the_same_data_give_the_same_choices(found: Chosen) -> None:
    again = chosen({})
    assert again.choices == found.choices
    assert repr(again.terms) == repr(found.terms)


def test_given_settings_are_not_chosen() -> None:
    noise = Noise(0.01, 0.2, None)
    made = chosen({"r_cut": 4.3, "n_sparse": 9, "zeta": 2}, noise)
    soap = soap_of(made.terms)
    assert (soap.soap["r_cut"], soap.n_sparse, soap.zeta) == (4.3, 9, 2)
    assert made.noise is noise
    assert {reasons(made)[name] for name in ("r_cut", "n_sparse", "zeta")} == {GIVEN}
    assert not any(name.startswith("sigma_") for name in reasons(made))


def test_number_of_points_and_sigma_are_found_apart() -> None:
    assert chosen({"n_sparse": 9}).noise is not None
    made = chosen({}, Noise(0.01, 0.2, 0.2))
    assert made.noise.forces == 0.2
    assert soap_of(made.terms).n_sparse != 9


def test_few_frames_are_settled_by_rule() -> None:
    made = chosen({}, n=choosing.FEWEST_FRAMES - 1)
    assert made.noise is None
    assert "fewer than 16" in reasons(made)["terms"]
    assert [type(term).__name__ for term in made.terms] == ["PairTerm", "SoapTerm"]


def test_energies_alone_will_do() -> None:
    made = chosen({}, kinds=("energy",))
    assert made.noise is not None
    assert "sigma_forces" not in reasons(made)


@pytest.mark.parametrize(
    ("scores", "most", "expected"),
    [
        ((0.0, -0.55), 10**6, 16_000),  # 55 %, then 39, 27, 19, 13, the cap
        ((0.0, -0.05), 10**6, 1000),  # 5, then 3.5 %: no more
        ((0.0, -0.10), 10**6, 4000),  # 10, then 7, 4.9, 3.4 %
        ((0.0, -0.55), 3000, 3000),
        ((0.0, 0.05), 10**6, 1000),  # no gain at all
    ],
)
def test_points_are_doubled_while_it_pays(
    monkeypatch: pytest.MonkeyPatch, scores: tuple[float, ...], most: int, expected: int
) -> None:
    monkeypatch.setattr(_Search, "_most_points", lambda self: min(most, 16_000))
    search = _Search(data(2), {}, None, None, float("inf"), None)  # type: ignore[arg-type]
    points, shrinking = search._points(1000, scores[0] - scores[1])
    assert points == expected
    # σ shrink as the errors are expected to
    assert (shrinking == 1.0) == (points == 1000)
    assert 0.3 < shrinking <= 1.0


def test_a_gain_is_the_mean_of_those_at_the_best_sigma_of_both_fits() -> None:
    """More points do harm at the σ that suits few of them, and help at their own; forces decide."""

    class Fit:
        def __init__(self, **forces_at: float) -> None:
            self._forces_at = forces_at

        def errors(self, scales: Scales) -> dict[Kind, float]:
            return {"energy": 7.0, "forces": self._forces_at["small" if scales["forces"] < 0.5 else "large"]}

    few, many = Fit(small=2.0, large=4.0), Fit(small=2.5, large=1.0)
    both = [(fit, Judged(fit.errors({"forces": s}), {"forces": s})) for fit, s in ((few, 0.1), (many, 1.0))]
    assert gain_of(*both) == pytest.approx(0.5 * (np.log(2.0 / 2.5) + np.log(4.0 / 1.0)))  # type: ignore[arg-type]


def test_a_tight_ceiling_limits_the_points() -> None:
    search = _Search(data(20), {}, None, None, 1e6, None)  # type: ignore[arg-type]
    search.trials = choosing.Trials(search.data, Noise(), True, 1, 1e6)
    assert search._most_points() == 72  # nine tenths of the 80 atoms
    search.ceiling = 8.0 * 50**2 * 8  # three kinds and five more factors of 50 points
    assert search._most_points() == 50


def test_wrong_energies_do_not_cost_the_forces() -> None:
    """σ of energies grows beyond the range of the search, to that of the evidence, and the user is told."""
    structures = [crystal(k) if k % 2 else cluster(k, "Si6") for k in range(24)]
    for k in (2, 3, 9, 14, 17):
        results = dict(structures[k].calc.results)
        results["energy"] += (-1) ** k * 40.0 * len(structures[k])
        structures[k].calc = SinglePointCalculator(structures[k], **results)
    with pytest.warns(GapkitWarning, match="contradict the rest.*gapkit check"):
        found = choose(GAP(e0=E0).prepare(structures), SMALL, None, n_jobs=1, ceiling=float("inf"))
    assert found.noise is not None
    assert found.noise.energy is not None
    assert found.noise.forces is not None
    assert found.noise.energy > 10.0
    assert found.noise.forces < 0.05


def shuffled(atoms: Atoms, seed: int) -> dict[str, Any]:
    order = np.random.default_rng(seed).permutation(len(atoms))
    return {**atoms.calc.results, "forces": atoms.get_forces()[order]}


@pytest.mark.parametrize("how", ["plain", "masked", "own sigma"])
def test_forces_that_cannot_be_learned_are_told(how: str) -> None:
    """And no others, also where a mask leaves some out, or frames bring σ of their own."""
    for wrong in (True, False):
        structures = [crystal(k) if k % 2 else cluster(k, "Si6") for k in range(24)]
        for k, atoms in enumerate(structures):
            atoms.calc = SinglePointCalculator(atoms, **(shuffled(atoms, k) if wrong else atoms.calc.results))
            if how == "masked":
                atoms.arrays["force_mask"] = np.arange(len(atoms)) == 0
            if how == "own sigma":
                atoms.info["force_sigma"] = 0.02 if k % 3 else 2.0
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            choose(GAP(e0=E0).prepare(structures), SMALL, None, n_jobs=1, ceiling=float("inf"))
        told = [str(w.message) for w in caught if "hardly predicted: errors are" in str(w.message)]
        assert len(told) == wrong
        assert all("gapkit check" in text for text in told)


def test_fit_uses_the_choices() -> None:
    structures = [crystal(k) if k % 2 else cluster(k, "Si6") for k in range(20)]
    model = GAP(e0=E0).fit(structures)
    assert model.terms is None
    assert model.noise is None
    soap = soap_of(model.state_.settings)
    assert isinstance(soap, SoapTerm)
    assert model.state_.noise.forces != Noise().forces * model.state_.noise.energy / 0.001  # no common factor
    assert np.abs(model.predict(structures[1]).forces - structures[1].get_forces()).max() < 0.2


@pytest.mark.parametrize(("cost", "moves"), [(0.0, True), (0.004, True), (0.5, False)])
def test_sigma_goes_to_its_usual_ratio_where_errors_do_not_mind(cost: float, moves: bool) -> None:
    """σ of the forces has a best value; energies err by `cost` more per factor of e below 31.6 times their σ."""

    class Fit:
        def errors(self, scales: Scales) -> dict[Kind, float]:
            forces, energy = np.log(scales["forces"]), np.log(scales["energy"] / 10.0**1.5)
            return {"energy": float(np.exp(2.0 * cost * abs(energy))), "forces": float(np.exp(forces**2))}

    found = scales_of_least_errors(Fit(), {"energy": 10.0**1.5, "forces": 1.0})  # type: ignore[arg-type]
    assert found["forces"] == pytest.approx(1.0)
    assert found["energy"] == pytest.approx(1.0 if moves else 10.0**1.5)


def dimers() -> list[Atoms]:
    return [label(Atoms("Si2", [[0, 0, 0], [0, 0, r]])) for r in np.linspace(1.9, 3.0, 18)]


def long_bonds() -> list[Atoms]:
    """Cells whose atoms have no neighbour, or one, within any cutoff of a three-body term."""
    cells = [Atoms("Si2", [[0, 0, 0], [0, 0, 2.2 + 0.02 * k]], cell=[7.0] * 3, pbc=True) for k in range(18)]
    return [label(atoms) for atoms in cells]


@pytest.mark.parametrize("make", [dimers, long_bonds])
def test_three_body_terms_need_three_bodies(make: Callable[[], list[Atoms]]) -> None:
    structures = make()
    found = choose(GAP(e0=E0).prepare(structures), SMALL, None, n_jobs=1, ceiling=float("inf"))
    assert not any(isinstance(term, TripletTerm) for term in found.terms)
    assert "none (nothing in reach) with triplets" in reasons(found)["terms"]
    fit = GAP(found.terms, found.noise, e0=E0).fit(structures)
    assert fit.predict(structures[9]).energy == pytest.approx(structures[9].get_potential_energy(), abs=0.05)


def test_forces_that_are_zero_by_symmetry_choose_nothing() -> None:
    """Perfect crystals: the same choices as from their energies alone."""

    def perfect(kinds: tuple[str, ...]) -> list[Atoms]:
        cells = [bulk("Si", a=a) for a in np.linspace(4.6, 5.4, 20)]
        return [label(atoms, kinds) for atoms in cells]

    both, alone = (
        choose(GAP(e0=E0).prepare(perfect(kinds)), SMALL, None, n_jobs=1, ceiling=float("inf"))
        for kinds in (("energy", "forces"), ("energy",))
    )
    assert both.noise is not None
    assert alone.noise is not None
    assert both.noise.energy == alone.noise.energy
    assert [(c.name, c.value) for c in both.choices] == [(c.name, c.value) for c in alone.choices]
