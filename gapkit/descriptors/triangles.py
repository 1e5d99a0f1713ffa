"""Triangles of a centre and two of its neighbours: what three-body features of any kind are functions of."""

from __future__ import annotations

import numpy as np

from gapkit.typing import FloatArray, IntArray


def two_of_each(e_p: IntArray) -> tuple[IntArray, IntArray]:
    """All unordered pairs p < q of neighbours with the same centre, sorted by p.

    Parameters
    ----------
    e_p
        Centre of each neighbour, ascending, shape (P,).

    Returns
    -------
    p and q, each of shape (T,).
    """
    p = np.arange(len(e_p))
    count_p = np.searchsorted(e_p, e_p, side="right") - p - 1
    first_t = np.repeat(p, count_p)
    ahead_p = np.cumsum(count_p) - count_p - p - 1  # so that the partners of p begin with p + 1
    return first_t, np.arange(len(first_t)) - np.repeat(ahead_p, count_p)


def number_of_two(n: float) -> float:
    """Number of unordered pairs among n neighbours."""
    return 0.5 * n * max(0.0, n - 1.0)


class Legs:
    """Distances from centres to neighbours.

    Attributes
    ----------
    r_pc, r_p, unit_pc
        Vectors, their lengths and directions: shapes (P, 3), (P,), (P, 3), Å.
    """

    def __init__(self, r_pc: FloatArray) -> None:
        self.r_pc = r_pc
        self.r_p: FloatArray = np.sqrt(np.einsum("pc,pc->p", r_pc, r_pc))
        self.unit_pc: FloatArray = r_pc / self.r_p[:, None]


class Triangles:
    """Triangles with two legs and a far side between their ends.

    Attributes
    ----------
    first_t, second_t
        The two legs, as indices of pairs, shape (T,).
    a_t, b_t, far_t
        Lengths of the first leg, the second leg and the far side, shape (T,), Å.
    far_unit_tc
        Direction of the far side, from the end of the first leg to that of the second, shape (T, 3).
    """

    def __init__(self, legs: Legs, first_t: IntArray, second_t: IntArray) -> None:
        self._legs = legs
        self.first_t, self.second_t = first_t, second_t
        self.a_t, self.b_t = legs.r_p[first_t], legs.r_p[second_t]
        far_tc = legs.r_pc[second_t] - legs.r_pc[first_t]
        self.far_t: FloatArray = np.sqrt(np.einsum("tc,tc->t", far_tc, far_tc))
        self.far_unit_tc: FloatArray = far_tc / self.far_t[:, None]

    def pull(self, slope_a_t: FloatArray, slope_b_t: FloatArray, slope_far_t: FloatArray) -> FloatArray:
        """∂E/∂r of every leg, shape (P, 3), from the slopes of E by the three lengths."""
        n = len(self._legs.r_p)
        along_p = np.bincount(self.first_t, slope_a_t, n) + np.bincount(self.second_t, slope_b_t, n)
        pulled_pc = along_p[:, None] * self._legs.unit_pc
        for c in range(3):
            far_t = slope_far_t * self.far_unit_tc[:, c]
            pulled_pc[:, c] += np.bincount(self.second_t, far_t, n) - np.bincount(self.first_t, far_t, n)
        return pulled_pc
