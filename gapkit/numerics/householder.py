"""Householder QR by blocks of columns: on several threads, and without the zeros of triangles.

LAPACK factorises a block of columns to 1 - V T Vᵀ (Schreiber & Van Loan, SIAM J. Sci. Stat. Comput. 10, 53 (1989)),
which is applied to the columns on its right, in chunks that do not depend on the number of threads: neither do results.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from gapkit.numerics.lapack import geqrt
from gapkit.typing import FloatArray

_BLOCK = 128  # columns: fewer waste dgemm, more spend their time inside the block
_CHUNK = 256  # columns that are updated at once: what is subtracted from them stays in the cache


def triangulate(top_nm: FloatArray, below: Callable[[int], FloatArray], n_threads: int = 1) -> None:
    """Turn the upper triangle of the first rows into R of the QR of all rows; all else becomes rubbish.

    Parameters
    ----------
    top_nm
        The first rows, Fortran-ordered, shape (n, m): those of a triangle (n = m), or all rows there are.
    below
        below(b): all rows with anything but zeros in the first b columns, but for the first b rows of `top_nm`.
    n_threads
        Threads that update columns.
    """
    steps, width = min(top_nm.shape), top_nm.shape[1]
    starts = range(0, steps, _BLOCK)
    if n_threads < 2 or width <= _BLOCK + _CHUNK:
        for start in starts:
            for update in _block(top_nm, below, slice(start, min(start + _BLOCK, steps))):
                update()
        return
    with ThreadPoolExecutor(n_threads) as pool:
        for start in starts:
            updates = _block(top_nm, below, slice(start, min(start + _BLOCK, steps)))
            for done in [pool.submit(update) for update in updates]:
                done.result()


def _block(top_nm: FloatArray, below: Callable[[int], FloatArray], own: slice) -> list[Callable[[], None]]:
    """Factorise one block of columns; what is left to do on its right."""
    head_km, tail_rm = top_nm[own], below(own.stop)
    stack = np.asfortranarray(np.concatenate([head_km[:, own], tail_rm[:, own]]))
    k = own.stop - own.start
    t_kk = geqrt(stack, k)[1]
    head_km[:, own] = stack[:k]
    v_kk, v_rk = np.tril(stack[:k], -1) + np.eye(k), stack[k:]

    def update(chunk: slice) -> None:
        head_ck, tail_cr = head_km[:, chunk].T, tail_rm[:, chunk].T
        w_ck = (head_ck @ v_kk + tail_cr @ v_rk) @ t_kk
        head_ck -= w_ck @ v_kk.T
        tail_cr -= w_ck @ v_rk.T

    edges = range(own.stop, top_nm.shape[1], _CHUNK)
    return [partial(update, slice(edge, edge + _CHUNK)) for edge in edges]
