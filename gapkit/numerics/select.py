"""Choice of sparse points: which rows of a descriptor matrix represent all of them.

Distances are Euclidean; a tolerance is a distance in units of the longest row. All methods return indices of rows
that are pairwise distinct, and fewer than asked where there are no more distinct rows.

Measured on the silicon set (SOAP n = l = 8, 13,233 environments, n = 1000, ζ = 4, one core): time, mean and largest
part of a kernel value k(e, e) = 1 that the chosen points do not span, largest distance to a chosen point.

    farthest_point   0.5 s   2.4e-6   2.6e-5   0.068      the smallest surprises: the default
    kmeans           1.7 s   1.5e-6   5.2e-5   0.09       the smallest mean
    leverage         0.5 s   1.7e-6   1.1e-4   0.12
    uniform          0.3 s   5.7e-6   4.4e-4   0.16
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from gapkit._check import generator, whole
from gapkit.errors import ConfigError, DataError, nearest, warn
from gapkit.numerics.farthest import TOLERANCE, farthest_point, unique_rows, vectors
from gapkit.typing import FloatArray, IntArray, Rng

POOL_BYTES: Final = 256e6
"""Descriptors of candidate environments are kept below this, whatever the size of the data."""

RANK: Final = 64
"""Leading directions that leverage and kmeans look at; silicon's SOAP has 45 above 1e-3 of the largest singular value,
and the Nyström error of either choice is the same from 45 to all 324."""


def leverage(x_ed: FloatArray, n: int, rng: Rng, tolerance: float = TOLERANCE) -> IntArray:
    """CUR by leverage scores: rows are drawn in proportion to their weight in the leading singular vectors.

    A row of leverage π (its share of the k = min(`RANK`, n) leading left singular vectors) is chosen with the
    probability min(1, cπ), c such that n are expected; systematic sampling in random order makes the number exactly
    n. Rows that alone span a direction are therefore certain. Taking the n largest scores instead is worse: they
    are near copies of one another (silicon, n = 1000, ζ = 4: mean Nyström error 5e-5 against 2e-6).

    Parameters
    ----------
    x_ed, n, tolerance
        As for `farthest_point`; equal rows count once.
    rng
        Source of the draw: equal generators give equal choices.

    Returns
    -------
    Indices in rising order, shape (at most n,).

    Raises
    ------
    DataError, ConfigError
        As for `farthest_point`.

    Notes
    -----
    M. W. Mahoney and P. Drineas, PNAS 106, 697 (2009): scores and algorithm ColumnSelect; W. G. Madow, Ann. Math. Stat.
    20, 333 (1949): systematic sampling; N. Halko et al., SIAM Rev. 53, 217 (2011): the singular vectors.
    """
    x, rows, n, random = _distinct(x_ed, n, rng, tolerance)
    if n >= len(rows):
        return rows
    score_e = np.square(_directions(x, min(RANK, n), random)[0]).sum(axis=1)
    score_e += 1e-9 * score_e.mean()  # a row of zeros can still be the last to be taken
    certain_e = np.zeros(len(x), dtype=bool)
    while True:  # probabilities above one go to the rest
        chance_e = np.where(certain_e, 1.0, score_e * (n - certain_e.sum()) / score_e[~certain_e].sum())
        if chance_e.max() <= 1:
            break
        certain_e |= chance_e > 1
    order = random.permutation(len(x))
    ticks = random.random() + np.arange(n)
    drawn = np.searchsorted(np.cumsum(chance_e[order]), ticks, side="right")
    return rows[np.unique(order[np.minimum(drawn, len(x) - 1)])]


def kmeans(x_ed: FloatArray, n: int, rng: Rng, tolerance: float = TOLERANCE) -> IntArray:
    """The member nearest to the centre of each of n clusters.

    Clusters are found in the `RANK` leading directions, by k-means++ and ten steps of Lloyd. (On silicon mini-batches
    are slower and choose worse, more steps change nothing, all 324 directions cost four times as much.)

    Parameters
    ----------
    x_ed, n, tolerance
        As for `farthest_point`; equal rows count once.
    rng
        Seeds the clustering: equal generators give equal choices.

    Returns
    -------
    Indices in rising order, shape (at most n,).

    Raises
    ------
    DataError, ConfigError
        As for `farthest_point`.

    Notes
    -----
    D. Arthur and S. Vassilvitskii, SODA 2007, 1027; S. P. Lloyd, IEEE Trans. Inf. Theory 28, 129 (1982).
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    x, rows, n, random = _distinct(x_ed, n, rng, tolerance)
    if n >= len(rows):
        return rows
    weights_ek, singular_k = _directions(x, RANK, random)
    short_ek = weights_ek * singular_k
    seed = int(random.integers(2**31))
    # One thread: shared sums come out in any order, small products contend. Coinciding clusters are filled up below.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = KMeans(n, n_init=1, max_iter=10, random_state=seed).fit(short_ek)
    to_centre_e = np.square(short_ek - found.cluster_centers_[found.labels_]).sum(axis=1)
    order = np.lexsort((to_centre_e, found.labels_))
    _, first = np.unique(found.labels_[order], return_index=True)
    members = order[first]
    if len(members) < n:
        members = farthest_point(x, n, random, start=members, tolerance=0.0)
    return rows[np.sort(members)]


def uniform(x_ed: FloatArray, n: int, rng: Rng, tolerance: float = TOLERANCE) -> IntArray:
    """Random rows without replacement, each distinct row with the same chance.

    Parameters, errors and answer (indices in rising order, shape (at most n,)) as for `leverage`. This is the
    baseline to beat: the subset of regressors of B. W. Silverman, J. R. Stat. Soc. B 47, 1 (1985).
    """
    _, rows, n, random = _distinct(x_ed, n, rng, tolerance)
    return rows if n >= len(rows) else rows[np.sort(random.choice(len(rows), n, replace=False))]


Selector: TypeAlias = Callable[[FloatArray, int, Rng], IntArray]

METHODS: Final[Mapping[str, Selector]] = {
    "farthest_point": farthest_point,
    "leverage": leverage,
    "kmeans": kmeans,
    "uniform": uniform,
}
"""The methods of `select` by name."""


def quotas(
    groups: ArrayLike, n: int, fractions: Mapping[str, float | int] | None, rows: IntArray | None = None
) -> dict[str, int]:
    """How many of n points each group gets.

    Parameters
    ----------
    groups
        Group (config_type) of every environment, shape (E,).
    n
        Number of points, at least 1.
    fractions
        Group to number of points (int ≥ 0) or share of n (float, 0 to 1). Groups that are not named share what is
        left by their size; if all are named the sum may stay below n. None puts all in one pool.
    rows
        Environments that can be chosen; they define the size of a group. None for all.

    Returns
    -------
    Points per group, sorted by name; ``{"*": n}`` for one pool. A group may get more points than it has rows.

    Raises
    ------
    ConfigError
        Unknown group (names the nearest), a value outside its range, sums over n or 1.

    Notes
    -----
    Fractions are rounded by the method of largest remainders (Hare), so that they add up to their sum. The counts
    are those of gap_fit's ``config_type_n_sparse``.
    """
    n = whole("n", n)
    if fractions is None:
        return {"*": n}
    names = np.asarray(groups, dtype=np.str_)
    known = set(names.tolist())
    fixed: dict[str, int] = {}
    shares: dict[str, float] = {}
    for group, value in fractions.items():
        if group not in known:
            raise ConfigError(f"quota for unknown group '{group}'", fix=nearest(group, known))
        if isinstance(value, float | np.floating):
            if not 0 <= value <= 1:
                raise ConfigError(f"quota {value} of group '{group}' is no fraction", fix="give 0.0 to 1.0 or an int")
            shares[group] = float(value)
        else:
            fixed[group] = whole(f"quota of group '{group}'", value, least=0)
    if sum(shares.values()) > 1 + 1e-9:
        raise ConfigError(f"quotas are fractions that sum to {sum(shares.values()):g}", fix="keep the sum within 1")
    fixed |= _apportion(shares, round(sum(shares.values()) * n))
    if sum(fixed.values()) > n:
        raise ConfigError(f"quotas sum to {sum(fixed.values())} points of n={n}", fix="lower the quotas or raise n")
    sizes = Counter((names if rows is None else names[rows]).tolist())
    rest = {group: float(sizes[group]) for group in sorted(known - set(fixed))}
    return dict(sorted((fixed | _apportion(rest, n - sum(fixed.values()))).items()))


def select(
    x_ed: FloatArray,
    n: int,
    method: str = "farthest_point",
    rng: Rng = None,
    groups: ArrayLike | None = None,
    quotas: Mapping[str, float | int] | None = None,
    of: str = "",
) -> IntArray:
    """Choose n distinct rows by a named method, with or without quotas per group.

    Parameters
    ----------
    x_ed
        Descriptor vectors, shape (E, D), finite.
    n
        Number wanted, at least 1. More than there are distinct rows: all are taken, with a `GapkitWarning`.
    method
        A name in `METHODS`.
    rng
        Generator or seed.
    groups
        Group of every row, shape (E,). Needed with `quotas`, ignored otherwise.
    quotas
        As `fractions` of the function `quotas`. Each group is then selected by itself, in order of name; rows that
        are equal in two groups belong to the one that comes first in `x_ed`.
    of
        What the rows are, for the warning.

    Returns
    -------
    Indices in the order of the method, groups one after another, shape (at most n,).

    Raises
    ------
    DataError
        No rows, a row with a value that is not finite, `groups` of another length.
    ConfigError
        Unknown method (names the nearest), `n` outside its range, wrong `quotas`.
    """
    if method not in METHODS:
        raise ConfigError(f"unknown selection method '{method}'", fix=nearest(method, METHODS))
    x, random, n = vectors(x_ed), generator(rng), whole("n", n)
    rows = unique_rows(x)
    names = _group_names(len(x), groups, quotas)
    chosen = [np.empty(0, dtype=np.int64)]
    for group, count in _quotas(names, n, quotas, rows).items():
        pool = rows if quotas is None else rows[names[rows] == group]
        if count > len(pool):
            place = "" if quotas is None else f" in group '{group}'"
            what = f"{f'{of}: ' if of else ''}{count} sparse points wanted{place}"
            warn(f"{what}, but only {len(pool)} environments are distinct: all are taken")
        if min(count, len(pool)):
            chosen.append(pool[METHODS[method](x[pool], min(count, len(pool)), random)])
    return np.concatenate(chosen)


_quotas = quotas  # select has an argument of that name


def _group_names(count: int, groups: ArrayLike | None, quotas: Mapping[str, float | int] | None) -> NDArray[np.str_]:
    """Group of every row as an array of str; all "*" without quotas."""
    if quotas is None:
        return np.full(count, "*")
    if groups is None:
        raise ConfigError("quotas need the group of every environment", fix="give groups, or leave quotas out")
    names = np.asarray(groups, dtype=np.str_)
    if names.shape != (count,):
        raise DataError(f"groups have shape {names.shape} for {count} environments", fix="give one group per row")
    return names


def _apportion(weights: Mapping[str, float], total: int) -> dict[str, int]:
    """`total` split into whole numbers in proportion to the weights, by largest remainders."""
    scale = total / sum(weights.values()) if any(weights.values()) else 0.0
    parts = {name: int(weight * scale) for name, weight in weights.items()}
    missing = total - sum(parts.values()) if scale else 0
    for name in sorted(weights, key=lambda name: parts[name] - weights[name] * scale)[:missing]:
        parts[name] += 1
    return parts


def _distinct(
    x_ed: FloatArray, n: int, rng: Rng, tolerance: float
) -> tuple[FloatArray, IntArray, int, np.random.Generator]:
    """What every random method starts from: the distinct vectors, their indices, n and the generator."""
    rows = unique_rows(x_ed, tolerance)
    return vectors(x_ed)[rows], rows, whole("n", n), generator(rng)


def _directions(x_ed: FloatArray, rank: int, random: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Left singular vectors (E, k) and singular values (k,) of the leading directions, those of rounding left out."""
    from sklearn.utils.extmath import randomized_svd

    seed = int(random.integers(2**31))
    with threadpool_limits(1):
        left_ek, singular_k, _ = randomized_svd(x_ed, min(rank, *x_ed.shape), random_state=seed)
    real_k = singular_k > 1e-10 * singular_k[0]
    return left_ek[:, real_k], singular_k[real_k]
