"""Triangular factors: streaming QR of observation rows, and Cholesky of kernel matrices."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from scipy.linalg import lapack, solve_triangular

from gapkit.numerics.lapack import geqrt
from gapkit.typing import FloatArray

_log = logging.getLogger(__name__)

FOLD_ROWS = 4096
"""Rows that are gathered before they are folded into the factor."""


QR_BLOCK = 96
"""Columns per block of a QR factorisation: a quarter faster than the 32 that LAPACK chooses by itself."""

_MERGE_BLOCK = 32  # the same of rows that are added to a triangle


class TriangularFold:
    """Factor R with RᵀR = Σ rowsᵀ rows of all rows seen, in memory that does not grow with them.

    Householder QR of [R; new rows] (Golub & Van Loan, Matrix Computations, §6.5.3); the normal
    equations would square the condition number.

    Parameters
    ----------
    n_columns
        Columns of the rows, targets included.
    """

    def __init__(self, n_columns: int, fold_rows: int = FOLD_ROWS) -> None:
        self.n_columns, self.n_rows = n_columns, 0
        self._capacity = n_columns + fold_rows
        self._work: FloatArray = np.empty((0, n_columns), order="F")
        self._filled = 0

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
        # a full buffer is factorised where it stands
        whole = self._work if self._filled == len(self._work) else np.array(self._work[: self._filled], order="F")
        triangle = _triangle_in_place(whole)
        if whole is not self._work:
            self._work[: len(triangle)] = triangle
        self._filled = len(triangle)

    def factor(self) -> FloatArray:
        """The factor, at most n_columns rows; its rows are the rows themselves while there are few."""
        if self._filled > self.n_columns:
            self._fold()
        return np.array(self._work[: self._filled], order="F")


def qr_triangle(rows_nm: FloatArray, overwrite: bool = False) -> FloatArray:
    """R of the QR factorisation, shape (min(n, m), m), with a non-negative diagonal.

    With `overwrite`, Fortran-ordered rows are destroyed, and the result is a part of their memory.
    """
    return _triangle_in_place(rows_nm if overwrite else np.array(rows_nm, order="F"))


def _triangle_in_place(work: FloatArray) -> FloatArray:
    """R of a Fortran-ordered matrix, which is destroyed; the result is a part of its memory."""
    return _cleaned(geqrt(work, min(QR_BLOCK, *work.shape))[: min(work.shape)])


def _cleaned(triangle: FloatArray) -> FloatArray:
    """The same with zeros below the diagonal and nothing negative on it."""
    for column in range(triangle.shape[1]):
        triangle[column + 1 :, column] = 0.0
    triangle[np.diagonal(triangle) < 0.0] *= -1.0
    return triangle


def merged_triangle(triangle_mm: FloatArray, parts: Sequence[FloatArray]) -> FloatArray:
    """R of a triangle with rows below it, shape (M, M); all are Fortran-ordered, and destroyed.

    Parts that are triangles themselves, as `TriangularFold` makes of many rows, cost 2/3 M³ operations each, a third of
    what they do in one stack (LAPACK's tpqrt).
    """
    loose = []
    for part in parts:
        if _is_triangle(part):
            triangle_mm = _with_rows(triangle_mm, part, len(part))
        else:
            loose.append(part)
    if loose:
        triangle_mm = _with_rows(triangle_mm, np.asfortranarray(np.concatenate(loose)), 0)
    return _cleaned(triangle_mm)


def _with_rows(triangle_mm: FloatArray, rows_nm: FloatArray, triangular: int) -> FloatArray:
    """R of a triangle and rows, the last `triangular` of which are a triangle."""
    block = min(_MERGE_BLOCK, len(triangle_mm))
    merged: FloatArray = lapack.dtpqrt(triangular, block, triangle_mm, rows_nm, overwrite_a=1, overwrite_b=1)[0]
    return merged


def _is_triangle(rows_nm: FloatArray) -> bool:
    """Whether there are rows, and nothing but zeros below the diagonal."""
    n, m = rows_nm.shape
    corners = (slice(a, a + QR_BLOCK) for a in range(0, n, QR_BLOCK))
    below = (rows_nm[c.stop :, c].any() or np.tril(rows_nm[c, c], -1).any() for c in corners)
    return 0 < n <= m and not any(below)


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
