"""LAPACK's blocked QR, called so that other threads go on meanwhile.

scipy's own wrapper holds Python's lock: while one thread factorises, all others wait. scipy also publishes the routine
for Cython, as a pointer that ctypes can call without the lock.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.linalg import cython_lapack, lapack

from gapkit.typing import FloatArray

_ARGUMENTS = ("int", "int", "int", "d", "int", "d", "int", "d", "int")  # m, n, nb, a, lda, t, ldt, work, info


def geqrt(work: FloatArray, block: int) -> tuple[FloatArray, FloatArray]:
    """Householder QR, 1 - V T Vᵀ, of a Fortran-ordered matrix, which is destroyed.

    Returns R, with V below it in the memory of the matrix, and T, of which each `block` of columns has its own.
    """
    routine = _pointer()
    if routine is None:
        work[...], t, _ = lapack.dgeqrt(block, work)
        return work, t
    if not (work.flags.f_contiguous and work.flags.writeable and work.dtype == np.float64):
        raise ValueError("the matrix must be float64, Fortran-ordered and writable")
    m, n = work.shape
    t, scratch = np.zeros((block, min(m, n)), order="F"), np.empty((n, block))
    sizes = [ctypes.byref(ctypes.c_int(size)) for size in (m, n, block, max(1, m), block)]
    a, t_data, data = (ctypes.c_void_p(x.ctypes.data) for x in (work, t, scratch))
    info = ctypes.c_int()
    routine(*sizes[:3], a, sizes[3], t_data, sizes[4], data, ctypes.byref(info))
    if info.value:
        raise np.linalg.LinAlgError(f"dgeqrt refuses its argument {-info.value}")
    return work, t


@functools.cache
def _pointer() -> Callable[..., None] | None:
    """dgeqrt of scipy for Cython; None where its arguments are not what they are known to be."""
    capsule: Any = getattr(cython_lapack, "__pyx_capi__", {}).get("dgeqrt")
    if capsule is None:
        return None
    api = ctypes.pythonapi
    api.PyCapsule_GetName.restype, api.PyCapsule_GetName.argtypes = ctypes.c_char_p, [ctypes.py_object]
    api.PyCapsule_GetPointer.restype = ctypes.c_void_p
    api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    name = api.PyCapsule_GetName(capsule)
    kinds = [argument.strip(" *)").rsplit("_", 1)[-1] for argument in name.decode().partition("(")[2].split(",")]
    if tuple(kinds) != _ARGUMENTS:
        return None
    prototype = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * len(_ARGUMENTS))
    return prototype(api.PyCapsule_GetPointer(capsule, name))
