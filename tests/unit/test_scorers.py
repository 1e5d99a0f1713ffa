"""Scores are minus the errors of `evaluate`, of models, pipelines and searches."""

from __future__ import annotations

import pickle
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from gapkit import GAP, ConfigError, DataError, NotFittedError, evaluate
from gapkit.atoms.labels import to_frames
from gapkit.tuning import Scorer, Scorers
from tests.samples import cluster, crystal, fitted, model

DATA = [crystal(k) if k % 2 else cluster(k) for k in range(6)]


@pytest.mark.parametrize("kind", ["energy", "forces", "stress"])
@pytest.mark.parametrize("measure", ["mae", "rmse"])
def test_a_score_is_minus_the_error(kind: Any, measure: Any) -> None:
    expected = -getattr(getattr(evaluate(fitted(), DATA), kind), measure)
    found = Scorer(kind, measure)(fitted(), DATA)
    assert found == pytest.approx(expected, rel=1e-8)
    assert Scorer(kind, measure)(fitted(), to_frames(DATA), None) == found < 0.0


def test_by_hand() -> None:
    errors = [fitted().predict(a).energy / len(a) - a.get_potential_energy() / len(a) for a in DATA]
    assert Scorer("energy", "mae")(fitted(), DATA) == pytest.approx(-np.abs(errors).mean(), rel=1e-9)
    assert Scorer("energy")(fitted(), DATA) == pytest.approx(-np.sqrt(np.mean(np.square(errors))), rel=1e-9)


def test_several_at_once() -> None:
    found = Scorers(("energy", "forces", "stress"))(fitted(), DATA)
    assert list(found) == [f"{k}_{m}" for k in ("energy", "forces", "stress") for m in ("mae", "rmse")]
    assert found["forces_rmse"] == pytest.approx(Scorer("forces")(fitted(), DATA), rel=1e-8)
    assert set(Scorers()(fitted(), DATA)) == {"energy_mae", "energy_rmse", "forces_mae", "forces_rmse"}


def test_only_what_is_scored_is_predicted(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    original = GAP.predict_frames

    def watched(self: GAP, frames: Any, wants: Any) -> Any:
        asked.extend(map(tuple, wants))
        return original(self, frames, wants)

    monkeypatch.setattr(GAP, "predict_frames", watched)
    Scorer("energy")(fitted(), DATA)
    assert set(asked) == {("energy",)}


def test_of_the_end_of_pipelines_and_searches_on_what_the_other_steps_make() -> None:
    keep = FunctionTransformer(lambda frames: frames[:3])
    pipe = Pipeline([("keep", keep), ("gap", fitted())])
    search = SimpleNamespace(best_estimator_=pipe)
    expected = Scorer("forces")(fitted(), DATA[:3])
    assert Scorer("forces")(pipe, DATA) == Scorer("forces")(search, DATA) == expected
    assert Scorer("forces")(Pipeline([("gap", fitted())]), DATA) == Scorer("forces")(fitted(), DATA)


def test_they_can_be_pickled_compared_and_read() -> None:
    for scorer in (Scorer("forces", "mae"), Scorers(("energy",))):
        assert pickle.loads(pickle.dumps(scorer)) == scorer
    assert repr(Scorer("energy")) == "Scorer(kind='energy', measure='rmse')"


def test_frames_without_the_label() -> None:
    unlabelled = [cluster(k, kinds=("energy",)) for k in range(2)]
    with pytest.raises(DataError, match="None of the 2 frames has forces to score"):
        Scorer("forces")(fitted(), unlabelled)
    with pytest.raises(DataError, match="None of the 2 frames has an energy to score"):
        Scorer("energy")(fitted(), [crystal(1, kinds=("forces",)), crystal(2, kinds=("forces",))])
    mixed = [*unlabelled, crystal(1)]
    assert Scorer("forces")(fitted(), mixed) == Scorer("forces")(fitted(), mixed[2:])


@pytest.mark.parametrize("wrong", [("force", "mae"), ("forces", "mse")])
def test_names_outside_the_range(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="did you mean"):
        Scorer(*wrong)
    with pytest.raises(ConfigError, match="kinds"):
        Scorers("energy")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="force"):
        Scorers(("force",))  # type: ignore[arg-type]


def test_what_is_no_model_or_not_fitted() -> None:
    with pytest.raises(ConfigError, match="Ridge is no GAP"):
        Scorer("energy")(Ridge(), DATA)
    with pytest.raises(NotFittedError):
        Scorer("energy")(model(), DATA)
