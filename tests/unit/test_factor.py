"""Streaming QR against direct QR, and the Cholesky factor of singular kernel matrices."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from gapkit.numerics.factor import TriangularFold, jittered_cholesky, qr_triangle, whiten


def reference(rows: np.ndarray) -> np.ndarray:
    """R of numpy's QR with a positive diagonal, which makes it unique."""
    r = np.linalg.qr(rows, mode="r")
    return r * np.where(np.diagonal(r) < 0, -1.0, 1.0)[:, None]


def add(fold: TriangularFold, rows: np.ndarray) -> None:
    fold.add(rows[:, :-1], rows[:, -1:], np.ones(len(rows)))


def folded(rows: np.ndarray, sizes: list[int], fold_rows: int) -> TriangularFold:
    fold = TriangularFold(rows.shape[1], fold_rows=fold_rows)
    for part in np.split(rows, np.cumsum(sizes)[:-1]):
        add(fold, part)
    assert sum(sizes) == len(rows) == fold.n_rows
    return fold


SIZES = {
    "at once": [60],
    "one by one": [1] * 60,
    "to the boundary": [18, 42],  # the buffer holds 7 columns + 11 rows
    "over the boundary": [19, 41],
    "twice the boundary": [18, 11, 31],
    "empty parts": [0, 30, 0, 30, 0],
    "few": [5],
    "as many as columns": [7],
    "exactly full": [18],
}


@pytest.mark.parametrize("name", SIZES)
def test_fold_is_the_direct_factor(rng: np.random.Generator, name: str) -> None:
    rows = rng.normal(size=(sum(SIZES[name]), 7))
    factor = folded(rows, SIZES[name], 11).factor()
    assert factor.shape[0] == min(len(rows), 7)
    assert factor.T @ factor == pytest.approx(rows.T @ rows, rel=1e-13, abs=1e-13)
    if len(rows) > 7:
        assert factor == pytest.approx(reference(rows), rel=1e-12, abs=1e-13)
        assert not np.tril(factor, -1).any()


def test_fold_does_not_change_what_it_is_given(rng: np.random.Generator) -> None:
    rows = rng.normal(size=(40, 7))
    kept = rows.copy()
    folded(rows, [40], 3)
    assert np.array_equal(rows, kept)


def test_rows_are_divided_on_the_way_in(rng: np.random.Generator) -> None:
    rows, divisor = rng.normal(size=(40, 7)), rng.uniform(0.1, 3.0, 40)
    fold = TriangularFold(7, fold_rows=5)
    fold.add(rows[:, :-1], rows[:, -1:], divisor)
    assert fold.factor() == pytest.approx(reference(rows / divisor[:, None]), rel=1e-12, abs=1e-13)


def test_factor_may_be_asked_for_between_adds(rng: np.random.Generator) -> None:
    rows = rng.normal(size=(50, 7))
    fold = TriangularFold(7, fold_rows=5)
    add(fold, rows[:23])
    first = fold.factor()
    kept = first.copy()
    add(fold, rows[23:])
    assert fold.factor() == pytest.approx(reference(rows), rel=1e-12, abs=1e-13)
    assert np.array_equal(first, kept)


def test_no_rows_at_all() -> None:
    assert TriangularFold(4).factor().shape == (0, 4)


def test_small_columns_survive() -> None:
    """Columns down to 1e-14 keep ten digits; normal equations, which square the scale, lose them all."""
    rng = np.random.default_rng(3)
    scale = 10.0 ** -np.arange(0, 15, 2)
    rows = rng.normal(size=(200, 8))
    factor = folded(rows * scale, [20] * 10, 16).factor()
    assert factor / scale == pytest.approx(reference(rows), rel=1e-10, abs=1e-10)


def test_memory_does_not_grow_with_the_rows() -> None:
    def peak(blocks: int) -> int:
        rows = np.ones((100, 50)) + np.eye(100, 50)
        tracemalloc.start()
        fold = TriangularFold(50, fold_rows=200)
        for _ in range(blocks):
            add(fold, rows)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(100) < 1.05 * peak(10)


def test_qr_triangle_leaves_its_argument_alone(rng: np.random.Generator) -> None:
    rows = np.asfortranarray(rng.normal(size=(20, 6)))
    kept = rows.copy()
    assert qr_triangle(rows) == pytest.approx(reference(rows), rel=1e-12, abs=1e-13)
    assert np.array_equal(rows, kept)


def test_cholesky_of_a_regular_matrix(rng: np.random.Generator) -> None:
    root = rng.normal(size=(9, 6))
    k = root.T @ root + 0.1 * np.eye(6)
    kept = k.copy()
    upper, jitter = jittered_cholesky(k)
    assert upper == pytest.approx(np.linalg.cholesky(k).T, rel=1e-11, abs=1e-12)
    assert not np.tril(upper, -1).any()
    assert jitter == pytest.approx(1e-14 * np.mean(np.diagonal(k)))
    assert np.array_equal(k, kept)


@pytest.mark.parametrize("rank", [1, 3, 20])
def test_cholesky_of_a_singular_matrix(rng: np.random.Generator, rank: int) -> None:
    root = rng.normal(size=(40, rank))
    k = 7.0 * root @ root.T
    upper, jitter = jittered_cholesky(k)
    scale = np.mean(np.diagonal(k))
    assert 1e-14 * scale <= jitter * (1 + 1e-12) <= 1e-10 * scale
    assert np.max(np.abs(upper.T @ upper - k - jitter * np.eye(40))) < 1e-14 * 40 * np.max(np.diagonal(k))


def test_cholesky_of_a_point_with_no_covariance() -> None:
    """An environment without density has k = 0 with everything."""
    k = np.zeros((3, 3))
    k[:2, :2] = [[1.0, 0.5], [0.5, 1.0]]
    upper, jitter = jittered_cholesky(k)
    assert upper[2, 2] == pytest.approx(np.sqrt(jitter))
    assert upper.T @ upper == pytest.approx(k, abs=1e-13)


def test_a_matrix_that_is_no_covariance_is_refused() -> None:
    with pytest.raises(np.linalg.LinAlgError, match="positive definite"):
        jittered_cholesky(np.diag([1.0, -0.5, 1.0]))


def test_whitening_gives_the_explained_variance(rng: np.random.Generator) -> None:
    root = rng.normal(size=(5, 5))
    k, rows = root.T @ root + np.eye(5), rng.normal(size=(3, 5))
    white = whiten(np.linalg.cholesky(k).T, rows)
    assert white @ white.T == pytest.approx(rows @ np.linalg.solve(k, rows.T), rel=1e-12, abs=1e-12)
