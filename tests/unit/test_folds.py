"""Cross-validation from compressed rows: every fold as by a fit that never saw it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from gapkit import Noise
from gapkit.atoms.neighbours import NeighbourList
from gapkit.gp.compress import observations
from gapkit.gp.design import frame_rows
from gapkit.gp.folds import Folds, Scales
from gapkit.gp.likelihood import Part
from gapkit.model import sigmas
from gapkit.model.fitting import compress, isolated_rows, sigma_of
from gapkit.model.prepared import Prepared
from gapkit.model.sigmas import most_probable, scales_of_least_errors, score_of
from gapkit.typing import KINDS, Kind
from tests.samples import E0, cluster, crystal, fitted, model

NOISE = Noise(0.01, 0.1, 0.1)
"""σ that errors and factors are relative to."""
STATE = fitted().state_
"""Its sparse points are used; its weights are not."""


def folds_of(split: list[Prepared]) -> tuple[Folds, list[dict[Kind, Part]]]:
    found: list[dict[Kind, Part]] = []
    for own in split:
        rows = compress(own.frames, STATE.terms, own.known, NOISE, 1)
        of_kind = {kind: [part for part in rows if part.key.kind == kind] for kind in KINDS}
        found.append({k: Part(v, [sigma_of(NOISE, part.key) or 0.0 for part in v]) for k, v in of_kind.items() if v})
    return Folds(STATE.prior_mm, isolated_rows(STATE.terms, STATE.species), found), found


@pytest.fixture(scope="module")
def split() -> list[Prepared]:
    """Crystals and clusters in three folds."""
    structures = [crystal(k) if k % 2 else cluster(k) for k in range(12)]
    return [model(e0=E0).prepare(structures[k::3]) for k in range(3)]


def rows_in_sigmas(own: Prepared, kind: Kind) -> tuple[np.ndarray, np.ndarray]:
    """Rows and targets of one kind in units of σ, structure by structure."""
    rows, targets = [], []
    for frame, known in zip(own.frames, own.known, strict=True):
        pairs = NeighbourList(STATE.reach).pairs(frame)
        made = frame_rows(STATE.terms, pairs, frame.kinds)
        for part in observations(frame, made, known.fixed, sorted(frame.kinds)):
            if part.key.kind == kind:
                sigma_n = (part.divisor_n * getattr(NOISE, kind))[:, None]
                rows.append(part.rows_nm / sigma_n)
                targets.append(part.y_n / sigma_n[:, 0])
    return np.concatenate(rows), np.concatenate(targets)


def honest(split: list[Prepared], scales: Mapping[Kind, float]) -> dict[Kind, float]:
    """Errors of each fold by least squares on the rows of the others, one by one: means over folds."""
    m = len(STATE.prior_mm)
    exact = isolated_rows(STATE.terms, STATE.species).factor_nm
    found: dict[Kind, list[float]] = {kind: [] for kind in KINDS}
    for k, own in enumerate(split):
        a, b = [STATE.prior_mm, exact[:, :-1]], [np.zeros(m), exact[:, -1]]
        for other in split[:k] + split[k + 1 :]:
            for kind, scale in scales.items():
                rows_nm, y_n = rows_in_sigmas(other, kind)
                a.append(rows_nm / scale)
                b.append(y_n / scale)
        weights_m = np.linalg.lstsq(np.concatenate(a), np.concatenate(b), rcond=None)[0]
        for kind in KINDS:
            rows_nm, y_n = rows_in_sigmas(own, kind)
            found[kind].append(float(np.sqrt(np.mean((rows_nm @ weights_m - y_n) ** 2))))
    return {kind: float(np.mean(values)) for kind, values in found.items()}  # folds are equally large


@pytest.mark.parametrize(
    "scales", [{"energy": 1.0, "forces": 1.0, "stress": 1.0}, {"energy": 0.2, "forces": 3.0}], ids=["all", "no-stress"]
)
def test_errors_are_those_of_fits_without_the_fold(split: list[Prepared], scales: dict[Kind, float]) -> None:
    errors, expected = folds_of(split)[0].errors(scales), honest(split, scales)
    assert errors == pytest.approx(expected, rel=1e-6)
    # sabotage: errors of the fit to everything are smaller, so what is left out matters
    twice = folds_of([split[0], split[0]])[0].errors(scales)
    assert twice["forces"] < 0.9 * errors["forces"]


def test_the_best_factors_are_no_worse_than_their_neighbours(
    split: list[Prepared], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By more than what a step is taken for, where no error is given away for the usual ratio or a larger σ."""
    monkeypatch.setattr(sigmas, "_PART", (0.0, np.inf))
    monkeypatch.setattr(sigmas, "_USUAL", 0.0)
    monkeypatch.setattr(sigmas, "_in_the_middle", lambda score, best: best)
    folds = folds_of(split)[0]
    start: dict[Kind, float] = {"energy": 100.0, "forces": 100.0, "stress": 100.0}
    best = scales_of_least_errors(folds, start)
    least = score_of(folds.errors(best))
    assert least < score_of(folds.errors(start)) - 0.1
    for kind in ("energy", "stress"):
        for step in (10**0.5, 10**-0.5):
            assert score_of(folds.errors({**best, kind: best[kind] * step})) > least - sigmas._MATTERS


class Valley:
    """Errors of forces: flat, but for a ripple, between two factors of σ; a tenth more per step beside."""

    def __init__(self, low: float, high: float) -> None:
        self._ends = np.log([low, high])

    def errors(self, scales: Scales) -> dict[Kind, float]:
        x = np.log(scales["forces"])
        beside = max(self._ends[0] - x, x - self._ends[1], 0.0) / np.log(10**0.5)
        return {"forces": float(np.exp(0.1 * beside + 0.004 * np.cos(40.0 * x)))}


@pytest.mark.parametrize(
    ("low", "high", "middle"), [(0.1, 10.0, 1.0), (0.1, 10**1.5, 10**0.5), (1.0, 1.0, 1.0)], ids=["odd", "even", "1"]
)
def test_where_errors_are_flat_the_factor_is_in_the_middle(
    low: float, high: float, middle: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sigmas, "_PART", (0.0, np.inf))
    found = scales_of_least_errors(Valley(0.99 * low, 1.01 * high), {"forces": 1.0})  # type: ignore[arg-type]
    assert found["forces"] == pytest.approx(middle)


@pytest.mark.parametrize(("low", "high", "sigma"), [(0.002, 0.02, 0.3), (0.5, 0.5, 0.5), (20.0, 200.0, 1.0)])
def test_sigma_is_a_third_of_the_error_of_forces_at_least_and_this_error_at_most(
    low: float, high: float, sigma: float
) -> None:
    """And all kinds go together: their ratio stays."""

    class Both(Valley):
        def errors(self, scales: Scales) -> dict[Kind, float]:
            return {"energy": 3.0, **super().errors(scales)}

    start: dict[Kind, float] = {"energy": sigma, "forces": sigma}
    found = scales_of_least_errors(Both(low, high), start)  # type: ignore[arg-type]
    assert found == pytest.approx({"energy": sigma, "forces": sigma}, rel=0.05)


def test_labels_without_any_error_leave_sigma_in_its_range() -> None:
    """A chain of two choices, as for more and more sparse points."""

    class Perfect:
        def errors(self, scales: Scales) -> dict[Kind, float]:
            return {"energy": 1e-9, "forces": 1e-9}

    found: dict[Kind, float] = {"energy": 1.0, "forces": 1.0}
    for _ in range(3):
        found = scales_of_least_errors(Perfect(), found)  # type: ignore[arg-type]
        assert found == pytest.approx({"energy": 1e-3, "forces": 1e-3})


def test_the_largest_evidence_has_the_smaller_evidence_around_it(split: list[Prepared]) -> None:
    _, rows = folds_of(split)
    parts = {kind: Part([r for own in rows for r in own[kind].rows], [s for own in rows for s in own[kind].sigmas])
             for kind in KINDS}  # fmt: skip
    fixed = isolated_rows(STATE.terms, STATE.species)
    start: dict[Kind, float] = {"energy": 1.0, "forces": 1.0, "stress": 1.0}
    top = most_probable(STATE.prior_mm, fixed, parts, start)
    assert top.n_rows == sum(part.n_rows for own in rows for p in own.values() for part in p.rows)
    close = most_probable(STATE.prior_mm, fixed, parts, start, steps=40)
    assert top.log_evidence - 1.0 < close.log_evidence < top.log_evidence + 0.02
    for kind in KINDS:
        for step in (1.2, 1 / 1.2):
            near = {**top.scales, kind: top.scales[kind] * step}
            # a factor of 1.2 moves the prior of width log 100 by little
            assert most_probable(STATE.prior_mm, fixed, parts, near, steps=0).log_evidence < top.log_evidence + 0.02
