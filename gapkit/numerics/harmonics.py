"""Real spherical harmonics Y_lm, and the gradient of r^l Y_lm as a fixed linear map.

The recursion runs on normalised rows, so nothing overflows, and it is a polynomial in
x, y, z: no angles, no poles, complex arguments allowed (complex-step tests).
Rows are ordered l² … l²+2l for m = -l … l; Y_lm is orthonormal, without Condon-Shortley sign.
"""

from __future__ import annotations

from functools import lru_cache
from math import factorial, pi, sqrt

import numpy as np

from gapkit.numerics.memory import aligned
from gapkit.typing import FloatArray


def _norm(l: int, m: int) -> float:
    """Normalisation of Y_lm in front of Q_l^|m| cos(mφ): sqrt((2l+1)/(2π) (l-m)!/(l+m)!), m = 0 halved."""
    return sqrt((2 * l + 1) / ((4 if m == 0 else 2) * pi) * factorial(l - m) / factorial(l + m))


@lru_cache(maxsize=32)
def _recursion(l_max: int) -> list[tuple[FloatArray, FloatArray, float]]:
    """Coefficients (a_m, b_m, d) of Y_lm = a_m z Y_l-1,m - b_m Y_l-2,m and of the rotation to |m| = l."""
    steps = []
    for l in range(2, l_max + 1):
        inner = [abs(m) for m in range(-l + 1, l)]
        a = [_norm(l, m) / _norm(l - 1, m) * (2 * l - 1) / (l - m) for m in inner]
        b = [_norm(l, m) / _norm(l - 2, m) * (l + m - 1) / (l - m) for m in inner[1:-1]]
        d = _norm(l, l) / _norm(l - 1, l - 1) * (2 * l - 1)
        steps.append((np.array(a)[:, None], np.array(b)[:, None], d))
    return steps


def spherical_harmonics(u_cp: FloatArray, l_max: int) -> FloatArray:
    """Real spherical harmonics of many unit vectors.

    Parameters
    ----------
    u_cp
        Unit vectors, shape (3, P).
    l_max
        Largest degree, 0 … 20.

    Returns
    -------
    Y_lm, shape ((l_max+1)², P). Source: recursion of associated Legendre functions in Cartesian
    form, Bigi et al., J. Chem. Phys. 159, 064802 (2023), eqs. 10-14 with r = 1.
    """
    x, y, z = u_cp
    s = aligned((l_max + 1) ** 2, x.size, dtype=u_cp.dtype)
    s[0] = _norm(0, 0)
    if l_max == 0:
        return s
    for row, component in zip(s[1:4], (y, z, x), strict=True):
        np.multiply(component, _norm(1, 0), out=row)
    scratch = aligned(2 * l_max + 1, x.size, dtype=u_cp.dtype)
    for l, (a, b, d) in enumerate(_recursion(l_max), start=2):
        new, old, older = s[l * l : (l + 1) ** 2], s[(l - 1) ** 2 : l * l], s[(l - 2) ** 2 : (l - 1) ** 2]
        np.multiply(old, z, out=new[1:-1])
        new[1:-1] *= a
        new[2:-2] -= np.multiply(older, b, out=scratch[: len(b)])
        ends, dx, dy = old[:: 2 * l - 2], d * x, d * y  # m = -(l-1) and l-1
        np.multiply(ends, dx, out=new[:: 2 * l])
        turned = np.multiply(ends[::-1], dy, out=scratch[:2])
        new[0] += turned[0]
        new[-1] -= turned[1]
    return s


@lru_cache(maxsize=32)
def gradient_maps(l_max: int) -> tuple[FloatArray, ...]:
    """Matrices D_l with ∂(r^l Y_lm)/∂r_a = r^(l-1) Σ_m' D_l[a, m, m'] Y_(l-1)m', for l = 0 … l_max.

    Each has shape (3, 2l+1, 2l-1); l = 0 has shape (3, 1, 0). Built from the ladder relations of
    R_lm = r^l P_lm e^{imφ}/(l+m)!: ∂_z R_lm = R_(l-1)m, (∂_x ± i∂_y) R_lm = ± R_(l-1)(m±1)
    (Hobson, The Theory of Spherical and Ellipsoidal Harmonics, 1931, §73).
    """
    maps = [np.zeros((3, 1, 0))]
    for l in range(1, l_max + 1):
        ladder = np.zeros((3, 2 * l + 1, 2 * l - 1), dtype=complex)
        for m in range(-l, l + 1):
            up, down, same = m + 1 + l - 1, m - 1 + l - 1, m + l - 1
            if abs(m) < l:
                ladder[2, m + l, same] = 1.0
            if m + 1 < l:
                ladder[0, m + l, up] += 0.5
                ladder[1, m + l, up] += -0.5j
            if m - 1 > -l:
                ladder[0, m + l, down] -= 0.5
                ladder[1, m + l, down] += -0.5j
        to_real = np.linalg.inv(_complex_from_real(l))
        maps.append(np.ascontiguousarray((to_real @ ladder @ _complex_from_real(l - 1)).real))
    return tuple(maps)


@lru_cache(maxsize=32)
def joined_maps(l_max: int) -> tuple[FloatArray, ...]:
    """The maps of `gradient_maps` with their three directions side by side, shape (2l+1, 3·(2l-1))."""
    return tuple(np.ascontiguousarray(np.concatenate(list(m), axis=1)) for m in gradient_maps(l_max))


def _complex_from_real(l: int) -> np.ndarray:
    """Matrix U with R_l = U r^l Y_l for the complex harmonics of `gradient_maps`."""
    u = np.zeros((2 * l + 1, 2 * l + 1), dtype=complex)
    u[l, l] = 1.0 / (_norm(l, 0) * factorial(l))
    for m in range(1, l + 1):
        scale = (-1) ** m / (_norm(l, m) * factorial(l + m))
        u[l + m, l + m], u[l + m, l - m] = scale, 1j * scale
        u[l - m, l + m], u[l - m, l - m] = (-1) ** m * scale, -1j * (-1) ** m * scale
    return u
