"""Who trains and who validates: members of one run stay on one side, and every stratum is on both.

A run is a set of related observations in their order; a run that is too large for one side is cut into contiguous
blocks, so that only the members at the edges of a block have relatives on the other side.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from gapkit.typing import BoolArray, IntArray

_EXCESS: Final = 1.5  # a run may be this many times as large as the share of its stratum and still move as a whole
_SHORTEST: Final = 5  # members of a run that can be cut
_PER_FOLD: Final = 3  # blocks of a long run for each fold, at most
_BLOCK: Final = 10  # members of a block, or more, where the run is long enough
_MOST_BLOCKS: Final = 4  # of a run that are drawn for one side


def holdout(
    run_s: IntArray, stratum_s: IntArray, fraction: float, random: np.random.Generator, sole_s: BoolArray | None = None
) -> tuple[BoolArray, list[int]]:
    """Draw whole runs for validation, the same fraction of every stratum.

    Parameters
    ----------
    run_s, stratum_s
        Labels of the run and of the stratum of each member, shape (S,); negative strata are never drawn.
    fraction
        Share of the members that is wanted, between 0 and 1.
    random
        Source of the draw.
    sole_s
        Members whose runs may not be drawn as a whole, shape (S,). None: none.

    Returns
    -------
    Which members are drawn, shape (S,), and the labels of the runs that were cut. Nothing is drawn where there is
    neither a second run nor one that can be cut.
    """
    drawn_s, cut, left = np.zeros(len(run_s), dtype=bool), list[int](), list[int]()
    sole_s = np.zeros(len(run_s), dtype=bool) if sole_s is None else sole_s
    for stratum in np.unique(stratum_s[stratum_s >= 0]):
        own = np.flatnonzero(stratum_s == stratum)
        found, runs = _draw(run_s, own, fraction, random, sole_s)
        drawn_s[found] = True
        cut += runs
        left += [] if len(found) else own.tolist()
    if left:  # strata that are too small count as one
        found, runs = _draw(run_s, np.array(left), fraction, random, sole_s)
        drawn_s[found] = True
        cut += runs
    if not drawn_s.any():
        free = [members for members in _runs(run_s, np.flatnonzero(stratum_s >= 0)) if not sole_s[members].any()]
        smallest = min(free, key=len, default=np.zeros(0, dtype=np.int64))
        drawn_s[smallest] = len(smallest) < len(run_s)
    return drawn_s, sorted(set(cut))


def folds(
    run_s: IntArray, stratum_s: IntArray, n_folds: int, random: np.random.Generator, sole_s: BoolArray | None = None
) -> tuple[IntArray, list[int]]:
    """Deal whole runs to folds of nearly equal size, each stratum as evenly as its runs allow.

    A run of more than 1.5 times the share of a fold is cut into contiguous blocks: one for each fold, and more, of 10
    members or a few more each, up to three for each fold, where it is long enough.

    Parameters as in `holdout`.

    Returns
    -------
    The fold of each member, shape (S,), -1 for those of negative strata and of whole runs of `sole_s`; and the labels
    of the runs that were cut.
    """
    fold_s, cut = np.full(len(run_s), -1, dtype=np.int64), list[int]()
    total_k = np.zeros(n_folds, dtype=np.int64)
    for stratum in np.unique(stratum_s[stratum_s >= 0]):
        own = np.flatnonzero(stratum_s == stratum)
        units = list[IntArray]()
        for members in _runs(run_s, own):
            large = len(members) > max(_EXCESS * len(own) / n_folds, _SHORTEST - 1)
            if large:
                blocks = int(np.clip(len(members) // _BLOCK, n_folds, _PER_FOLD * n_folds))
                units += np.array_split(members, min(blocks, len(members)))
            elif sole_s is None or not sole_s[members].any():
                units.append(members)
            cut += [int(run_s[members[0]])] if large else []
        here_k = np.zeros(n_folds, dtype=np.int64)
        random.shuffle(units)
        for members in sorted(units, key=len, reverse=True):
            least = int(np.lexsort((total_k, here_k))[0])
            fold_s[members] = least
            here_k[least] += len(members)
            total_k[least] += len(members)
    return fold_s, sorted(set(cut))


def _draw(
    run_s: IntArray, own: IntArray, fraction: float, random: np.random.Generator, sole_s: BoolArray
) -> tuple[IntArray, list[int]]:
    """About `fraction` of the members `own` of one stratum, and which runs were cut for it."""
    target = fraction * len(own)
    runs = _runs(run_s, own)
    large = [len(members) > max(_EXCESS * target, 1.0) for members in runs]
    whole = [members for members, too_large in zip(runs, large, strict=True) if not too_large]
    found, wanted = list[IntArray](), fraction * sum(map(len, whole))
    for k in random.permutation(len(whole)):
        if abs(wanted - len(whole[k])) <= abs(wanted) and not sole_s[whole[k]].any():
            found.append(whole[k])
            wanted -= len(whole[k])
    cut, owed = list[int](), wanted  # what whole runs could not give, blocks of the large ones do
    for members in (own for own, too_large in zip(runs, large, strict=True) if too_large):
        owed += fraction * len(members)
        n = min(round(owed), len(members) // 2) if len(members) >= _SHORTEST else 0
        if n > 0:
            found.append(_blocks(members, n, random))
            cut.append(int(run_s[members[0]]))
            owed -= n
    return np.concatenate([np.zeros(0, dtype=np.int64), *found]), cut


def _blocks(members: IntArray, n: int, random: np.random.Generator) -> IntArray:
    """n members of a run in a few contiguous blocks, spread over it."""
    count = int(np.clip(n // _BLOCK, 1, _MOST_BLOCKS))
    found = []
    for part, share in zip(np.array_split(members, count), np.array_split(np.arange(n), count), strict=True):
        first = int(random.integers(len(part) - len(share) + 1))
        found.append(part[first : first + len(share)])
    return np.concatenate(found)


def _runs(run_s: IntArray, own: IntArray) -> list[IntArray]:
    """The members `own` by run, in their order."""
    if not len(own):
        return []
    order = own[np.argsort(run_s[own], kind="stable")]
    return np.split(order, np.flatnonzero(np.diff(run_s[order])) + 1)


def spread(stratum_s: IntArray, random: np.random.Generator) -> IntArray:
    """All members in an order of which every beginning holds the same share of each stratum, shape (S,)."""
    key_s = np.empty(len(stratum_s))
    for stratum in np.unique(stratum_s):
        own = np.flatnonzero(stratum_s == stratum)
        key_s[random.permutation(own)] = (np.arange(len(own)) + random.random()) / len(own)
    return np.argsort(key_s, kind="stable")
