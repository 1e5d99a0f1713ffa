"""What a fitted model can be asked, and what it answers."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from gapkit import GAP, ConfigError, DataError, GapkitWarning, NotFittedError, PairTerm, evaluate
from gapkit.atoms.labels import to_frame
from gapkit.atoms.neighbours import NeighbourList
from gapkit.gp.posterior import Posterior
from tests.samples import E0, EVERYTHING, atom, cluster, crystal, fitted, fitted_two, frames, model, numbers


@pytest.mark.parametrize("name", ["predict", "score", "save", "refit", "reach", "species_", "e0_", "log_evidence_"])
def test_unfitted(name: str, tmp_path: Any) -> None:
    calls: dict[str, Callable[[], Any]] = {
        "predict": lambda: model().predict(crystal()),
        "score": lambda: model().score([crystal()]),
        "save": lambda: model().save(tmp_path / "a.gap"),
        "refit": lambda: model().refit(),
    }
    with pytest.raises(NotFittedError, match=r"has not been fitted.*fit"):
        calls.get(name, lambda: getattr(model(), name))()
    assert not list(tmp_path.iterdir())


def test_by_term_is_the_whole() -> None:
    for made, atoms in [(fitted(), crystal(9)), (fitted_two(), cluster(9, "SiC2Si"))]:
        p = made.predict(atoms, {"energy", "energies"})
        assert list(p.by_term) == ["e0", "zbl", "pair0", "soap1"]
        assert sum(p.by_term.values()) == pytest.approx(p.energy, abs=1e-12)
        assert p.energies.sum() == pytest.approx(p.energy, abs=1e-12)
        assert p.by_term["e0"] == pytest.approx(sum(E0[s] for s in atoms.get_chemical_symbols()), abs=1e-12)


def test_what_is_not_wanted_is_none() -> None:
    p = fitted().predict(crystal(9), "energy")
    assert [p.energies, p.forces, p.stress, p.energy_epistemic_std, p.energies_epistemic_std] == [None] * 5
    full = numbers(fitted())
    for want in ({"forces"}, {"stress"}, {"energy_std"}, {"energies_std", "forces"}, {"energies"}, set()):
        p = fitted().predict(crystal(9), want)
        assert p.energy == pytest.approx(full[0], abs=1e-10)
        assert {name for name in EVERYTHING - {"energy"} if getattr(p, name) is not None} == want


def test_default_is_energy_forces_and_stress_where_there_is_one() -> None:
    p = fitted().predict(crystal(9))
    assert p.forces.shape == (2, 3)
    assert p.stress.shape == (6,)
    p = fitted().predict(cluster(9))
    assert p.forces.shape == (4, 3)
    assert p.stress is None


@pytest.mark.parametrize(
    ("want", "message"),
    [
        ({"force"}, "cannot give 'force'. Fix: did you mean 'forces'"),
        ("energie", "did you mean 'energies'"),
        (["energy", "std"], "valid names are energies, energies_std, energy, energy_std, extrapolation"),
        ({1}, "cannot give '1'"),
    ],
)
def test_unknown_wishes_are_refused_with_the_nearest(want: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        fitted().predict(crystal(9), want)


def test_stress_of_a_molecule_cannot_be_wanted() -> None:
    with pytest.raises(DataError, match="no stress"):
        fitted().predict(cluster(9), {"stress"})


def test_lists_are_predicted_one_by_one() -> None:
    structures = [crystal(8), cluster(9), atom(), crystal(10)]
    for given in (structures, tuple(structures), iter(structures)):
        found = fitted().predict(given, {"forces"})
        assert isinstance(found, list)
        for p, atoms in zip(found, structures, strict=True):
            alone = fitted().predict(atoms, {"forces"})
            assert p.energy == alone.energy
            assert np.array_equal(p.forces, alone.forces)


def test_score_is_r2_of_forces_or_else_of_energies_per_atom() -> None:
    test = [crystal(k) for k in range(30, 36)]
    true = np.concatenate([a.get_forces().ravel() for a in test])
    found = np.concatenate([fitted().predict(a).forces.ravel() for a in test])
    expected = 1 - np.sum((true - found) ** 2) / np.sum((true - true.mean()) ** 2)
    assert fitted().score(test) == pytest.approx(expected, rel=1e-12)
    energies = [crystal(k, kinds=("energy",)) for k in range(30, 36)]
    true = np.array([a.get_potential_energy() / 2 for a in energies])
    found = np.array([fitted().predict(a).energy / 2 for a in energies])
    expected = 1 - np.sum((true - found) ** 2) / np.sum((true - true.mean()) ** 2)
    assert fitted().score(energies) == pytest.approx(expected, rel=1e-10)
    assert fitted().score(energies[:1]) == 0.0  # one label has no spread
    with pytest.raises(DataError, match="score"):
        fitted().score([crystal(1, kinds=("stress",))])


def rattled(*repeat: int) -> Atoms:
    atoms = crystal(9) * repeat
    atoms.rattle(0.05, seed=3)
    return atoms


WANT = {"energy", "energies", "forces", "stress", "energies_std"}


def test_memory_ceiling_changes_nothing_but_memory() -> None:
    """Work arrays below the ceiling, which is far below what is used without one; the same numbers."""
    atoms, free, tight = rattled(12, 12, 12), fitted(), deepcopy(fitted())
    tight.max_memory = "3MB"
    free.predict(crystal(9), WANT)  # what is made once and kept does not count
    tight.predict(crystal(9), WANT)
    results, peaks = [], []
    for model_ in (free, tight):
        tracemalloc.start()
        results.append(model_.predict(atoms, WANT))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 3e6 < 0.6 * peaks[0]
    for name in WANT:
        assert getattr(results[1], name) == pytest.approx(getattr(results[0], name), rel=1e-9, abs=1e-10), name


def test_variance_of_many_atoms_takes_one_product(monkeypatch: pytest.MonkeyPatch) -> None:
    """From as many atoms as there are sparse points on, if there is room for it."""
    model, ways = deepcopy(fitted()), list[str]()
    for name in ("variance", "variance_of_many"):
        way = getattr(Posterior, name)
        monkeypatch.setattr(Posterior, name, lambda *a, name=name, way=way: ways.append(name) or way(*a))
    m = len(model.state_.posterior.weights_m)
    n = -(-m // 2)  # cells of two atoms
    few, many = rattled(n - 1, 1, 1), rattled(n, 1, 1)
    model.predict(few, {"energies_std"})
    of_many = model.predict(many, {"energies_std"}).energies_epistemic_std
    assert set(ways[: len(ways) // 2]) == {"variance"} != set(ways[len(ways) // 2 :])
    assert ways[-1] == "variance_of_many"
    model.max_memory = 60.0 * m**2
    ways.clear()
    of_few = model.predict(many, {"energies_std"}).energies_epistemic_std
    assert set(ways) == {"variance"}
    assert np.abs(of_many**2 - of_few**2).max() < 1e-9
    assert of_few.min() > 1e-4


@pytest.mark.parametrize("value", ["much", "-2GB", 0, True, float("nan"), "2 apples", "1.2.3GB"])
def test_memory_that_is_none(value: Any) -> None:
    made = deepcopy(fitted())
    made.max_memory = value
    with pytest.raises(ConfigError, match="max_memory"):
        made.predict(crystal(9))


def test_extrapolation_is_the_distance_from_the_sparse_environments() -> None:
    model, (_, *known) = fitted(), frames()
    soap = next(term for term in model.state_.terms if term.name.startswith("soap"))
    first = model.state_.slices[model.state_.terms.index(soap)].start
    for atoms in (*known, cluster(77), crystal(77), bulk("Si", a=7.0)):
        p = model.predict(atoms, {"extrapolation"})
        assert ((p.extrapolation >= 0.0) & (p.extrapolation <= 1.0)).all()
        assert (p.nearest >= first).all()
        sites = soap.descriptor.sites(NeighbourList(soap.descriptor.reach).pairs(to_frame(atoms, labels=False)), (14,))
        points = soap.points[(14,)]
        k_sm = soap.kernel.values(sites.x_sd if not points.mapped else sites.x_sd @ points.map_fd, points.x_md)
        assert np.argmax(k_sm, axis=1) + first == pytest.approx(p.nearest)
        assert p.extrapolation == pytest.approx(np.sqrt(np.clip(1.0 - k_sm.max(axis=1) ** 2, 0.0, 1.0)), abs=1e-7)
    alone = model.predict(Atoms("Si"), {"extrapolation"})  # the isolated atom is a sparse point
    assert alone.extrapolation == pytest.approx(0.0, abs=1e-7)
    assert model.origin(int(alone.nearest[0])) == "isolated Si atom"


def test_extrapolation_without_many_body_terms_is_that_of_bonds() -> None:
    model = GAP([PairTerm(r_cut=3.5, n_sparse=6)]).fit(frames())
    near, far = (model.predict(Atoms("Si2", [[0, 0, 0], [r, 0, 0]]), {"extrapolation"}) for r in (2.3, 1.0))
    assert near.extrapolation.max() < 0.5 < far.extrapolation.min()


def test_an_isolated_atom_that_no_label_tells_of_is_unknown() -> None:
    """Its e0 is by least squares: it is a sparse point, but no data."""
    lone = Atoms("Si3", [[0, 0, 0], [2.3, 0, 0], [40, 0, 0]])
    with pytest.warns(GapkitWarning, match="e0 of Si"):
        guessed = model().fit(frames()[1:])
    assert guessed.predict(lone, {"extrapolation"}).extrapolation[2] == 1.0
    assert guessed.state_.guessed == (14,)
    for known in (model().fit(frames()), model(e0=E0).fit(frames()[1:])):
        assert known.state_.guessed == ()
        assert known.predict(lone, {"extrapolation"}).extrapolation[2] < 1e-3


def test_a_prediction_is_read_in_one_line() -> None:
    atoms = crystal(9)
    p = fitted().predict(atoms, {"forces", "energy_std"})
    names = "forces, energy_std, energy_epistemic_std, energy_aleatoric_std"
    assert repr(p) == f"<Prediction: energy {p.energy:.6f} eV; {names}>"
    assert repr(evaluate(fitted(), [atoms]).forces).startswith("<Comparison of 6 values; MAE ")
