"""Ordered parallel map, with BLAS on one thread."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController

from gapkit.numerics.memory import keep_freed_memory

_A = TypeVar("_A")
_B = TypeVar("_B")


@functools.cache
def _blas() -> ThreadpoolController:
    """The BLAS libraries of this process; looking for them takes longer than a small prediction."""
    return ThreadpoolController()


def one_blas_thread() -> AbstractContextManager[Any]:
    """Keeps BLAS to one thread: a few products of small blocks at a time are slower with more, and far slower where
    other programs want the cores, too."""
    return _blas().limit(limits=1, user_api="blas")


def n_threads(n_jobs: int) -> int:
    """`n_jobs` as a number of threads, negative counting from all cores."""
    if n_jobs > 0:
        return n_jobs
    from joblib import effective_n_jobs

    return int(effective_n_jobs(n_jobs))


def ordered_map(function: Callable[[_A], _B], items: Sequence[_A], n_jobs: int) -> Iterator[_B]:
    """function(item) of every item, in order; threads run over items, not inside BLAS.

    Small matrix products share threads badly, and results do not depend on `n_jobs` this way. At
    most two results per thread wait for whoever takes them.
    """
    keep_freed_memory()
    workers = min(n_threads(n_jobs), len(items))
    with one_blas_thread():
        if workers < 2:
            yield from map(function, items)
            return
        waiting: deque[Future[_B]] = deque()
        with ThreadPoolExecutor(workers) as pool:
            try:
                for item in items:
                    waiting.append(pool.submit(function, item))
                    if len(waiting) > 2 * workers:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()
