"""Shapes of terms that compete by the evidence: the rules with figures that are set, and real fits to alloys."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.data import atomic_numbers

from gapkit import GAP, Noise, to_frames
from gapkit.model import choosing
from gapkit.model.choice import Choice
from gapkit.model.choosing import _Curve, _Search, choose
from gapkit.model.competing import Contest, Shape, _Trial
from gapkit.model.defaults import MOST_APART, default_terms, soap_of
from gapkit.model.trials import Judged, Trials
from tests.samples import crystal

SMALL = {"n_max": 3, "l_max": 2}
METALS = ("Ni", "Cu", "Pd", "Ag")
NO_E0: dict[str | int, float] = dict.fromkeys(METALS, 0.0)


def alloys(n: int = 24, metals: tuple[str, ...] = METALS) -> list[Atoms]:
    """Cells of random fcc alloys, rattled, with the labels of the effective medium theory."""
    rng, made = np.random.default_rng(0), []
    for _ in range(n):
        atoms = bulk("Cu", a=3.85, cubic=True) * (2, 1, 1)
        atoms.set_chemical_symbols(rng.choice(metals, len(atoms)).tolist())
        atoms.rattle(0.1, rng=rng)
        atoms.calc = EMT()
        atoms.get_forces()
        made.append(atoms)
    return made


NONE: Any = None


class Bar:
    def update(self) -> None: ...


class Parts:
    """Trials of which nothing but the part of the data is asked."""

    used = np.arange(2)

    def some(self, *_: int) -> np.ndarray:
        return np.arange(2)


def contest(
    monkeypatch: pytest.MonkeyPatch, n_species: int, value: Callable[[Shape], float], strangers: str = ""
) -> tuple[Contest, list[Shape]]:
    """A contest of shapes whose evidence is that of a function, and those that it looked at."""
    data = GAP(e0={"Si": -2.5}).prepare([crystal(k) for k in range(2)])
    made, seen = Contest(data, {}, Parts(), Bar()), list[Shape]()  # type: ignore[arg-type]
    made.n_species, made.strangers, made.one_composition = n_species, strangers, False

    def judged(self: Contest, shape: Shape) -> _Trial:
        if shape not in self._seen:
            seen.append(shape)
            self._seen[shape] = _Trial(value(shape), 0.0)
        return self._seen[shape]

    monkeypatch.setattr(Contest, "_judged", judged)
    return made, seen


def of_mixing(apart: float, related: float = 0.0, **by_k: float) -> Callable[[Shape], float]:
    def value(shape: Shape) -> float:
        known = apart if shape.embedding is None else by_k.get(f"k{shape.embedding}", -9.0)
        return known + related * shape.alchemical - 0.1 * abs(shape.r_cut - 4.7) - 0.1 * shape.triplet

    return value


@pytest.mark.parametrize(
    ("n_species", "value", "embedding", "alchemical"),
    [
        (3, of_mixing(0.0, k2=0.1), 2, False),
        (3, of_mixing(0.0, k2=-0.005, k3=-0.005), 2, False),  # apart is not worth it
        (3, of_mixing(0.0, k2=-0.02, k3=-0.02), None, False),
        (4, of_mixing(0.0, k2=0.1, k3=0.2, k4=0.205), 3, False),  # no more than are worth it
        (4, of_mixing(0.0, k2=0.1, k3=0.2, k4=0.3), 4, False),
        (4, of_mixing(0.0, k2=0.1, k3=0.0, k4=0.9), 2, False),  # not beyond the first that is worse
        (4, of_mixing(0.0, k2=0.1, related=0.2), 2, True),
        (4, of_mixing(0.0, k2=0.1, related=0.05), 2, False),
        (MOST_APART + 1, of_mixing(9.0, k2=0.1), 2, False),  # so many are never kept apart
    ],
)
def test_elements_are_mixed_where_it_is_worth_it(
    monkeypatch: pytest.MonkeyPatch,
    n_species: int,
    value: Callable[[Shape], float],
    embedding: int | None,
    alchemical: bool,
) -> None:
    made, seen = contest(monkeypatch, n_species, value)
    shape = made.winner()
    assert (shape.embedding, shape.alchemical) == (embedding, alchemical)
    told = {choice.name: choice for choice in made.choices}
    assert told["elements"].value == shape.elements
    if n_species > MOST_APART:
        assert all(s.embedding is not None and not s.triplet for s in seen)
        assert "no triplets" in told["terms"].why


@pytest.mark.parametrize(
    ("symbols", "gain", "strangers", "alike"),
    [
        (("Cu", "Ni"), 0.02, "", True),
        (("Cu", "Ni"), 0.005, "", False),
        (("Cu", "Ni"), -1.0, "Ni, Cu", True),  # nothing else tells where they meet
        (("Na", "Cl"), 9.0, "", False),  # of another chemistry: not even tried
    ],
)
def test_two_elements_are_alike_where_it_is_worth_it(
    monkeypatch: pytest.MonkeyPatch, symbols: tuple[str, str], gain: float, strangers: str, alike: bool
) -> None:
    made, seen = contest(monkeypatch, 2, lambda shape: gain * shape.alike - 0.1 * abs(shape.r_cut - 4.7), strangers)
    monkeypatch.setattr("gapkit.model.competing.species_of", lambda frames: sorted(atomic_numbers[s] for s in symbols))
    shape = made.winner()
    assert shape.alike == alike
    assert shape.embedding is None
    assert any(s.alike for s in seen) == ("Cl" not in symbols)
    told = {choice.name: choice for choice in made.choices}
    assert ("elements" in told) == ("Cl" not in symbols)
    if "elements" in told:
        assert told["elements"].value == shape.elements


def test_alike_elements_have_a_density_each() -> None:
    cells = [bulk("Cu", a=3.6, cubic=True) for _ in range(3)]
    for atoms in cells:
        atoms.set_chemical_symbols(["Cu", "Ni", "Ni", "Ni"])
    soap = soap_of(default_terms(to_frames(cells), alike=True))
    vectors = np.array([soap.embedding["Ni"], soap.embedding["Cu"]])
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1.0, 1.0])
    assert 0.5 < vectors[0] @ vectors[1] <= 0.8 + 1e-12
    assert soap_of(default_terms(to_frames(cells))).embedding is None


@pytest.mark.parametrize(("gain", "embedding"), [(0.02, None), (0.04, 2)])
def test_one_composition_stays_apart_unless_mixing_is_clearly_better(
    monkeypatch: pytest.MonkeyPatch, gain: float, embedding: int | None
) -> None:
    made, _ = contest(monkeypatch, 3, of_mixing(0.0, k2=gain))
    made.one_composition = True
    assert made.winner().embedding == embedding


def test_one_composition() -> None:
    def of(*formulas: str) -> bool:
        frames = [Atoms(f, np.arange(3.0 * len(Atoms(f))).reshape(-1, 3), info={"energy": 0.0}) for f in formulas]
        data = GAP(e0=NO_E0).prepare([*frames, Atoms("Cu", info={"energy": 0.0})])
        return Contest(data, {}, Trials(data, Noise(), True, 1, float("inf")), Bar()).one_composition

    assert of("NiCuPd", "NiCuPd")
    assert of("NiCuPd2", "PdNiPdCu", "Ni2Cu2Pd4")  # in any order, and supercells
    assert not of("NiCuPd", "NiCu2Pd")


def test_elements_that_never_meet_are_mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the evidence says of those that do, which is all that it can see; and they have no triangles."""
    made, seen = contest(monkeypatch, 3, of_mixing(9.0, k2=0.1, k3=0.2), "Cu, Pd, Ag")
    shape = made.winner()
    assert shape.embedding == 3
    assert all(s.embedding is not None and not s.triplet for s in seen)
    told = {choice.name: choice.why for choice in made.choices}
    assert all("the data do not show Cu, Pd, Ag together" in told[name] for name in ("elements", "terms"))


def of_two(k: int) -> list[Atoms]:
    """Alloys of two metals out of three, in turn."""
    pairs = [("Ni", "Cu"), ("Cu", "Pd"), ("Ni", "Pd")]
    return [atoms for i, pair in enumerate(pairs) for atoms in alloys(k + i, pair)]


@pytest.mark.parametrize(
    ("frames", "strangers"),
    [
        (of_two(8), "Ni, Cu, Pd"),
        ([*of_two(8), *alloys(1, ("Ni", "Cu", "Pd"))], ""),
        ([*alloys(8, ("Ni",)), *alloys(8, ("Cu",))], "Ni, Cu"),
        ([*alloys(8, ("Ni", "Cu")), Atoms("Ag", info={"energy": 0.0})], ""),  # of which nothing else is known
        ([*alloys(120, ("Ni", "Cu")), *alloys(1, ("Ag",))], ""),  # too rare to speak for
        ([*of_two(40), *alloys(1, ("Ni", "Cu", "Pd"))], "Ni, Cu, Pd"),  # less than a hundredth
        (alloys(8, ("Ni", "Cu")), ""),
    ],
)
def test_who_never_meets(frames: list[Atoms], strangers: str) -> None:
    data = GAP(e0=NO_E0).prepare(frames)
    trials = Trials(data, Noise(), True, 1, float("inf"))
    assert Contest(data, {}, trials, Bar()).strangers == strangers


def test_alloys_of_three_from_alloys_of_two() -> None:
    """On real labels: the choice is right where no left-out frame could have told."""
    train, test = of_two(12), alloys(20, ("Ni", "Cu", "Pd"))
    found = choose(GAP(e0=NO_E0).prepare(train), {**SMALL, "r_cut": 4.5}, None, n_jobs=1, ceiling=float("inf"))
    assert soap_of(found.terms).embedding is not None
    told = {choice.name: choice.why for choice in found.choices}
    assert all("the data do not show Ni, Cu, Pd together" in told[name] for name in ("elements", "terms"))
    apart = deepcopy(found.terms)
    soap_of(apart).set_params(embedding=None, alchemical=False)
    errors = []
    for terms in (found.terms, apart):
        model = GAP(terms, found.noise, e0=NO_E0).fit(train, rng=0)
        errors.append(np.mean([abs(model.predict(a).energy - a.get_potential_energy()) for a in test]))
    assert errors[0] < 0.5 * errors[1]


def test_trials_have_several_atoms_for_each_sparse_point(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[int]()
    monkeypatch.setattr(Parts, "some", lambda self, atoms, frames: asked.append(atoms) or np.arange(2))
    for metals in (("Ni",), METALS, (*METALS, "Au", "Al", "Pt")):
        frames = [a for metal in metals for a in alloys(2, (metal,))]
        Contest(GAP(e0=dict.fromkeys(metals, 0.0)).prepare(frames), {}, Parts(), Bar())  # type: ignore[arg-type]
    assert asked == [4 * 400, 4 * 700, 4 * 700]  # of many elements, no more


def test_cutoff_and_weight_are_found_with_the_mixture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elements apart would take 3.5 Å, mixed ones 5.5 Å."""

    def value(shape: Shape) -> float:
        apart = shape.embedding is None
        return -0.1 * abs(shape.r_cut - (3.5 if apart else 5.5)) - 0.5 * apart - 0.2 * (shape.m - 1.0)

    made, seen = contest(monkeypatch, 3, value)
    shape = made.winner()
    assert (shape.r_cut, shape.m, shape.embedding) == (5.5, 1.0, 2)
    assert len(seen) == len(set(seen)) < 14


def test_alloys_of_alike_metals_are_mixed() -> None:
    """On real labels, and no other model is better at what was left out."""
    train, test = alloys(), alloys(60)[24:]
    found = choose(GAP(e0=NO_E0).prepare(train), SMALL, None, n_jobs=1, ceiling=float("inf"))
    soap = soap_of(found.terms)
    assert soap.embedding is not None
    apart = deepcopy(found.terms)
    soap_of(apart).set_params(embedding=None, alchemical=False)
    errors = []
    for terms in (found.terms, apart):
        model = GAP(terms, found.noise, e0=NO_E0).fit(train, rng=0)
        errors.append(np.mean([np.abs(model.predict(a).forces - a.get_forces()).mean() for a in test]))
    assert errors[0] < errors[1]


@pytest.mark.parametrize(
    ("few", "many", "kept"),
    [
        (0.10, 0.10, True),
        (0.10, -0.01, False),  # worse already
        (0.10, 0.05, False),  # worse by -0.025 per doubling three doublings on
        (0.10, 0.09, True),
        (0.01, 0.05, True),  # a rising difference is chance
    ],
)
def test_far_more_data_may_keep_elements_apart(
    monkeypatch: pytest.MonkeyPatch, few: float, many: float, kept: bool
) -> None:
    """A second look at errors of left-out frames, with the points of the final fit: eight times as many."""
    shape = Shape(4.0, embedding=2)
    curves = [
        _Curve(
            [(n, Judged({"forces": float(np.exp(s))}, {})) for n, s in zip((25, 50, 100), scores, strict=True)],
            0.2,
            NONE,
        )
        for scores in ((1.0, 0.9, 0.8), (1.0 + few, 1.0, 0.8 + many))
    ]
    search = _Search(GAP(e0=NO_E0).prepare(alloys(2)), {}, None, Parts(), float("inf"), Bar())  # type: ignore[arg-type]
    search.choices = [Choice("elements", shape.elements, "why")]
    monkeypatch.setattr(_Search, "_rows", lambda self, other, n: other)
    monkeypatch.setattr(_Search, "_curve", lambda self, made: curves[1])
    monkeypatch.setattr(_Search, "_points", lambda self, points, gain: (800, 0.5))
    found, curve = search._apart(shape, curves[0], 100, None)
    assert found == (shape if kept else Shape(4.0))
    assert curve is curves[0 if kept else 1]
    assert search.choices[0].value == found.elements
    assert ("larger apart" if kept else "smaller apart") in search.choices[0].why


def test_a_second_look_at_real_alloys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "_APART_DATA", 0)
    data = GAP(e0=NO_E0).prepare(alloys())
    found = choose(data, {**SMALL, "r_cut": 4.0}, None, n_jobs=1, ceiling=float("inf"))
    assert soap_of(found.terms).embedding is not None
    assert "left-out frames" in {choice.name: choice.why for choice in found.choices}["elements"]


def test_an_element_that_the_trials_do_not_see(monkeypatch: pytest.MonkeyPatch) -> None:
    """One atom of Ag in one of many frames: parts of the data lack it, the model knows it."""
    frames = alloys(40, ("Ni", "Cu", "Pd"))
    frames[-1] = alloys(1, ("Ag",))[0]
    for name in ("_CURVE_ATOMS", "_CURVE_FRAMES"):
        monkeypatch.setattr(choosing, name, 16)
    data = GAP(e0=NO_E0).prepare(frames)
    parts = Trials(data, Noise(), True, 1, float("inf"))
    assert 39 not in parts.some(16, 16)
    found = choose(data, {**SMALL, "r_cut": 4.0}, None, n_jobs=1, ceiling=float("inf"))
    assert GAP(found.terms, found.noise, e0=NO_E0).fit(frames, rng=0).predict(frames[-1]).forces.shape == (8, 3)


def test_five_elements_are_mixed_by_rule_where_there_are_few_frames() -> None:
    """Vectors of the elements are those of all that there are, whatever part of them a fit sees."""
    frames = alloys(4, (*METALS, "Au"))
    found = choose(GAP(e0={**NO_E0, "Au": 0.0}).prepare(frames), SMALL, None, n_jobs=1, ceiling=float("inf"))
    soap = soap_of(found.terms)
    assert (soap.embedding, soap.soap["species"]) == (3, ["Ni", "Cu", "Pd", "Ag", "Au"])
    assert "more than 4 elements" in {choice.name: choice.why for choice in found.choices}["elements"]
