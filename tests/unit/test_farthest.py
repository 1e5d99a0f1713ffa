"""Farthest-point choice and distinct rows against their textbook loops."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest

from gapkit.errors import ConfigError, DataError
from gapkit.numerics import farthest
from gapkit.numerics.farthest import farthest_point, unique_rows
from gapkit.typing import FloatArray, IntArray


def naive_farthest(x_ed: FloatArray, n: int, start: int) -> IntArray:
    """Gonzalez' loop as in a textbook: all distances after every pick, `argmax` takes the lowest index."""
    picks = [start]
    nearest = np.sum((x_ed - x_ed[start]) ** 2, axis=1)
    while len(picks) < n:
        picks.append(int(np.argmax(nearest)))
        nearest = np.minimum(nearest, np.sum((x_ed - x_ed[picks[-1]]) ** 2, axis=1))
    return np.array(picks)


def naive_unique(x_ed: FloatArray, radius: float) -> IntArray:
    kept: list[int] = []
    for row, x_d in enumerate(x_ed):
        if all(np.linalg.norm(x_d - x_ed[other]) > radius for other in kept):
            kept.append(row)
    return np.array(kept)


def clusters(count: int, features: int, seed: int = 0) -> FloatArray:
    """Unequal Gaussian clusters far from the origin: many near rows, a few remote ones."""
    rng = np.random.default_rng(seed)
    which = rng.choice(8, count, p=np.array([60, 20, 10, 5, 2, 1, 1, 1]) / 100)
    centres = 5 + rng.standard_normal((8, features))
    return centres[which] + 0.1 * rng.standard_normal((count, features)) * np.logspace(0, -4, features)


def radius(x_ed: FloatArray, chosen: IntArray) -> float:
    """Largest distance of a row to its nearest chosen row."""
    return float(np.linalg.norm(x_ed[:, None] - x_ed[chosen], axis=2).min(axis=1).max())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("count", "features", "n"), [(2500, 30, 400), (700, 3, 300), (400, 1, 60), (60, 5, 60)])
def test_picks_are_those_of_the_naive_loop(count: int, features: int, n: int, seed: int) -> None:
    x = clusters(count, features, seed)
    found = farthest_point(x, n, np.random.default_rng(0), start=seed)
    np.testing.assert_array_equal(found, naive_farthest(x, n, seed))
    assert found.dtype == np.int64


@pytest.mark.parametrize("spacing", [1.0, 0.1])
def test_ties_of_a_lattice_go_to_the_lowest_index(spacing: float) -> None:
    """Thousands of exact ties, broken by rounding of the direct formula alone: products would break them otherwise."""
    x = spacing * np.array(list(product(range(12), repeat=3)), dtype=float)
    np.testing.assert_array_equal(farthest_point(x, 200, 0, start=7), naive_farthest(x, 200, 7))


def test_picks_survive_cancellation() -> None:
    """Spread 1e-5 at distance 10 from the origin: |x|² + |c|² − 2x·c has lost all but three digits."""
    x = 10 + 1e-5 * np.random.default_rng(1).standard_normal((600, 20))
    np.testing.assert_array_equal(farthest_point(x, 100, 0, start=0, tolerance=0.0), naive_farthest(x, 100, 0))


@pytest.mark.parametrize("candidates", [1, 7, 10_000])
def test_look_ahead_decides_the_speed_only(candidates: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x = clusters(500, 6)
    monkeypatch.setattr(farthest, "CANDIDATES", candidates)
    monkeypatch.setattr(farthest, "BLOCK", 33)
    np.testing.assert_array_equal(farthest_point(x, 80, 0, start=3), naive_farthest(x, 80, 3))


def test_order_of_rows_does_not_matter() -> None:
    x = clusters(800, 10)
    order = np.random.default_rng(5).permutation(len(x))
    start = 17
    moved = farthest_point(x[order], 100, 0, start=int(np.flatnonzero(order == start)[0]))
    np.testing.assert_array_equal(order[moved], farthest_point(x, 100, 0, start=start))


def test_fewer_picks_are_a_prefix_and_a_start_continues() -> None:
    x = clusters(500, 6)
    full = farthest_point(x, 90, 0, start=4)
    np.testing.assert_array_equal(farthest_point(x, 30, 0, start=4), full[:30])
    np.testing.assert_array_equal(farthest_point(x, 90, 0, start=full[:30]), full)


@pytest.mark.parametrize("seed", range(5))
def test_radius_is_within_twice_the_best(seed: int) -> None:
    x = np.random.default_rng(seed).standard_normal((13, 2))
    best = min(radius(x, np.array(some)) for some in combinations(range(13), 4))
    for start in range(13):
        assert best <= radius(x, farthest_point(x, 4, 0, start=start)) <= 2 * best


def test_covers_better_than_chance() -> None:
    x = clusters(2000, 10)
    rng = np.random.default_rng(0)
    by_chance = min(radius(x, rng.choice(len(x), 100, replace=False)) for _ in range(20))
    assert radius(x, farthest_point(x, 100, rng)) < 0.7 * by_chance


def test_stops_when_all_rows_are_covered() -> None:
    rng = np.random.default_rng(2)
    kinds = rng.standard_normal((5, 40))
    x = np.repeat(kinds, 300, axis=0) + 1e-12 * rng.standard_normal((1500, 40))
    found = farthest_point(x, 50, rng)
    assert sorted(found // 300) == [0, 1, 2, 3, 4]
    assert len(farthest_point(np.zeros((4, 3)), 3, rng)) == 1


def test_tolerance_is_the_radius_that_ends_the_choice() -> None:
    x = clusters(500, 6)
    limit = 0.02 * np.linalg.norm(x, axis=1).max()
    found = farthest_point(x, 400, 0, start=1, tolerance=0.02)
    assert 8 < len(found) < 200
    assert radius(x, found) <= limit < radius(x, found[:-1])


def test_every_row_can_be_taken_once() -> None:
    x = clusters(70, 4)
    assert sorted(farthest_point(x, 500, 0)) == list(range(70))


def test_the_generator_draws_the_first_row() -> None:
    x = clusters(300, 4)
    first = [farthest_point(x, 1, seed)[0] for seed in range(6)]
    assert first == [farthest_point(x, 1, np.random.default_rng(seed))[0] for seed in range(6)]
    assert len(set(first)) > 3


def test_rows_are_not_changed() -> None:
    x = clusters(100, 4)
    x.flags.writeable = False
    farthest_point(x, 10, 0)
    unique_rows(x)
    np.testing.assert_array_equal(farthest_point(np.asfortranarray(x), 10, 0), farthest_point(x, 10, 0))


@pytest.mark.parametrize("features", [1, 2, 12])
@pytest.mark.parametrize("seed", range(3))
def test_distinct_rows_are_those_of_the_leader_loop(features: int, seed: int) -> None:
    """Chains of rows with steps near the tolerance, where the order of comparison decides."""
    rng = np.random.default_rng(seed)
    steps = rng.standard_normal((300, features))
    steps *= (rng.uniform(0.2, 1.8, 300) * 1e-3 / np.linalg.norm(steps, axis=1))[:, None]
    x = (1 + np.cumsum(steps, axis=0))[rng.permutation(300)]
    longest = np.linalg.norm(x, axis=1).max()
    found = unique_rows(x, 1e-3 / longest)
    np.testing.assert_array_equal(found, naive_unique(x, 1e-3))
    assert 10 < len(found) < 280


def test_equal_environments_of_a_crystal_collapse_to_the_first() -> None:
    rng = np.random.default_rng(0)
    kinds = rng.standard_normal((3, 200))
    which = rng.permutation(np.repeat([0, 1, 2], 4000))
    x = kinds[which] * (1 + 1e-13 * rng.standard_normal((12000, 1)))
    np.testing.assert_array_equal(unique_rows(x), sorted(np.flatnonzero(which == kind)[0] for kind in range(3)))


def test_zero_tolerance_drops_exact_copies_only() -> None:
    x = np.array([[1.0, 2.0], [1.0, 2.0 + 4e-16], [1.0, 2.0], [3.0, 0.0]])
    np.testing.assert_array_equal(unique_rows(x, 0.0), [0, 1, 3])
    np.testing.assert_array_equal(unique_rows(x), [0, 3])


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (3,)])
def test_no_rows_is_an_error(shape: tuple[int, ...]) -> None:
    for call in (lambda x: farthest_point(x, 2, 0), unique_rows):
        with pytest.raises(DataError, match="no descriptor vectors"):
            call(np.zeros(shape))


def test_errors_name_the_row_and_the_setting() -> None:
    x = clusters(20, 3)
    x[7, 1] = np.nan
    with pytest.raises(DataError, match=r"row 7.*Fix"):
        farthest_point(x, 2, 0)
    with pytest.raises(DataError, match=r"row 7.*Fix"):
        unique_rows(x)
    x[7] = 0
    for start in (20, -1, [0, 99], 1.5):
        with pytest.raises(ConfigError, match="start"):
            farthest_point(x, 2, 0, start=start)  # type: ignore[arg-type]
    for n in (0, -3, 2.5, True):
        with pytest.raises(ConfigError, match="n="):
            farthest_point(x, n, 0)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="n=1"):
        farthest_point(x, 1, 0, start=np.array([0, 1]))
    for tolerance in (-1e-3, 1.0, np.nan):
        with pytest.raises(ConfigError, match="tolerance"):
            unique_rows(x, tolerance)
