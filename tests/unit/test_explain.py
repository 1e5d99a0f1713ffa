"""Explanations of a prediction: sums, shares of what is known, similar environments, and their text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms

from gapkit import GAP, ConfigError, DataError, Explanation, Noise, PairTerm, SoapTerm, SpeciesError, load
from gapkit.atoms.labels import to_frame
from gapkit.atoms.neighbours import NeighbourList
from gapkit.gp.design import frame_rows
from gapkit.model.explain import variance_parts
from gapkit.model.residuals import without_group
from tests.samples import atom, cluster, crystal, fitted, fitted_two, frames, label, model, soap_arguments, two_species

PRIOR, ISOLATED_ATOMS = ("", "prior"), ("", "isolated atoms")
STRUCTURES = {"crystal": crystal(9), "cluster": cluster(9), "atom": Atoms("Si")}


@pytest.mark.parametrize("name", STRUCTURES)
def test_its_numbers_are_those_of_the_prediction(name: str) -> None:
    atoms = STRUCTURES[name]
    kept = atoms.copy()
    p = fitted().predict(atoms, {"energies", "energy_std", "energies_std", "extrapolation"})
    for k in range(len(atoms)):
        e = fitted().explain(atoms, k)
        assert (e.energy, e.by_term) == (p.energy, p.by_term)
        assert sum(e.by_term.values()) == pytest.approx(e.energy, abs=1e-12)
        assert e.energy_std == pytest.approx(p.energy_std, rel=1e-9)
        squares = [e.energy_data_std, e.energy_prior_std, e.energy_aleatoric_std]
        assert np.sqrt(np.sum(np.square(squares))) == pytest.approx(e.energy_std, rel=1e-12)
        assert (e.atom, e.symbol) == (k, "Si")
        assert sum(e.local_by_term.values()) == pytest.approx(e.local_energy, abs=1e-12)
        assert list(e.local_by_term) == ["e0", "zbl", "pair0", "soap1"]
        assert e.local_energy == pytest.approx(p.energies[k], abs=1e-10)
        assert np.hypot(e.local_data_std, e.local_prior_std) == pytest.approx(p.energies_epistemic_std[k], rel=1e-6)
        assert (e.extrapolation, e.nearest) == (pytest.approx(p.extrapolation[k], abs=1e-7), p.nearest[k])
    assert atoms == kept


def test_the_atom_is_the_one_known_least() -> None:
    atoms = cluster(3, "Si5")
    worst = int(np.argmax(fitted().predict(atoms, {"energies_std"}).energies_epistemic_std))
    assert fitted().explain(atoms).atom == worst
    assert str(fitted().explain(atoms)) == str(fitted().explain(atoms, worst))


def test_parts_of_the_variance_are_the_variance() -> None:
    """The shares are of a whole: the data part of σ², to rounding."""
    for one, atoms in ((fitted(), crystal(9)), (fitted(), cluster(9)), (fitted_two(), crystal(9, symbols="SiC"))):
        frame = to_frame(atoms, labels=False)
        row_m = frame_rows(one.state_.terms, NeighbourList(one.reach).pairs(frame), {"energy"}).energy_m
        e = one.explain(atoms, 0)
        assert sum(variance_parts(one.state_, row_m).values()) == pytest.approx(e.energy_data_std**2, rel=1e-9)
        for shares in (e.energy_shares, e.local_shares):
            assert shares is not None
            assert sum(shares.values()) == pytest.approx(1.0, abs=1e-9)
            assert list(shares.values()) == sorted(shares.values(), reverse=True)
            assert min(shares.values()) >= 0.0
            assert {PRIOR, ISOLATED_ATOMS} < set(shares)


def test_a_share_is_the_slope_of_the_variance() -> None:
    """By the logarithm of σ² of these labels, as a refit has it."""
    atoms, settings = crystal(9), {"energy": 0.002, "forces": 0.05, "stress": 0.02}
    shares = fitted().explain(atoms).energy_shares
    one, step = model().fit(frames()), 1e-3
    assert shares is not None
    for group in ("crystal", "cluster"):
        for kind, sigma in settings.items():
            variances = []
            for factor in (np.exp(step), np.exp(-step)):
                one.refit(Noise(**settings, groups={group: {kind: sigma * float(np.sqrt(factor))}}))
                variances.append(one.explain(atoms).energy_data_std ** 2)
            slope = np.log(variances[0] / variances[1]) / (2.0 * step)
            assert slope == pytest.approx(shares.get((group, kind), 0.0), abs=2e-6), (group, kind)


def dimers(r: float, n: int, group: str) -> list[Atoms]:
    """The same bond n times, with slightly different lengths."""
    return [label(Atoms("Si2", [[0, 0, 0], [0, 0, r + 0.01 * k]]), ("energy",), config_type=group) for k in range(n)]


def test_repeated_measurements_share_by_precision() -> None:
    """One function of the distance, measured at one place: shares are those in the precision of a mean."""
    same = [dimers(2.2, 1, group)[0] for group, n in (("often", 9), ("once", 1)) for _ in range(n)]
    terms, noise = [PairTerm(3.0, n_sparse=2, theta=50.0, delta=100.0, width=0.1)], Noise(0.01, None, None)
    e = GAP(terms, noise, e0={"Si": -2.5}).fit(same).explain(same[0])
    assert e.energy_shares is not None
    assert e.energy_shares["often", "energy"] == pytest.approx(0.9, abs=1e-5)
    assert e.energy_shares["once", "energy"] == pytest.approx(0.1, abs=1e-5)
    assert e.energy_shares[PRIOR] < 1e-5


def test_without_the_group_named_first_the_standard_deviation_rises_most() -> None:
    data = [atom(), *dimers(2.1, 4, "short"), *dimers(2.8, 4, "long")]
    terms = [SoapTerm(soap_arguments(), zeta=2, n_sparse=9, delta=2.0)]
    one = GAP(terms, Noise(0.001, None, None)).fit(data)
    for r, group in ((2.15, "short"), (2.75, "long")):
        e = one.explain(Atoms("Si2", [[0, 0, 0], [0, 0, r]]))
        assert e.energy_shares is not None
        assert next(iter(e.energy_shares)) == (group, "energy")
        assert group in e.summary
        rises = {}
        for other in ("short", "long"):
            left = GAP(terms)
            left.state_ = without_group(one.state_, other)
            rises[other] = left.explain(Atoms("Si2", [[0, 0, 0], [0, 0, r]])).energy_data_std / e.energy_data_std
        assert max(rises, key=lambda name: rises[name]) == group
        assert rises[group] > 2.0


def test_a_training_environment_that_is_a_sparse_point_is_like_itself() -> None:
    structures, seen = frames(), 0
    for column in range(len(fitted().state_.posterior.weights_m)):
        words = fitted().origin(column).split()
        if words[:1] == ["frame"]:
            frame, number = int(words[1].rstrip(",")), int(words[3])
            first = fitted().explain(structures[frame], number, n=1).similar[0]
            assert (first.term, first.correlation) == ("soap1", pytest.approx(1.0, abs=1e-9))
            assert first.origin == fitted().origin(first.column)
            seen += first.column == column
    assert seen >= 6
    lone = fitted().explain(Atoms("Si"))
    assert lone.similar[0].origin == "isolated Si atom"
    assert lone.similar[0].correlation == pytest.approx(1.0, abs=1e-9)


def test_similar_environments_of_every_many_body_term() -> None:
    terms = [
        SoapTerm(soap_arguments(), zeta=2, n_sparse=6),
        PairTerm(3.0, n_sparse=5),
        SoapTerm(soap_arguments(n_max=2), zeta=3, n_sparse=5, delta=0.3),
    ]
    one = GAP(terms, Noise(0.002, 0.05, 0.02)).fit(two_species())
    e = one.explain(crystal(9, symbols="SiC"), 1, n=2)
    assert [s.term for s in e.similar] == ["soap0", "soap0", "soap2", "soap2"]
    for a, b in (e.similar[:2], e.similar[2:]):
        assert 1.0 >= a.correlation >= b.correlation >= 0.0
        assert "(C)" in a.origin or a.origin == "isolated C atom"
    assert len(one.explain(crystal(9, symbols="SiC"), n=1000).similar) < 20


def test_a_model_of_pairs_alone_has_no_similar_environments() -> None:
    one = GAP([PairTerm(3.3, n_sparse=5)], Noise(0.002, 0.05, 0.02)).fit(frames(2))
    e = one.explain(crystal(9))
    assert e.similar == ()
    assert "most similar" not in str(e)


def test_a_bond_without_data_is_known_by_the_prior_alone() -> None:
    one = GAP([PairTerm(3.3, n_sparse=5)], Noise(0.002, 0.05, 0.02)).fit([*frames(2), atom("C")])
    e = one.explain(Atoms("SiC", [[0, 0, 0], [0, 0, 1.8]]))
    assert e.energy_shares is not None
    assert e.energy_shares[PRIOR] == 1.0
    assert e.energy_prior_std == pytest.approx(1.0, rel=1e-6)
    assert "100 % what the sparse points do not span" in e.summary


def test_report() -> None:
    text = str(fitted().explain(crystal(9), 1))
    assert "energy -8.73" in text
    assert "atom 1 (Si)" in text
    for word in ("(e0)", "(pair0)", "(soap1)", "data leave", "extrapolation", "crystal", "the prior", "frame "):
        assert word in text, word
    assert len(text.splitlines()[-1].split("; ")) == 4
    assert max(len(line) for line in text.splitlines()[:-1]) <= 120


def test_without_the_data_shares_are_not_known(tmp_path: Path) -> None:
    fitted().save(tmp_path / "with.gap", data=True)
    fitted().save(tmp_path / "without.gap")
    whole, bare = load(tmp_path / "with.gap").explain(crystal(9)), load(tmp_path / "without.gap").explain(crystal(9))
    assert str(whole) == str(fitted().explain(crystal(9)))
    assert (bare.energy_shares, bare.local_shares) == (None, None)
    assert bare.local_data_std == whole.local_data_std
    assert "save it with data=True" in str(bare)
    assert "what is known" not in bare.summary


def test_points_of_unknown_origin_are_named_by_their_column(tmp_path: Path) -> None:
    np.save(tmp_path / "points.npy", np.random.default_rng(0).uniform(0.1, 1.0, (3, 18)))
    e = GAP([SoapTerm(soap_arguments(), zeta=2, method=tmp_path / "points.npy")]).fit(frames(2)).explain(crystal(9))
    assert any(s.origin == "" and str(s) == f"sparse point {s.column} of soap0, of unknown origin" for s in e.similar)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"atom": 2}, r"atom=2 is outside its range.*from 0 to 1"),
        ({"atom": -1}, "atom=-1 is outside its range"),
        ({"atom": 0.5}, "atom=0.5"),
        ({"n": 0}, "n=0 is outside its range"),
    ],
)
def test_arguments_outside_their_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        fitted().explain(crystal(9), **options)


def test_structures_that_cannot_be_explained() -> None:
    with pytest.raises(SpeciesError, match="The model knows Si; here is C at atoms 1"):
        fitted().explain(crystal(9, symbols="SiC"))
    with pytest.raises(DataError):
        fitted().explain([crystal(9)])  # type: ignore[arg-type]
    from gapkit.errors import NotFittedError

    with pytest.raises(NotFittedError):
        model().explain(crystal(9))


def test_result_is_frozen() -> None:
    e = fitted().explain(crystal(9))
    assert isinstance(e, Explanation)
    with pytest.raises(AttributeError):
        e.energy = 0.0  # type: ignore[misc]


def test_training_frames_are_known_again() -> None:
    one, data = fitted(), frames()
    assert one.trained_on(data) == [True] * len(data)
    moved = data[1].copy()  # without its labels
    assert one.trained_on([moved, crystal(77), data[2]]) == [False, False, True]
