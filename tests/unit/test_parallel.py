"""The ordered map: order, errors, few results waiting, BLAS on one thread."""

from __future__ import annotations

import threading
import time
from itertools import islice

import pytest
from threadpoolctl import threadpool_info

from gapkit.model.parallel import n_threads, ordered_map


@pytest.mark.parametrize("n_jobs", [1, 2, 5, -1])
def test_results_come_in_order(n_jobs: int) -> None:
    def slow_at_first(x: int) -> int:
        time.sleep(0.01 if x == 0 else 0.0)
        return x * x

    assert list(ordered_map(slow_at_first, range(20), n_jobs)) == [x * x for x in range(20)]
    assert list(ordered_map(slow_at_first, [], n_jobs)) == []


def test_work_is_shared_by_threads() -> None:
    together = threading.Barrier(3, timeout=10)  # broken unless three work at the same time
    list(ordered_map(lambda _: together.wait(), range(3), 3))


@pytest.mark.parametrize("n_jobs", [1, 3])
def test_an_error_reaches_the_caller_and_stops_the_rest(n_jobs: int) -> None:
    done = []

    def fails(x: int) -> int:
        done.append(x)
        if x == 2:
            raise ZeroDivisionError
        return x

    with pytest.raises(ZeroDivisionError):
        list(ordered_map(fails, range(1000), n_jobs))
    assert len(done) < 100


def test_few_results_wait_for_a_slow_consumer() -> None:
    started = []
    results = ordered_map(started.append, range(100), 2)
    next(results)
    time.sleep(0.05)
    assert len(started) <= 6  # two per thread wait, one was taken
    list(islice(results, 3))
    results.close()  # type: ignore[attr-defined]
    assert len(started) < 20


def test_blas_has_one_thread_meanwhile_and_its_own_afterwards() -> None:
    def threads(_: int) -> list[int]:
        return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]

    before = threads(0)
    for n_jobs in (1, 2):
        assert set(next(iter(ordered_map(threads, range(2), n_jobs)))) == {1}
    assert threads(0) == before


def test_negative_numbers_count_from_all_cores() -> None:
    assert n_threads(3) == 3
    assert n_threads(-1) >= 1
    assert n_threads(-2) <= n_threads(-1)
