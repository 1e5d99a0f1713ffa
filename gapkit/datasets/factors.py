"""Labels of some structures, not of all, that are a factor off: who they are, by the energies between structures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np

from gapkit.datasets.robust import typical
from gapkit.typing import FloatArray, IntArray

WRONG_SIGN: Final = "wrong sign"
_FITS: Final = 0.15  # share of the residual of their pairs that the factor must leave
_LEAST: Final = 3  # structures, and pairs of each, from which something is concluded


class Mixed(NamedTuple):
    """Structures whose labels read right times `factor`; typical residuals of their pairs, eV, before and after."""

    name: str
    factor: float
    which: list[int]
    before: float
    after: float


def mixed_factors(
    ends_2p: IntArray, energy_p: FloatArray, halves_2p: FloatArray, units: Mapping[str, float]
) -> Mixed | None:
    """The sign or unit that a minority of labels has; None if there is no such factor.

    Parameters
    ----------
    ends_2p, energy_p
        Pairs of structures, and energy from the first to the second.
    halves_2p
        What the labels of both say of it; their sum should be energy_p.
    units
        What 1 reads in other units.
    """
    index_s, local = np.unique(ends_2p, return_inverse=True)
    own_2p = local.reshape(2, -1)
    counts_s = np.bincount(own_2p.ravel(), minlength=len(index_s))
    found: list[tuple[float, Mixed]] = []
    for name, factor in {WRONG_SIGN: -1.0, **{name: 1.0 / size for name, size in units.items()}}.items():
        off_s, gain = _settled(own_2p, energy_p, halves_2p, factor, len(index_s))
        odd_s = off_s & (counts_s >= _LEAST)
        touched_p = off_s[own_2p].any(axis=0)
        if not _LEAST <= odd_s.sum() <= 0.5 * len(index_s):
            continue
        times_2p = np.where(off_s[own_2p], factor, 1.0)
        before = typical((energy_p - halves_2p.sum(axis=0))[touched_p])
        after = typical((energy_p - (times_2p * halves_2p).sum(axis=0))[touched_p])
        if after < _FITS * before and not _as_large(halves_2p, off_s[own_2p], factor):
            found.append((gain, Mixed(name, factor, index_s[odd_s].tolist(), before, after)))
    return max(found, key=lambda entry: entry[0])[1] if found else None


def _as_large(halves_2p: FloatArray, off_2p: np.ndarray, factor: float) -> bool:
    """Whether labels that would be a factor off are as large as those of their partners: forces of relaxed structures
    whose energies differ by states of charge or spin, say."""
    one_p = off_2p[0] != off_2p[1]
    if factor < 0.0 or not one_p.any():
        return False
    size_2p = np.log(np.abs(halves_2p[:, one_p]) + 1e-9)
    ratio = float(np.median(np.where(off_2p[0, one_p], size_2p[0] - size_2p[1], size_2p[1] - size_2p[0])))
    return abs(ratio) < abs(ratio + np.log(factor))


def _settled(
    ends_2p: IntArray, energy_p: FloatArray, halves_2p: FloatArray, factor: float, n: int
) -> tuple[np.ndarray, float]:
    """Which structures have the factor, and how much better pairs agree: one after another, the greatest gain first."""
    off_s, floor = np.zeros(n, dtype=bool), 1e-2 * max(typical(energy_p), 1e-6)

    def cost(times_2p: FloatArray) -> FloatArray:
        size_p: FloatArray = np.log(np.abs(energy_p - (times_2p * halves_2p).sum(axis=0)) + floor)
        return size_p

    total = 0.0
    for _ in range(2 * n):
        times_2p = np.where(off_s[ends_2p], factor, 1.0)
        other_2p, now_p = np.where(off_s[ends_2p], 1.0, factor), cost(times_2p)
        gain_s = np.zeros(n)
        for end in (0, 1):
            turned_2p = times_2p.copy()
            turned_2p[end] = other_2p[end]
            gain_s += np.bincount(ends_2p[end], now_p - cost(turned_2p), minlength=n)
        best = int(gain_s.argmax())
        if gain_s[best] < 1e-9:
            break
        off_s[best] = not off_s[best]
        total += float(gain_s[best])
    return off_s, total
