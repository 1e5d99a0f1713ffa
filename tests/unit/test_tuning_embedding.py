"""Learned vectors of the elements: what must come out, what must not change, and what is said when it cannot be."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.morse import MorsePotential
from ase.calculators.singlepoint import SinglePointCalculator

from gapkit import GAP, ConfigError, GapkitWarning, Noise, NotFittedError, PairTerm, SoapTerm, load
from gapkit.tuning import Embedding, element_similarity, learn_embedding
from gapkit.tuning import embedding as learning
from tests.samples import R_CUT, soap_arguments

# with a heavy centre, vectors of different lengths pay although the elements are the same: they make it lighter
SOAP = soap_arguments(weighting={"function": "poly", "r0": R_CUT, "c": 1.0, "m": 1.0, "w0": 0.1})
E0 = {"Si": 0.0, "Ge": 0.0}
APART = {"Si": [1.0, 0.0], "Ge": [0.0, 1.0]}


def clusters(n: int, strength: float = 1.0, seed: int = 0) -> list[Atoms]:
    """Clusters of two elements under a Morse potential that knows no elements but scales bonds of Ge by `strength`."""
    rng, found = np.random.default_rng(seed), []
    places = 2.3 * np.array(list(itertools.product(range(2), range(2), range(3))), dtype=float)
    for _ in range(n):
        atoms = Atoms(rng.choice(["Si", "Ge"], 12), places + rng.uniform(-0.2, 0.2, (12, 3)))
        energy, forces = 0.0, np.zeros((12, 3))
        # all atoms, and those of Ge once more
        for mine, weight in ((np.arange(12), 1.0), (np.flatnonzero(atoms.numbers == 32), strength - 1.0)):
            if weight:
                own = atoms[mine]
                own.calc = MorsePotential(r0=2.2, epsilon=1.0, rho0=4.0, rcut1=1.0, rcut2=1.6)
                energy += weight * own.get_potential_energy()
                forces[mine] += weight * own.get_forces()
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
        found.append(atoms)
    return found


def model(embedding: Any = APART, **changes: Any) -> GAP:
    settings = {"terms": [SoapTerm(SOAP, zeta=2, n_sparse=24, embedding=embedding)], "e0": E0}
    return GAP(**{**settings, "noise": Noise(0.05, 0.3, None), **changes})


def learn(frames: list[Atoms], given: GAP | None = None, **changes: Any) -> Embedding:
    settings = {"n_frames": 4, "n_sparse": 24, "n_steps": 7, **changes}
    return learn_embedding(given or model(), frames, **settings)


def force_error(embedding: Any, train: list[Atoms], test: list[Atoms]) -> float:
    errors = model(embedding).fit(train).residuals(test)["forces"].error_xc
    return float(np.sqrt(np.mean(errors**2)))


@pytest.fixture(scope="module")
def same() -> Embedding:
    """Learned from elements that differ by name alone, from orthogonal vectors."""
    return learn(clusters(8))


def test_elements_that_differ_by_name_alone_become_alike(same: Embedding) -> None:
    assert same.species == ("Si", "Ge")
    assert same.similarity[0, 1] > 0.98
    lengths = np.linalg.norm(list(same.vectors.values()), axis=1)
    assert np.sqrt(np.mean(lengths**2)) == pytest.approx(1.0)


def test_it_explains_the_data_better_and_predicts_better(same: Embedding) -> None:
    assert same.history[-1] > same.history[0] + 30.0
    assert list(same.history) == sorted(same.history)
    train, held = clusters(8), clusters(6, seed=1)
    assert force_error(same.vectors, train, held) < 0.8 * force_error(APART, train, held)


def test_elements_that_differ_do_not() -> None:
    learned = learn(clusters(8, strength=0.1), model({"Si": [1.0, 0.05], "Ge": [1.0, -0.05]}), n_steps=3)
    assert learned.similarity[0, 1] < 0.95
    assert learned.history[-1] > learned.history[0] + 10.0


@pytest.mark.parametrize("by", ["evidence", "leave_one_out"])
def test_the_history_is_that_of_the_measure(by: str) -> None:
    """First and last entry can be computed by hand."""
    frames, random = clusters(2), np.random.default_rng(0)
    learned = learn(frames, by=by, n_steps=1)
    drawn = learning._drawn(frames, 4, random)
    trial = learning._Trial(model(), drawn, 24, by, int(random.integers(2**31)))

    def value(vectors: Any) -> float:
        fitted = trial.fitted(vectors)
        if by == "evidence":
            return fitted.log_evidence_
        return -float(np.sqrt(np.mean(fitted.leave_one_out(frames)["forces"].error_xc ** 2)))

    assert learned.history[0] == pytest.approx(value(APART), rel=1e-6)
    assert learned.history[-1] == pytest.approx(value(learned.vectors), rel=1e-6)
    assert learned.history[-1] > learned.history[0]


def test_only_the_ratio_of_lengths_matters() -> None:
    frames, rng = clusters(3), np.random.default_rng(3)
    u_sk = rng.normal(size=(2, 2))
    trial = learning._Trial(model(), frames, 16, "evidence", 1)
    values = [trial.value(dict(zip(E0, (c * u_sk).tolist(), strict=True))) for c in (1.0, 0.01, 30.0)]
    assert values[1:] == pytest.approx(values[:1] * 2, rel=1e-8)


def test_it_is_the_same_every_time_and_changes_nothing() -> None:
    frames, given = clusters(5), model(2)
    given.fit(frames)
    before, state = given.get_params(), given.state_
    first, second = (learn(frames, given, n_frames=2, n_steps=1, rng=5) for _ in range(2))
    assert first.vectors == second.vectors
    assert first.history == second.history
    assert given.get_params() == before
    assert given.state_ is state
    assert learn(frames, given, n_frames=2, n_steps=1, rng=6).vectors != first.vectors


def test_frames_are_drawn_with_all_elements() -> None:
    frames = clusters(40)
    alone = [Atoms("Si"), Atoms("Ge")]
    lean = [Atoms("Si12", a.positions) for a in frames]
    lean[17] = Atoms("Ge12", lean[17].positions)
    for seed in range(5):
        drawn = learning._drawn(lean + alone, 3, np.random.default_rng(seed))
        assert len(drawn) == 5
        assert drawn[:2] == alone
        assert any((a.numbers == 32).any() for a in drawn[2:])


def test_ctrl_c_keeps_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    frames, real, made = clusters(3), learning._Trial.value, []

    def value(self: Any, vectors: Any) -> float:
        if len(made) == 14:
            raise KeyboardInterrupt
        made.append((real(self, vectors), vectors))
        return made[-1][0]

    monkeypatch.setattr(learning._Trial, "value", value)
    with pytest.warns(GapkitWarning, match="interrupted"):
        learned = learn(frames)
    best = max(made, key=lambda pair: pair[0])
    assert best[0] > made[0][0]
    assert learned.vectors == best[1]


def test_several_terms_get_the_same_vectors() -> None:
    frames = clusters(8)
    terms = [
        PairTerm(r_cut=3.5, n_sparse=6),
        SoapTerm(soap_arguments(), zeta=2, n_sparse=10, embedding=2),
        SoapTerm(soap_arguments(), zeta=2, n_sparse=10),
        SoapTerm(soap_arguments(n_max=2), zeta=2, n_sparse=10, embedding=APART, alchemical=True),
    ]
    trial = learning._Trial(model(terms=terms), frames, 8, "evidence", 1)
    fitted = trial.fitted(APART)
    assert [getattr(term, "embedding", "none") for term in fitted.terms] == ["none", APART, None, APART]
    assert [getattr(term, "alchemical", False) for term in fitted.terms] == [False, False, False, True]
    assert all(term.n_sparse == 8 for term in fitted.terms[1:])
    assert fitted.terms[0].n_sparse == 6


def three(_: GAP) -> Any:
    return [SoapTerm(SOAP, embedding=2), SoapTerm(SOAP, embedding={"Si": [1.0], "Ge": [2.0]})]


@pytest.mark.parametrize(
    ("given", "changes", "match"),
    [
        (lambda: model(None), {}, "no explicit term with an embedding"),
        (lambda: GAP(), {}, "no explicit term with an embedding"),
        (lambda: model(terms=three(model())), {}, "differ in the number"),
        (model, {"by": "evidense"}, "did you mean 'evidence'"),
        (model, {"n_frames": 0}, "n_frames"),
        (model, {"n_steps": 0}, "n_steps"),
    ],
)
def test_what_cannot_be_learned_is_refused(given: Callable[[], GAP], changes: Any, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        learn(clusters(8), given(), **changes)


def test_similarity_of_a_fitted_model(tmp_path: Path) -> None:
    vectors = {"Si": [1.0, 1.0], "Ge": [2.0, 0.0]}
    fitted = model(vectors).fit(clusters(10))
    fitted.save(tmp_path / "model.gap")
    for own in (fitted, load(tmp_path / "model.gap")):
        found = element_similarity(own)
        assert found.vectors == vectors
        assert found.history == ()
        assert found.similarity == pytest.approx(np.array([[1.0, 0.5**0.5], [0.5**0.5, 1.0]]))
    with pytest.raises(NotFittedError):
        element_similarity(model())
    with pytest.raises(ConfigError, match="no term of the model has an embedding"):
        element_similarity(model(None).fit(clusters(10)))


def test_the_table_and_the_figure(tmp_path: Path) -> None:
    embedding = Embedding({"Si": [1.0, 1.0], "Ge": [2.0, 0.0], "C": [-1.0, 0.0]})
    assert str(embedding).splitlines() == [
        "similarity      Si     Ge      C",
        "        Si    1.00   0.71  -0.71",
        "        Ge    0.71   1.00  -1.00",
        "         C   -0.71  -1.00   1.00",
    ]
    for name, start in {"a.png": b"\x89PNG", "a.pdf": b"%PDF", "a.svg": b"<?xml"}.items():
        embedding.plot(tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(start)
    with pytest.raises(ConfigError, match=r"cannot be written as 'a\.doc'"):
        embedding.plot(tmp_path / "a.doc")
