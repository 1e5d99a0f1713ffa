"""Models over the weights of the labels: which are on the front, what is chosen, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gapkit import GAP, ConfigError, DataError, GapkitWarning, Noise, evaluate, load
from gapkit.tuning import Pareto, Point, pareto
from gapkit.tuning.front import not_dominated
from gapkit.tuning.front_figure import _inside
from gapkit.tuning.pareto import REACH, design
from tests.samples import atom, cluster, crystal, fitted, frames, model, numbers


def validation() -> list[Any]:
    return [crystal(21), cluster(22), crystal(23), cluster(24), atom()]


@pytest.fixture(scope="module")
def found() -> Pareto:
    return pareto(model().fit(frames(8)), validation(), 25, ("energy", "forces", "stress_rmse"))


def test_rows_are_on_the_front_if_none_beats_them(rng: np.random.Generator) -> None:
    for columns in (1, 2, 3):
        values = rng.integers(0, 6, size=(40, columns)).astype(float)  # with ties
        values[3, 0] = np.nan
        expected = [
            np.isfinite(row).all() and not any((other <= row).all() and (other < row).any() for other in values)
            for row in values
        ]
        assert not_dominated(values).tolist() == expected
    assert not_dominated(np.ones((3, 2))).tolist() == [True] * 3


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_the_design_fills_the_cube(dimensions: int) -> None:
    points = design(100, dimensions)
    assert points.shape == (100, dimensions)
    assert ((points >= 0.0) & (points < 1.0)).all()
    assert np.array_equal(points[:30], design(30, dimensions))

    def nearest(x: np.ndarray) -> float:
        distance = np.linalg.norm(x[:, None] - x, axis=2) + np.eye(len(x))
        return float(distance.min())

    rng = np.random.default_rng(0)
    assert nearest(points) > 1.5 * np.median([nearest(rng.random((100, dimensions))) for _ in range(20)])
    assert np.histogramdd(points, bins=[3] * dimensions, range=[(0.0, 1.0)] * dimensions)[0].min() >= 1
    for d in range(dimensions):  # each σ takes as many values as there are points
        assert np.diff(np.sort(points[:, d])).max() < 0.03


def test_the_first_is_the_model_and_the_second_the_most_probable(found: Pareto) -> None:
    made = model().fit(frames(8))
    assert len(found.points) == 25
    assert [p.role for p in found.points[:3]] == ["start", "evidence", ""]
    assert found.points[0].log_evidence == pytest.approx(made.log_evidence_, abs=1e-6)
    assert found.points[1].log_evidence == max(p.log_evidence for p in found.points)
    best = made.maximize_evidence("kind", delta=False)
    assert found.points[1].log_evidence == pytest.approx(best.log_evidence_, abs=1e-5)


def test_sigmas_are_spread_about_those_of_the_model(found: Pareto) -> None:
    for kind, reach in REACH.items():
        ratios = np.array([getattr(p.noise, kind) for p in found.points[2:]]) / getattr(model().noise, kind)
        u = np.log(ratios) / np.log(reach)
        assert -1.0 <= u.min() < -0.8
        assert 0.8 < u.max() <= 1.0


def test_values_are_errors_of_refitted_models(found: Pareto) -> None:
    for point in found.points[::6]:
        errors = evaluate(model().fit(frames(8)).refit(point.noise), validation()).as_dict()
        assert dict(point.values) == pytest.approx(
            {
                "energy": errors["energy"]["mae_meV_per_atom"],
                "forces": errors["forces"]["mae_eV_per_A"],
                "stress_rmse": errors["stress"]["rmse_GPa"],
            },
            rel=1e-6,
        )
    assert found.units == {"energy": "meV/atom", "forces": "eV/Å", "stress_rmse": "GPa"}


def test_front_and_dominated_are_all(found: Pareto) -> None:
    assert len(found.front) + len(found.dominated) == 25
    assert found.front
    for point in found.dominated:
        assert any(all(f.values[n] <= point.values[n] for n in found.objectives) for f in found.front)
    energies = [p.values["energy"] for p in found.front]
    assert energies == sorted(energies)


def test_the_choice_keeps_bounds_and_is_a_whole_model(found: Pareto, tmp_path: Path) -> None:
    bound = float(np.median([p.values["energy"] for p in found.front]))
    point = found.best({"energy": bound}, {"forces": 1.0})
    within = [p for p in found.points if p.values["energy"] <= bound]
    assert point.values["forces"] == min(p.values["forces"] for p in within)
    product = found.best()
    logs = [sum(np.log(v) for v in p.values.values()) for p in found.points]
    assert product is found.points[int(np.argmin(logs))]
    assert found.best(weights={"stress_rmse": 1.0}).values["stress_rmse"] == min(
        p.values["stress_rmse"] for p in found.points
    )
    picked = found.pick({"energy": bound}, {"forces": 1.0})
    assert numbers(picked) == pytest.approx(numbers(model().fit(frames(8)).refit(point.noise)), rel=1e-7, abs=1e-8)
    picked.save(tmp_path / "a.gap", data=True)
    assert numbers(load(tmp_path / "a.gap").refit()) == pytest.approx(numbers(picked), rel=1e-7, abs=1e-8)
    with pytest.raises(ConfigError, match=r"no model keeps these bounds.*smallest values are energy"):
        found.best({"energy": 1e-9})
    with pytest.raises(ConfigError, match=r"'force' is no objective.*did you mean 'forces'"):
        found.best({"force": 1.0})


def test_functions_are_objectives_and_no_kernel_is_evaluated(monkeypatch: pytest.MonkeyPatch) -> None:
    made = model().fit(frames(8))
    held, before = made.held_out(validation()), made.log_evidence_
    monkeypatch.setattr("gapkit.gp.term.SparseTerm.blocks", None)

    def size(fit: GAP) -> float:
        return float(np.abs(fit.state_.posterior.weights_m).max())

    mixed = pareto(made, held, 6, ["forces", size])
    named = pareto(made, held, 6, {"f": "forces_mae", "w": size})
    alone = pareto(made, None, 6, [size])
    assert mixed.objectives == ("forces", "size")
    assert mixed.units == {"forces": "eV/Å", "size": ""}
    assert [p.values["size"] for p in mixed.points] == [p.values["w"] for p in named.points]
    assert [p.values["size"] for p in mixed.points] == [p.values["size"] for p in alone.points]
    assert sum(p.on_front for p in alone.points) == 1
    assert made.log_evidence_ == before
    assert made.noise.get_params() == model().noise.get_params()


def test_grids_of_ones_own() -> None:
    held = fitted().held_out(validation())
    noises = [Noise(0.01, 0.1, 0.1), Noise(0.001, 0.5, None)]
    assert [p.noise for p in pareto(fitted(), held, noises).points[2:]] == noises
    found = pareto(fitted(), held, {"energy": [0.001, 0.1], "forces": [0.01, 0.02, 0.03]})
    assert [(p.noise.energy, p.noise.forces) for p in found.points[2:]] == [
        (e, f) for e in (0.001, 0.1) for f in (0.01, 0.02, 0.03)
    ]
    assert {p.noise.stress for p in found.points[2:]} == {0.02}
    grouped = model(noise=Noise(0.002, 0.05, None, {"cluster": {"forces": 0.2}})).fit(frames())
    for point in pareto(grouped, held_of(grouped), 5).points:
        assert point.noise.groups["cluster"]["forces"] / point.noise.forces == pytest.approx(4.0)
        assert point.noise.stress is None
    with pytest.raises(ConfigError, match="the grid names 'stress'"):
        pareto(grouped, held_of(grouped), {"stress": [0.1]})
    with pytest.raises(ConfigError, match="grid=1 is outside its range"):
        pareto(fitted(), held, 1)


def held_of(made: GAP) -> Any:
    return made.held_out(validation())


def test_what_says_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"1 of 6 frames were in the fit, the first is number 5"):
        pareto(fitted(), [*validation(), frames()[2]])
    with pytest.raises(ConfigError, match=r"no frame has stress to compare with"):
        pareto(fitted(), [cluster(22)], objectives=["energy", "stress"])
    with pytest.raises(ConfigError, match=r"'force' is no objective.*did you mean 'forces'"):
        pareto(fitted(), validation(), objectives=["force"])
    for wrong in ("energy", [], [3.0], [lambda m: 1.0, lambda m: 2.0]):
        with pytest.raises(ConfigError, match="objective"):
            pareto(fitted(), validation(), objectives=wrong)
    fitted().save(tmp_path / "a.gap")
    with pytest.raises(ConfigError, match="save it with data=True"):
        pareto(load(tmp_path / "a.gap"), validation())


def test_an_interrupted_scan_keeps_what_is_done() -> None:
    seen: list[GAP] = []

    def patient(fit: GAP) -> float:
        seen.append(fit)
        if len(seen) == 5:
            raise KeyboardInterrupt
        return 1.0

    with pytest.warns(GapkitWarning, match="interrupted; the first 4 of 9 models are kept"):
        found = pareto(fitted(), validation(), 9, ["forces", patient])
    assert len(found.points) == 4
    with pytest.raises(KeyboardInterrupt):
        pareto(fitted(), validation(), 9, [interrupted])


def interrupted(fit: GAP) -> float:
    raise KeyboardInterrupt


def test_values_that_are_no_numbers_are_dominated() -> None:
    seen: list[GAP] = []

    def sometimes(fit: GAP) -> float:
        seen.append(fit)
        return float("nan") if len(seen) % 2 else 1.0

    found = pareto(fitted(), validation(), 6, ["forces", sometimes])
    assert not any(p.on_front for p in found.points[::2])
    json.dumps(found.as_dict(), allow_nan=False)
    never = pareto(fitted(), None, 4, {"x": lambda fit: float("nan")})
    with pytest.raises(ConfigError, match="no model has objectives that are numbers"):
        never.best()


def made_up(evidence: tuple[float, float]) -> Pareto:
    values = [(3.0, 0.3), evidence, (2.0, 0.2), (1.0, 0.4)]
    front = not_dominated(np.array(values))
    roles = ("start", "evidence", "", "")
    points = [
        Point(Noise(), {"energy": e, "forces": f}, 0.0, bool(on), role)
        for (e, f), on, role in zip(values, front, roles, strict=True)
    ]
    return Pareto(tuple(points), {"energy": "meV/atom", "forces": "eV/Å"}, fitted())


def test_the_verdict_says_whether_evidence_and_held_out_labels_agree() -> None:
    assert made_up((1.02, 0.39)).verdict.startswith("The evidence and the held-out labels agree: ")
    text = made_up((9.0, 0.19)).verdict  # on the front, but energies are given away
    assert text.startswith("The evidence and the held-out labels disagree: the most probable σ energy 0.001")
    assert "give energy 9 meV/atom, forces 0.19 eV/Å, but σ" in text


@pytest.mark.parametrize("objectives", [["forces"], ["energy", "forces"], ["energy", "forces", "stress"]])
def test_figures(objectives: list[str], tmp_path: Path) -> None:
    found = pareto(fitted(), validation(), 8, objectives)
    found.plot(tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text(encoding="utf-8")
    for label in ("energy MAE (meV/atom)", "forces MAE (eV/Å)", "stress MAE (GPa)", "most probable σ", "as it was"):
        assert (f"<!-- {label} -->" in text) == (label.split()[0] in [*objectives, "most", "as"]), label


def test_marks_are_inside_of_logarithmic_axes() -> None:
    found = made_up((90.0, 0.19))
    (low, high), inside = _inside(found, "energy")
    assert low < 0.9
    assert high > 100.0  # room for a mark at 90
    assert inside.all()
    assert _inside(found, "forces")[0] == pytest.approx((0.19 * 0.9411, 0.4 + 0.06 * 0.21), rel=0.01)


def test_a_figure_is_the_same_every_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        made_up((9.0, 0.19)).plot(tmp_path / f"{name}.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with pytest.raises(ConfigError, match=r"cannot be written as 'a\.jpeg'"):
        made_up((9.0, 0.19)).plot(tmp_path / "a.jpeg")
