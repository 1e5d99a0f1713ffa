"""Sums of runs of rows against loops."""

from __future__ import annotations

import numpy as np
import pytest

from gapkit.numerics.sums import sums_of_runs


def test_runs_orders_and_weights(rng: np.random.Generator) -> None:
    rows, order, weight = rng.normal(size=(7, 3, 4)), rng.permutation(7), rng.normal(size=7)
    starts, edges = np.array([0, 2, 3]), [(0, 2), (2, 3), (3, 7)]
    plain = [rows[a:b].sum(axis=0) for a, b in edges]
    assert sums_of_runs(rows, starts) == pytest.approx(np.array(plain), abs=1e-15)
    shuffled = [sum(weight[q] * rows[order[q]] for q in range(a, b)) for a, b in edges]
    assert sums_of_runs(rows, starts, order, weight) == pytest.approx(np.array(shuffled), abs=1e-14)


def test_no_rows_have_no_sums() -> None:
    assert sums_of_runs(np.empty((0, 3, 4)), np.empty(0, dtype=int)).shape == (0, 3, 4)
