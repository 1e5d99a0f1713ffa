"""Ordered map over processes that keep the model between calls, for predictions.

A prediction is a few hundred short steps of numpy. Threads of one process hand Python's lock to one
another at each of them, which takes longer than the steps; processes scale.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, TypeVar

from gapkit.errors import ConfigError
from gapkit.model.parallel import n_threads, ordered_map
from gapkit.model.state import ModelState

_A = TypeVar("_A")
_B = TypeVar("_B")

_IDLE = 300  # s after which unused processes end
_ENVIRONMENT = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_files: weakref.WeakKeyDictionary[ModelState, str] = weakref.WeakKeyDictionary()
_pools: dict[int, Any] = {}  # one at most, by its number of workers
_kept: dict[str, ModelState] = {}  # in a worker: the last model
_forked: list[int] = []  # this process, if it was forked from one that had loaded gapkit


def _after_fork() -> None:
    """A forked process has no answer from the pool of its parent, and would wait at its end for a pool of its own."""
    _pools.clear()
    _files.clear()
    _forked.append(os.getpid())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def shared_map(
    function: Callable[[ModelState, _A], _B], state: ModelState, items: Sequence[_A], n_jobs: int, per_process: int = 1
) -> Iterator[_B]:
    """function(state, item) of every item, in order.

    Parameters
    ----------
    function
        A function of a module, which does not depend on which process it runs in.
    n_jobs
        Processes; 1 works in this one. Results do not depend on it.
    per_process
        Chunks of items that each process gets, one after the other.
    """
    workers = min(n_threads(n_jobs), len(items))
    if workers < 2 or _forked or multiprocessing.current_process().daemon:  # which may have no processes of its own
        yield from ordered_map(lambda item: function(state, item), items, 1)
        return
    from joblib.externals.loky.process_executor import BrokenProcessPool

    edges = [len(items) * k // (workers * per_process) for k in range(workers * per_process + 1)]
    chunks = [items[a:b] for a, b in pairwise(edges) if b > a]
    try:
        pool = _pool(workers)
        for part in [pool.submit(_work, function, _file_of(state), chunk) for chunk in chunks]:
            yield from part.result()
    except BrokenProcessPool as error:
        _pools.clear()
        what = f"a process of n_jobs={n_jobs} was ended from outside, most likely for want of memory"
        raise ConfigError(what, fix="use fewer processes, or n_jobs=1") from error


def _pool(workers: int) -> Any:
    """The pool of this process, made anew when another number of workers is asked for."""
    if workers not in _pools:
        from joblib.externals.loky import ProcessPoolExecutor

        for old in _pools.values():
            old.shutdown(wait=False)
        _pools.clear()
        _pools[workers] = ProcessPoolExecutor(max_workers=workers, timeout=_IDLE, env=_ENVIRONMENT)
    return _pools[workers]


def _file_of(state: ModelState) -> str:
    """File of what predictions need of a model, written once and removed with it."""
    path = _files.get(state)
    if path is None:
        handle, path = tempfile.mkstemp(prefix="gapkit-", suffix=".pickle")
        with os.fdopen(handle, "wb") as file:
            pickle.dump(replace(state, rows=None), file, pickle.HIGHEST_PROTOCOL)
        _files[state] = path
        weakref.finalize(state, _remove, path, os.getpid())
    return path


def _remove(path: str, maker: int) -> None:
    """Remove the file of a model, in the process that made it."""
    if os.getpid() == maker and os.path.exists(path):
        os.unlink(path)


def _work(function: Callable[[ModelState, Any], Any], path: str, items: Sequence[Any]) -> list[Any]:
    """In a worker: the function of some items, with the model of a file."""
    if path not in _kept:
        _kept.clear()
        with open(path, "rb") as file:
            _kept[path] = pickle.load(file)  # written by this user's own process a moment ago
    return list(ordered_map(lambda item: function(_kept[path], item), items, 1))
