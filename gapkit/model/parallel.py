"""Ordered parallel map over structures, with BLAS on one thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from threadpoolctl import threadpool_limits

_A = TypeVar("_A")
_B = TypeVar("_B")


def ordered_map(function: Callable[[_A], _B], items: Sequence[_A], n_jobs: int) -> Iterator[_B]:
    """function(item) of every item, in order; threads run over items, not inside BLAS.

    Small matrix products share threads badly, and results do not depend on `n_jobs` this way.
    """
    with threadpool_limits(1, user_api="blas"):
        if n_jobs == 1:
            yield from map(function, items)
        else:
            from joblib import Parallel, delayed

            parallel = Parallel(n_jobs=n_jobs, backend="threading", return_as="generator", pre_dispatch="2*n_jobs")
            yield from parallel(delayed(function)(item) for item in items)
