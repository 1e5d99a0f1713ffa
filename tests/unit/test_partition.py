"""Sides and folds: no run on two of them unless it is cut, the right shares, nested orders."""

from __future__ import annotations

import numpy as np
import pytest

from gapkit.numerics.partition import folds, holdout, spread


def runs_of(sizes: list[int], shuffle: bool = True) -> np.ndarray:
    """Labels of runs of these sizes, in mixed order."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return np.random.default_rng(1).permutation(labels) if shuffle else labels


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.5])
def test_holdout_draws_whole_runs_of_about_the_wanted_share(fraction: float, seed: int) -> None:
    run = runs_of([1] * 40 + [3] * 20 + [6] * 6)
    stratum = np.arange(len(run)) % 1
    drawn, cut = holdout(run, stratum, fraction, np.random.default_rng(seed))
    assert cut == []
    assert not set(run[drawn]) & set(run[~drawn])
    assert abs(drawn.sum() - fraction * len(run)) <= 3


def test_holdout_by_stratum() -> None:
    run, stratum = np.arange(90), np.repeat([0, 1, 2], [50, 30, 10])
    for seed in range(5):
        drawn, _ = holdout(run, stratum, 0.2, np.random.default_rng(seed))
        assert [int(drawn[stratum == k].sum()) for k in range(3)] == [10, 6, 2]


def test_what_large_runs_give_makes_up_for_rounding() -> None:
    run, stratum = runs_of([14] * 5, shuffle=False), np.zeros(70, dtype=int)
    drawn, cut = holdout(run, stratum, 0.1, np.random.default_rng(0))
    assert drawn.sum() == 7
    assert set(cut) == set(run[drawn])


def test_blocks_are_contiguous_and_few() -> None:
    drawn, cut = holdout(np.zeros(1000, dtype=int), np.zeros(1000, dtype=int), 0.2, np.random.default_rng(0))
    assert cut == [0]
    assert drawn.sum() == 200
    assert (np.diff(drawn.astype(int)) == 1).sum() <= 4


def test_negative_strata_and_sole_runs_are_not_drawn() -> None:
    run, stratum = np.repeat(np.arange(10), 3), np.repeat([-1, 0], [9, 21])
    sole = run == 5
    for seed in range(20):
        drawn, _ = holdout(run, stratum, 0.4, np.random.default_rng(seed), sole)
        assert drawn.any()
        assert not drawn[:9].any()
        assert not drawn[sole].any()


def test_holdout_of_what_has_one_run_that_cannot_be_cut() -> None:
    for run in ([0], [0, 0], [0, 0, 0, 0]):
        drawn, cut = holdout(np.array(run), np.zeros(len(run), dtype=int), 0.2, np.random.default_rng(0))
        assert not drawn.any()
        assert cut == []
    drawn, _ = holdout(np.array([0, 1]), np.zeros(2, dtype=int), 0.2, np.random.default_rng(0))
    assert drawn.sum() == 1
    assert not holdout(np.array([0, 1]), np.full(2, -1), 0.2, np.random.default_rng(0))[0].any()


@pytest.mark.parametrize("n_folds", [2, 3, 5])
def test_folds_are_even_and_hold_whole_runs(n_folds: int) -> None:
    run = runs_of([1] * 30 + [2] * 20 + [5] * 10)
    stratum = run % 2
    fold, cut = folds(run, stratum, n_folds, np.random.default_rng(0))
    assert cut == []
    assert all(len(set(fold[run == label])) == 1 for label in set(run))
    counts = np.array([np.bincount(fold[stratum == k], minlength=n_folds) for k in (0, 1)])
    assert np.ptp(counts, axis=1).max() <= 5


def test_folds_cut_what_is_larger_than_a_fold() -> None:
    run = np.repeat([0, 1, 2], [30, 5, 5])
    fold, cut = folds(run, np.array([0] * 40), 4, np.random.default_rng(0))
    assert cut == [0]
    assert (np.diff(fold[:30]) != 0).sum() == 3
    assert sorted(np.bincount(fold)) == [8, 8, 12, 12]  # blocks of 7 or 8, with or without a whole run
    assert (folds(run, np.full(40, -1), 4, np.random.default_rng(0))[0] == -1).all()


@pytest.mark.parametrize(("members", "blocks"), [(20, 4), (54, 5), (100, 10), (500, 12)])
def test_a_long_run_is_cut_into_blocks_of_ten_or_more_and_every_fold_has_some(members: int, blocks: int) -> None:
    fold, cut = folds(np.zeros(members, dtype=int), np.zeros(members, dtype=int), 4, np.random.default_rng(0))
    assert cut == [0]
    counts = np.bincount(fold, minlength=4)
    lengths = np.diff(np.flatnonzero(np.diff(fold, prepend=-1, append=-1)))  # neighbours of one fold count as one
    least = members // blocks  # no block is shorter, and 10 where the run has that many for each fold
    assert least >= 10 or members < 40
    assert lengths.min() >= least
    assert len(lengths) <= blocks
    assert counts.min() >= least
    assert np.ptp(counts) <= least + 1


def test_every_beginning_of_the_order_has_the_shares_of_the_whole() -> None:
    stratum = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [60, 30, 10]))
    order = spread(stratum, np.random.default_rng(3))
    assert sorted(order) == list(range(100))
    for n in (10, 25, 50, 77):
        counts = np.bincount(stratum[order[:n]], minlength=3)
        assert np.abs(counts - n * np.array([0.6, 0.3, 0.1])).max() <= 2
    assert np.array_equal(order, spread(stratum, np.random.default_rng(3)))
    assert not np.array_equal(order, spread(stratum, np.random.default_rng(4)))
