"""Triangular factors: streaming QR of observation rows, and Cholesky of kernel matrices."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial

import numpy as np
from scipy.linalg import lapack, solve_triangular

from gapkit.numerics.householder import triangulate
from gapkit.typing import FloatArray

_log = logging.getLogger(__name__)

FOLD_ROWS = 4096
"""Rows that are gathered before they are folded into the factor."""

_CORNER = 96  # rows and columns of a corner that is looked at for zeros


class TriangularFold:
    """Factor R with RᵀR = Σ rowsᵀ rows of all rows seen, in memory that does not grow with them.

    Householder QR of [R; new rows] (Golub & Van Loan, Matrix Computations, §6.5.3); the normal
    equations would square the condition number.

    Parameters
    ----------
    n_columns
        Columns of the rows, targets included.
    n_threads
        Threads that fold; results do not depend on it.
    """

    def __init__(self, n_columns: int, fold_rows: int = FOLD_ROWS, n_threads: int = 1) -> None:
        self.n_columns, self.n_rows = n_columns, 0
        self._capacity, self._n_threads = n_columns + fold_rows, n_threads
        self._work: FloatArray = np.empty((0, n_columns), order="F")
        self._filled, self._folded = 0, False  # folded: the first rows are a triangle

    def add(self, rows_nm: FloatArray, last_nt: FloatArray, divisor_n: FloatArray) -> None:
        """Take the first and last columns of some rows, (n, M) and (n, T), and what they are divided by, (n,)."""
        self.n_rows += len(rows_nm)
        m, done = rows_nm.shape[1], 0
        while done < len(rows_nm):
            if self._filled == self._capacity:
                self._fold()
            count = min(len(rows_nm) - done, self._capacity - self._filled)
            self._reserve(self._filled + count)
            here, out = slice(done, done + count), self._work[self._filled : self._filled + count]
            np.divide(rows_nm[here], divisor_n[here, None], out=out[:, :m])
            np.divide(last_nt[here], divisor_n[here, None], out=out[:, m:])
            self._filled += count
            done += count

    def _reserve(self, rows: int) -> None:
        """Room for `rows`, doubled as needed: small groups must not cost a full buffer."""
        if rows <= len(self._work):
            return
        larger = np.empty((min(self._capacity, max(rows, 2 * len(self._work))), self.n_columns), order="F")
        larger[: self._filled] = self._work[: self._filled]
        self._work = larger

    def _fold(self) -> None:
        rows, n = self._work[: self._filled], self.n_columns
        if self._folded:
            triangulate(rows[:n], lambda _: rows[n:], self._n_threads)
        else:
            triangulate(rows, lambda end: rows[end:], self._n_threads)
        _cleaned(rows[:n])
        self._filled, self._folded = n, True

    def factor(self) -> FloatArray:
        """The factor, at most n_columns rows; its rows are the rows themselves while there are few."""
        if self._filled > self.n_columns:
            self._fold()
        return np.array(self._work[: self._filled], order="F")


def qr_triangle(rows_nm: FloatArray) -> FloatArray:
    """R of the QR factorisation, shape (min(n, m), m), with a non-negative diagonal."""
    return _triangle_in_place(np.array(rows_nm, order="F"))


def _triangle_in_place(work: FloatArray) -> FloatArray:
    """R of a Fortran-ordered matrix, which is destroyed; the result is a part of its memory."""
    triangulate(work, lambda end: work[end:])
    return _cleaned(work[: min(work.shape)])


def _cleaned(triangle: FloatArray) -> FloatArray:
    """The same with zeros below the diagonal and nothing negative on it."""
    sign_n = np.where(np.diagonal(triangle) < 0.0, -1.0, 1.0)
    for column in range(triangle.shape[1]):  # which stand together in memory
        triangle[: column + 1, column] *= sign_n[: column + 1]
        triangle[column + 1 :, column] = 0.0
    return triangle


def merged_triangle(triangle_mm: FloatArray, parts: Sequence[FloatArray]) -> FloatArray:
    """R of a triangle with rows below it, shape (M, M); all are Fortran-ordered, and destroyed.

    Parts that are triangles themselves, as `TriangularFold` makes of many rows, cost 2/3 M³ operations each, a third of
    what other rows do. They come last, and before them the largest rows first: those of isolated atoms are by far the
    largest, and in their rounding a small model that was folded before loses two digits.
    """
    triangles = [part for part in parts if _is_triangle(part)]
    loose = [part for part in parts if not _is_triangle(part)]
    if loose:
        rows_nm = np.empty((sum(map(len, loose)), triangle_mm.shape[1]), order="F")
        np.concatenate(loose, out=rows_nm)  # their only copy: they can take more memory than the triangle
        largest_first = np.argsort(-np.maximum(rows_nm.max(axis=1), -rows_nm.min(axis=1)), kind="stable")
        for column in range(rows_nm.shape[1]):
            rows_nm[:, column] = rows_nm[largest_first, column]
        triangulate(triangle_mm, lambda _: rows_nm)
    for part in triangles:
        triangulate(triangle_mm, partial(_until, part))
    return _cleaned(triangle_mm)


def _until(triangle_nm: FloatArray, end: int) -> FloatArray:
    """Rows of a triangle that have something in the first columns."""
    return triangle_nm[:end]


def _is_triangle(rows_nm: FloatArray) -> bool:
    """Whether there are several rows, and nothing but zeros below the diagonal."""
    n, m = rows_nm.shape
    corners = (slice(a, a + _CORNER) for a in range(0, n, _CORNER))
    below = (rows_nm[c.stop :, c].any() or np.tril(rows_nm[c, c], -1).any() for c in corners)
    return 1 < n <= m and not any(below)


def jittered_cholesky(k_mm: FloatArray) -> tuple[FloatArray, float]:
    """Upper triangular U with UᵀU = K + ε·mean(diag K)·1, with the smallest ε of 1e-14, 1e-13, … that works.

    Kernel matrices of many similar environments are singular to rounding.
    """
    scale = float(np.mean(np.diagonal(k_mm)))
    jitter = 1e-14
    while True:
        work = np.array(k_mm, order="F")
        work[np.diag_indices_from(work)] += jitter * scale
        upper, info = lapack.dpotrf(work, lower=0, clean=1, overwrite_a=1)
        if info == 0:
            _log.debug("kernel matrix of %d points factorised with relative jitter %.0e", len(k_mm), jitter)
            return upper, jitter * scale
        jitter *= 10.0
        if jitter > 1e-4:
            raise np.linalg.LinAlgError("the kernel matrix of the sparse points is not positive definite")


def whiten(upper_mm: FloatArray, rows_xm: FloatArray) -> FloatArray:
    """rows · U⁻¹, shape (X, M): squared row norms are kᵀ (UᵀU)⁻¹ k."""
    return solve_triangular(upper_mm, rows_xm.T, trans="T", check_finite=False).T
