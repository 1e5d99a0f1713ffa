"""Blocked QR against LAPACK's, with blocks and chunks that are smaller and larger than the matrix."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from gapkit.numerics import householder
from gapkit.numerics.factor import TriangularFold, merged_triangle
from gapkit.numerics.householder import triangulate

SIZES = [(1, 1), (3, 2), (4, 100), (128, 256)]
"""Columns of a block and of a chunk; the last are those in use."""


@pytest.fixture(params=SIZES, ids=str)
def sizes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(householder, "_BLOCK", request.param[0])
    monkeypatch.setattr(householder, "_CHUNK", request.param[1])


def reference(rows: np.ndarray) -> np.ndarray:
    return _positive(np.linalg.qr(rows, mode="r"))


def _positive(r: np.ndarray) -> np.ndarray:
    return np.triu(r) * np.where(np.diagonal(r) < 0, -1.0, 1.0)[:, None]


def rest(rows: np.ndarray) -> Callable[[int], np.ndarray]:
    return lambda end: rows[end:]


@pytest.mark.usefixtures("sizes")
@pytest.mark.parametrize("shape", [(40, 11), (11, 11), (7, 11), (1, 5), (5, 1)])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_rows_without_zeros(rng: np.random.Generator, shape: tuple[int, int], n_threads: int) -> None:
    work = np.asfortranarray(rng.normal(size=shape))
    expected = reference(work)
    triangulate(work, rest(work), n_threads)
    assert _positive(work[: min(shape)]) == pytest.approx(expected, rel=1e-12, abs=1e-13)


@pytest.mark.usefixtures("sizes")
@pytest.mark.parametrize("n_rows", [1, 5, 11, 40])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_rows_below_a_triangle(rng: np.random.Generator, n_rows: int, n_threads: int) -> None:
    triangle = np.asfortranarray(np.triu(rng.normal(size=(11, 11))))
    rows = np.asfortranarray(rng.normal(size=(n_rows, 11)))
    expected = reference(np.concatenate([triangle, rows]))
    triangulate(triangle, lambda _: rows, n_threads)
    assert not np.tril(triangle, -1).any()
    assert _positive(triangle) == pytest.approx(expected, rel=1e-12, abs=1e-13)


@pytest.mark.usefixtures("sizes")
@pytest.mark.parametrize("loose", [0, 3, 30])
def test_triangles_and_rows_are_merged(rng: np.random.Generator, loose: int) -> None:
    parts = [np.triu(rng.normal(size=(n, 11))) for n in (11, 6, 11)]
    if loose:
        parts.insert(1, rng.normal(size=(loose, 11)))
    expected = reference(np.concatenate(parts))
    found = merged_triangle(np.asfortranarray(parts[0]), [np.asfortranarray(part) for part in parts[1:]])
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-13)


def test_rows_that_are_zero_are_not_read(rng: np.random.Generator) -> None:
    """Only the first rows of a triangle have anything in the first columns."""
    seen: list[int] = []
    rows, triangle = (np.asfortranarray(np.triu(rng.normal(size=(500, 500)))) + 30.0 * np.eye(500) for _ in range(2))
    expected = reference(np.concatenate([triangle, rows]))

    def first(count: int) -> np.ndarray:
        seen.append(count)
        return rows[:count]

    triangulate(triangle, first)
    assert seen == [128, 256, 384, 500]
    assert _positive(triangle) == pytest.approx(expected, rel=1e-10, abs=1e-11)


def test_rows_are_copied_once_when_they_are_merged(rng: np.random.Generator) -> None:
    """Those of many groups take more memory than the triangle."""
    loose = [np.asfortranarray(rng.normal(size=(950, 1000))) for _ in range(6)]
    triangle = np.asfortranarray(np.triu(rng.normal(size=(1000, 1000))))
    tracemalloc.start()
    merged_triangle(triangle, loose)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.6 * sum(part.nbytes for part in loose)  # the rest: a block of columns, and changes of a chunk


def test_results_do_not_depend_on_the_threads(rng: np.random.Generator) -> None:
    """Bit for bit, at sizes where threads are used."""
    rows = rng.normal(size=(2000, 900))
    found = []
    for n_threads in (1, 2, 3):
        fold = TriangularFold(900, fold_rows=300, n_threads=n_threads)
        fold.add(rows[:, :-1], rows[:, -1:], np.ones(len(rows)))
        found.append(fold.factor())
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])
    assert found[0] == pytest.approx(reference(rows), rel=1e-10, abs=1e-11)


def test_an_error_in_a_thread_is_not_lost(rng: np.random.Generator) -> None:
    top, rows = np.asfortranarray(np.triu(rng.normal(size=(900, 900)))), np.asfortranarray(rng.normal(size=(5, 900)))
    rows.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        triangulate(top, lambda _: rows, 2)
