"""Sums of runs of rows."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from gapkit.typing import FloatArray, IntArray


def sums_of_runs(
    rows_qcx: FloatArray, starts: IntArray, order: IntArray | None = None, weight_q: FloatArray | None = None
) -> FloatArray:
    """Sums of consecutive rows, each run up to where the next one starts.

    A product with a sparse matrix: ten times faster than numpy's `reduceat` along the first axis, without a copy for
    another order or for weights.

    Parameters
    ----------
    rows_qcx
        Rows, shape (Q, C, X), contiguous.
    starts
        Where each run starts in the order of the rows, ascending, shape (S,).
    order
        Which row stands where, shape (Q,); None for the order they have.
    weight_q
        Factor on each row, in the order of the runs, shape (Q,).

    Returns
    -------
    Shape (S, C, X).
    """
    n, width = len(rows_qcx), int(np.prod(rows_qcx.shape[1:]))
    index = np.arange(n) if order is None else order
    weight = np.ones(n) if weight_q is None else weight_q
    matrix = csr_array((weight, index, np.append(starts, n)), shape=(len(starts), n))
    sums: FloatArray = matrix @ rows_qcx.reshape(n, width)
    return sums.reshape(len(starts), *rows_qcx.shape[1:])
