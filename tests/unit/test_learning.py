"""Learning curves: what each fit sees, errors that are those by hand, the figure, interruption, refusals."""

from __future__ import annotations

import json
import warnings
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from ase import Atoms

from gapkit import GAP, ConfigError, DataError, GapkitWarning, Keys, Noise, PairTerm, SoapTerm, evaluate, split
from gapkit.atoms.labels import to_frames
from gapkit.tuning import CurvePoint, LearningCurve, learning_curve
from gapkit.tuning.learning import _nested
from tests.samples import E0, atom, cluster, crystal, soap_arguments

TRAIN = [atom()] + [cluster(k, config_type="cluster") for k in range(30)]
TRAIN += [crystal(k, config_type="crystal") for k in range(10)]
TEST = [cluster(k, config_type="cluster") for k in range(100, 108)]


def model(**changes: Any) -> GAP:
    terms = [PairTerm(3.5, n_sparse=6), SoapTerm(soap_arguments(), zeta=2, n_sparse=32)]
    return GAP(**{"terms": terms, "noise": Noise(0.002, 0.02, 0.02), "baselines": [], "e0": E0, **changes})


@lru_cache(maxsize=1)
def curve() -> LearningCurve:
    return learning_curve(model(), TRAIN, sizes=[5, 10, 20, 1.0], n_sparse=[4, 16, 32], frames_test=TEST)


class Watched(GAP):
    """Remembers what it was fitted to."""

    seen: ClassVar[list[list[Any]]] = []

    def fit(self, frames: Any, y: Any = None, **options: Any) -> GAP:
        Watched.seen.append(list(frames))
        return super().fit(frames, y, **options)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[list[Any]]:
    monkeypatch.setattr("gapkit.tuning.learning.GAP", Watched)
    monkeypatch.setattr(Watched, "seen", [])
    return Watched.seen


def test_subsets_are_nested_and_alike_and_hold_the_isolated_atom(watched: list[list[Any]]) -> None:
    learning_curve(model(), TRAIN, sizes=[4, 8, 20], n_sparse=[], frames_test=TEST)
    assert [len(frames) for frames in watched] == [5, 9, 21]
    for small, large in pairwise(watched):
        assert {id(a) for a in small} < {id(a) for a in large}
    for frames in watched:
        assert sum(len(a) == 1 for a in frames) == 1
        crystals = sum(a.info["config_type"] == "crystal" for a in frames)
        assert abs(crystals - 0.25 * (len(frames) - 1)) <= 1


def test_every_element_is_in_the_smallest_subset(watched: list[list[Any]]) -> None:
    frames = [cluster(k) for k in range(30)] + [cluster(1, "SiC"), cluster(2, "SiC")]
    learning_curve(model(terms=[PairTerm(3.5, n_sparse=4)]), frames, sizes=[2], frames_test=TEST, n_sparse=[])
    assert {z for a in Watched.seen[0] for z in a.numbers} == {6, 14}


def test_errors_are_those_of_a_fit_by_hand() -> None:
    last = curve().by_frames[-1]
    assert (last.n_frames, last.n_sparse, curve().n_test) == (40, 32, 8)
    random = np.random.default_rng(0)
    order, _ = _nested(TRAIN, Keys(), random)
    whole = model().fit([TRAIN[s] for s in order], rng=int(random.integers(2**31)))
    errors = evaluate(whole, TEST)
    assert last.rmse == pytest.approx({"energy": errors.energy.rmse, "forces": errors.forces.rmse}, rel=1e-8)
    assert last.mae == pytest.approx({"energy": errors.energy.mae, "forces": errors.forces.mae}, rel=1e-8)
    assert set(last.mae) == {"energy", "forces"}
    assert last.mae["forces"] < last.rmse["forces"]


def test_errors_fall_with_frames_and_sparse_points() -> None:
    assert [p.n_frames for p in curve().by_frames] == [5, 10, 20, 40]
    assert [(p.n_frames, p.n_sparse) for p in curve().by_sparse] == [(40, 4), (40, 16), (40, 32)]
    assert curve().by_frames[-1].rmse["forces"] < 0.85 * curve().by_frames[0].rmse["forces"]
    assert curve().by_sparse[-1].rmse["forces"] < 0.7 * curve().by_sparse[0].rmse["forces"]
    assert curve().by_sparse[-1].rmse == curve().by_frames[-1].rmse
    assert curve().exponent("forces") < -0.1


def test_fewer_sparse_points_are_a_fit_on_those() -> None:
    """The first points of farthest-point sampling are those that a fit with fewer would choose."""
    frames = [a for a in TRAIN if len(a) > 1]
    found = learning_curve(model(), frames, sizes=[1.0], n_sparse=[8], frames_test=TEST, rng=5)
    thin = found.by_sparse[0]
    assert (thin.n_frames, thin.n_sparse) == (40, 8)
    seed = np.random.default_rng(5)
    order = _nested(frames, Keys(), seed)
    terms = [PairTerm(3.5, n_sparse=6), SoapTerm(soap_arguments(), zeta=2, n_sparse=8)]
    fresh = model(terms=terms).fit([frames[s] for s in order[0]], rng=int(seed.integers(2**31)))
    assert thin.rmse["forces"] == pytest.approx(evaluate(fresh, TEST).forces.rmse, rel=1e-3)


def test_the_exponent_is_the_slope_of_a_power_law() -> None:
    points = tuple(
        CurvePoint(n, 10, {"energy": 2.0 * n**-0.5}, {"energy": 3.0 * n**-0.7}, 0.0) for n in (10, 20, 40, 80)
    )
    made = LearningCurve(points, (), 5)
    assert made.exponent("energy") == pytest.approx(-0.7)
    assert made.exponent("energy", "mae", last=4) == pytest.approx(-0.5)
    assert np.isnan(LearningCurve(points[:1], (), 5).exponent("energy"))


def test_without_test_frames_the_split_is_by_trajectories(watched: list[list[Any]]) -> None:
    frames = [cluster(k) for k in range(40)]  # one molecule that trembles, so one trajectory, which is cut
    with pytest.warns(GapkitWarning, match="cut into blocks"):
        train, _ = split(frames, 0.3, rng=np.random.default_rng(7))
    with pytest.warns(GapkitWarning, match="cut into blocks"):
        found = learning_curve(model(), frames, sizes=[1.0], n_sparse=(), fraction=0.3, rng=7)
    assert {id(a) for a in Watched.seen[-1]} == {id(a) for a in train}
    assert found.n_test == len(frames) - len(train) == 12


def test_defaults_halve_and_the_model_and_frames_stay_as_they_are() -> None:
    settings = model()
    before, positions = repr(settings), [a.positions.copy() for a in TRAIN]
    found = learning_curve(settings, TRAIN, frames_test=TEST)
    assert [p.n_frames for p in found.by_frames] == [5, 10, 20, 40]
    assert [p.n_sparse for p in found.by_sparse] == [5, 8, 16, 32]
    assert repr(settings) == before
    assert not hasattr(settings, "state_")
    assert all(np.array_equal(a.positions, p) for a, p in zip(TRAIN, positions, strict=True))
    again = learning_curve(settings, to_frames(TRAIN), frames_test=to_frames(TEST))
    assert [p.rmse for p in again.by_frames] == [p.rmse for p in found.by_frames]


def test_a_model_without_environments_has_no_curve_of_sparse_points() -> None:
    found = learning_curve(model(terms=[PairTerm(3.5, n_sparse=5)]), TRAIN, sizes=[10, 20], frames_test=TEST)
    assert (len(found.by_frames), found.by_sparse) == (2, ())


def test_the_chosen_cores_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = []
    original = GAP.fit
    monkeypatch.setattr(GAP, "fit", lambda self, *a, **k: (jobs.append(self.n_jobs), original(self, *a, **k))[1])
    learning_curve(model(), TRAIN, sizes=[20], n_sparse=[], frames_test=TEST, n_jobs=2)
    assert jobs == [2]


def test_an_interruption_keeps_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    original = GAP.fit

    def stopping(self: GAP, frames: Any, **options: Any) -> GAP:
        if len(frames) > 15:
            raise KeyboardInterrupt
        return original(self, frames, **options)

    monkeypatch.setattr(GAP, "fit", stopping)
    with pytest.warns(GapkitWarning, match="interrupted"):
        found = learning_curve(model(), TRAIN, sizes=[5, 10, 20], frames_test=TEST)
    assert [p.n_frames for p in found.by_frames] == [5, 10]
    assert found.by_sparse == ()
    with pytest.raises(KeyboardInterrupt):
        learning_curve(model(), TRAIN, sizes=[20], frames_test=TEST)


def test_warnings_of_small_fits_are_said_once() -> None:
    frames = TRAIN[1:]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        learning_curve(model(e0=None), frames, sizes=[10, 20, 30], n_sparse=[], frames_test=TEST)
    assert sum("least squares" in str(w.message) for w in caught) == 1


def test_numbers_for_json() -> None:
    document = curve().as_dict()
    assert json.loads(json.dumps(document)) == document
    assert set(document) == {"test_frames", "by_frames", "by_sparse_points", "slope_with_frames"}
    point = document["by_frames"][0]
    assert set(point) == {"frames", "sparse_points", "energy", "forces", "fit_seconds"}
    assert set(point["energy"]) == {"mae_meV_per_atom", "rmse_meV_per_atom"}
    assert set(point["forces"]) == {"mae_eV_per_A", "rmse_eV_per_A"}
    assert point["energy"]["mae_meV_per_atom"] == 1e3 * curve().by_frames[0].mae["energy"]


def test_the_table_has_a_line_for_each_fit() -> None:
    lines = str(curve()).splitlines()
    assert len(lines) == 8
    assert lines[0].endswith("energy (meV/atom)     forces (eV/Å)")


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_the_figure_is_written_and_is_the_same_every_time(suffix: str, tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.{suffix}" for name in "ab"]
    for path in paths:
        curve().plot(path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert len(paths[0].read_bytes()) > 5000


def test_figures_of_half_a_curve_and_of_perfect_errors(tmp_path: Path) -> None:
    exact = CurvePoint(10, 5, {"energy": 0.0}, {"energy": 0.0}, 0.0)
    for made in (LearningCurve(curve().by_frames, (), 8), LearningCurve((), curve().by_sparse, 8)):
        made.plot(tmp_path / "half.png")
    LearningCurve((exact,), (), 1).plot(tmp_path / "exact.png")
    with pytest.raises(ConfigError, match="no points"):
        LearningCurve((), (), 3).plot(tmp_path / "none.png")
    with pytest.raises(ConfigError, match="png"):
        curve().plot(tmp_path / "figure.jpg")


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "too many frames": ({"sizes": [50]}, "sizes=50"),
    "no frames": ({"sizes": [0]}, "sizes=0"),
    "a share above one": ({"sizes": [1.5]}, "1.5"),
    "a word": ({"sizes": ["all"]}, "all"),
    "nothing": ({"sizes": []}, "sizes is empty"),
    "more sparse points than there are": ({"n_sparse": [64]}, "n_sparse=64"),
    "half a point": ({"n_sparse": [2.5]}, "n_sparse=2.5"),
    "cores": ({"n_jobs": 0}, "n_jobs=0"),
}


@pytest.mark.parametrize(("settings", "match"), WRONG.values(), ids=WRONG)
def test_numbers_outside_their_range_are_refused_before_any_fit(
    settings: dict[str, Any], match: str, watched: list[list[Atoms]]
) -> None:
    with pytest.raises(ConfigError, match=match):
        learning_curve(model(), TRAIN, frames_test=TEST, **settings)
    assert Watched.seen == []


def test_frames_that_cannot_be_used() -> None:
    with pytest.raises(DataError, match="held-out"):
        learning_curve(model(), TRAIN, frames_test=[])
    with pytest.raises(DataError, match="single atoms"):
        learning_curve(model(), [atom()], frames_test=TEST)
