"""Summaries, carried rows, merged and reduced factors, on random matrices with plain inverses."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gapkit import DataError
from gapkit.gp.compress import CompressedRows, Observations, RowKey
from gapkit.gp.posterior import Posterior, solve
from gapkit.gp.transfer import SUMMARY, Grown, Summary, carried, merged, without
from gapkit.numerics.factor import qr_triangle
from gapkit.typing import Kind

M = 6


def prior(rng: np.random.Generator, m: int = M) -> np.ndarray:
    """Triangular factor of a random K/δ²."""
    return qr_triangle(rng.normal(size=(2 * m, m)))


def part(rng: np.random.Generator, n: int, kind: Kind = "energy", group: str = "a", m: int = M) -> CompressedRows:
    return CompressedRows(RowKey(group, kind), rng.normal(size=(n, m + 1)), n, 0.3 * n)


def dense(prior_mm: np.ndarray, rows_nm: np.ndarray, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the weights."""
    k_nm, y_n = rows_nm[:, :-1] / sigma, rows_nm[:, -1] / sigma
    covariance = np.linalg.inv(prior_mm.T @ prior_mm + k_nm.T @ k_nm)
    return covariance @ k_nm.T @ y_n, covariance


def covariance_of(posterior: Posterior) -> np.ndarray:
    return np.linalg.inv(posterior.data_mm.T @ posterior.data_mm)


@pytest.mark.parametrize("n", [3, 40])
@pytest.mark.parametrize("difference", [0.0, 0.3, 5.0])
def test_a_summary_is_the_posterior_plus_a_difference(n: int, difference: float, rng: np.random.Generator) -> None:
    """With fewer labels than weights, too: directions that no label speaks of keep their prior."""
    prior_mm, data = prior(rng), part(rng, n)
    old = solve(prior_mm, [data], [0.2])
    mean, covariance = dense(prior_mm, data.factor_nm, 0.2)
    moved = covariance + difference**2 * np.linalg.inv(prior_mm.T @ prior_mm)
    rows = Summary(old).rows(difference)
    assert rows.key == SUMMARY
    assert len(rows.factor_nm) == rows.n_rows == min(n, M)
    found = solve(prior_mm / np.sqrt(1.0 + difference**2), [rows], [1.0])
    assert found.weights_m == pytest.approx(mean, rel=1e-10, abs=1e-12)
    assert covariance_of(found) == pytest.approx(moved, rel=1e-9, abs=1e-12)


def test_a_summary_of_nothing_is_the_prior(rng: np.random.Generator) -> None:
    prior_mm = prior(rng)
    nothing = Posterior(np.zeros(M), prior_mm, prior_mm, 0.0)
    assert len(Summary(nothing).rows().factor_nm) == 0
    found = solve(prior_mm, [Summary(nothing).rows(0.0)], [1.0])
    assert covariance_of(found) == pytest.approx(np.linalg.inv(prior_mm.T @ prior_mm), rel=1e-10)


def test_a_summary_of_nearly_exact_labels_keeps_its_digits(rng: np.random.Generator) -> None:
    """Of σ = 1e-5, as isolated atoms have, beside others that are vague."""
    prior_mm, exact, vague = prior(rng), part(rng, 2), part(rng, 30)
    old = solve(prior_mm, [exact, vague], [1e-5, 3.0])
    found = solve(prior_mm, [Summary(old).rows()], [1.0])
    assert found.weights_m == pytest.approx(old.weights_m, rel=1e-8)
    rows = rng.normal(size=(9, M))
    assert found.variance(rows, np.zeros(9)) == pytest.approx(old.variance(rows, np.zeros(9)), rel=1e-8)


class Term:
    """What `Grown` asks of a term: functions of a few points on a line."""

    def __init__(self, delta: float, points: dict[tuple[int, ...], np.ndarray]) -> None:
        self.delta = delta
        self.points = {c: SimpleNamespace(x_md=x) for c, x in points.items()}
        edges = np.cumsum([0] + [len(x) for x in points.values()]).tolist()
        self.columns = {c: slice(a, b) for c, a, b in zip(points, edges[:-1], edges[1:], strict=True)}
        self.n_columns = edges[-1]

    def covariance(self) -> np.ndarray:
        """Points of all channels are correlated."""
        x = np.concatenate([p.x_md for p in self.points.values()])
        return np.exp(-0.5 * (x[:, None] - x) ** 2)


def grown_terms(rng: np.random.Generator) -> list[Any]:
    """Two terms; in the first, new channels stand before and between the old ones."""
    a, b, c, d = (rng.uniform(0.0, 9.0, n) for n in (3, 2, 4, 2))
    first = Grown(
        Term(2.0, {(5,): a, (9,): b}),  # type: ignore[arg-type]
        Term(2.0, {(1,): c, (5,): np.r_[a, d], (7,): d + 0.3, (9,): b}),  # type: ignore[arg-type]
        {(5,): 3, (9,): 2},
    )
    same = Term(0.5, {(5,): c})
    return [first, Grown(same, same, {(5,): 4})]  # type: ignore[arg-type]


def test_columns_of_old_points_are_found_among_new_ones(rng: np.random.Generator) -> None:
    old, new = grown_terms(rng)[0].columns()
    assert old.tolist() == [4, 5, 6, 11, 12]
    assert new.tolist() == [0, 1, 2, 3, 7, 8, 9, 10]
    assert grown_terms(rng)[1].columns()[1].size == 0


def test_rows_are_carried_by_the_old_points(rng: np.random.Generator) -> None:
    """Function values u_old of weights w on all points are K_oo⁻¹ K_o,all w in old weights: rows see only these."""
    terms = grown_terms(rng)
    priors = [np.linalg.cholesky(t.old.covariance()).T / t.old.delta for t in terms]
    prior_mm = np.zeros((9, 9))
    prior_mm[:5, :5], prior_mm[5:, 5:] = priors
    rows = part(rng, 7, m=9)
    (found,) = carried([rows], terms, prior_mm)
    assert (found.key, found.n_rows, found.log_scale) == (rows.key, rows.n_rows, rows.log_scale)
    assert np.array_equal(found.factor_nm[:, -1], rows.factor_nm[:, -1])
    assert found.factor_nm.shape == (7, 13 + 4 + 1)
    for _ in range(3):
        weights = rng.normal(size=17)
        values = terms[0].new.covariance() @ weights[:13]
        here, _ = terms[0].columns()
        old = np.r_[np.linalg.solve(terms[0].old.covariance(), values[here]), weights[13:]]
        assert found.factor_nm[:, :-1] @ weights == pytest.approx(rows.factor_nm[:, :-1] @ old, rel=1e-8)


@pytest.mark.parametrize("n", [2, 30])
def test_merged_parts_are_their_stack(n: int, rng: np.random.Generator) -> None:
    one, two, other = part(rng, n), part(rng, 5), part(rng, 4, "forces")
    first, second = merged([other, one, two])
    assert (first.key, second.key) == (one.key, other.key)
    both = np.concatenate([one.factor_nm, two.factor_nm])
    assert first.factor_nm.T @ first.factor_nm == pytest.approx(both.T @ both, rel=1e-11)
    assert (first.n_rows, first.log_scale) == (n + 5, pytest.approx(0.3 * (n + 5)))
    assert len(first.factor_nm) <= max(M + 1, n + 5 if n + 5 <= M + 1 else 0)
    prior_mm = prior(rng)
    stacked = solve(prior_mm, [one, two, other], [0.3, 0.3, 0.7])
    again = solve(prior_mm, [first, second], [0.3, 0.7])
    assert again.log_evidence == pytest.approx(stacked.log_evidence, rel=1e-11)
    assert again.weights_m == pytest.approx(stacked.weights_m, rel=1e-9)


def folded(rng: np.random.Generator, sizes: list[int], m: int = M) -> tuple[CompressedRows, list[Observations]]:
    """Observations with divisors, and their factor."""
    key, seen = RowKey("a", "energy"), []
    for n in sizes:
        divisor_n = rng.uniform(0.5, 3.0, n)
        seen.append(Observations(key, rng.normal(size=(n, m)), rng.normal(size=(n, 1)), divisor_n))
    rows = np.concatenate([np.column_stack([o.rows_nm, o.y_nt]) / o.divisor_n[:, None] for o in seen])
    log_scale = float(sum(np.log(o.divisor_n).sum() for o in seen))
    return CompressedRows(key, qr_triangle(rows), sum(sizes), log_scale), seen


@pytest.mark.parametrize("sizes", [[1, 2, 2], [5, 9, 30]])
def test_without_some_observations(sizes: list[int], rng: np.random.Generator) -> None:
    """Of factors with fewer rows than columns, too."""
    whole, seen = folded(rng, sizes)
    found = without(whole, [seen[0], seen[2]], prior(rng))
    assert found is not None
    left = np.column_stack([seen[1].rows_nm, seen[1].y_nt]) / seen[1].divisor_n[:, None]
    assert found.factor_nm.T @ found.factor_nm == pytest.approx(left.T @ left, rel=1e-9, abs=1e-11)
    assert (found.key, found.n_rows) == (whole.key, sizes[1])
    assert found.log_scale == pytest.approx(np.log(seen[1].divisor_n).sum())
    assert without(whole, seen, prior(rng)) is None


def test_without_tells_labels_that_are_not_there(rng: np.random.Generator) -> None:
    whole, seen = folded(rng, [4, 9])
    y = seen[0].y_nt
    for wrong in (y + 20.0, 3.0 * y):
        other = Observations(seen[0].key, 3.0 * seen[0].rows_nm, wrong, seen[0].divisor_n)
        with pytest.raises(DataError, match=r"energy labels of 'a' are not among those of the fit.*as they were"):
            without(whole, [other], np.eye(M))
    few, seen = folded(rng, [1, 2])  # of which rows outside their space are none
    with pytest.raises(DataError, match="not among those"):
        without(few, [Observations(few.key, rng.normal(size=(1, M)), y[:1], np.ones(1))], np.eye(M))


def test_without_bears_rows_that_are_nearly_dependent(rng: np.random.Generator) -> None:
    """Kernels of like environments have singular values down to rounding, as has their prior; labels are precise."""
    m, key = 30, RowKey("a", "forces")
    turn = np.linalg.qr(rng.normal(size=(m, m)))[0]
    root = np.logspace(0, -7, m)  # of the eigenvalues of K
    prior_mm = qr_triangle(root[:, None] * turn)
    seen = [
        Observations(key, (rng.normal(size=(n, m)) * root) @ (root[:, None] * turn), np.empty((n, 1)), np.ones(n))
        for n in (60, 3, 40)
    ]
    weights = np.linalg.solve(prior_mm, rng.normal(size=m))
    seen = [replace(o, y_nt=(o.rows_nm @ weights + 1e-4 * rng.normal(size=len(o.rows_nm)))[:, None]) for o in seen]
    rows = [np.column_stack([o.rows_nm, o.y_nt]) for o in seen]
    whole = CompressedRows(key, qr_triangle(np.concatenate(rows)), 103, 0.0)
    found = without(whole, [seen[1]], prior_mm)
    assert found is not None
    left = CompressedRows(key, np.concatenate([rows[0], rows[2]]), 100, 0.0)
    one, other = solve(prior_mm, [found], [1e-4]), solve(prior_mm, [left], [1e-4])
    values = prior_mm.T @ prior_mm  # of the function at the points
    assert values @ one.weights_m == pytest.approx(values @ other.weights_m, abs=1e-7)
    assert one.variance(values, np.zeros(m)) == pytest.approx(other.variance(values, np.zeros(m)), rel=1e-5)
    assert one.log_evidence == pytest.approx(other.log_evidence, rel=1e-5)
