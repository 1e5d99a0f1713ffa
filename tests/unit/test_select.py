"""Leverage, k-means, uniform choice, quotas and the dispatcher."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from gapkit.errors import ConfigError, DataError, GapkitWarning
from gapkit.numerics.select import METHODS, kmeans, leverage, quotas, select, uniform
from gapkit.typing import FloatArray

each_method = pytest.mark.parametrize("method", sorted(METHODS))


def blobs(counts: list[int], features: int = 6, width: float = 0.05, seed: int = 0) -> tuple[FloatArray, FloatArray]:
    """Clusters of the given sizes, far apart: rows in order of cluster, and the cluster of each row."""
    rng = np.random.default_rng(seed)
    centres = 4 * rng.standard_normal((len(counts), features))
    which = np.repeat(np.arange(len(counts)), counts)
    return centres[which] + width * rng.standard_normal((len(which), features)), which


@each_method
def test_answers_are_distinct_rows_and_follow_the_generator(method: str) -> None:
    x, _ = blobs([200, 100, 50, 20, 5])
    x.flags.writeable = False
    found = METHODS[method](x, 40, np.random.default_rng(3))
    assert found.dtype == np.int64
    assert len(np.unique(found)) == len(found) == 40
    assert 0 <= found.min() <= found.max() < len(x)
    np.testing.assert_array_equal(found, METHODS[method](x, 40, 3))
    assert any(set(found) != set(METHODS[method](x, 40, seed)) for seed in range(4, 8))


@each_method
def test_copies_count_once(method: str) -> None:
    x, _ = blobs([30, 10])
    copies = np.repeat(x, 50, axis=0) + 1e-12 * np.random.default_rng(0).standard_normal((2000, 6))
    for n in (20, 39, 40, 100):
        found = METHODS[method](copies, n, 0)
        assert len(found) == min(n, 40)
        assert len(np.unique(found // 50)) == len(found)


@each_method
def test_no_rows_is_an_error(method: str) -> None:
    for call in (METHODS[method], lambda x, n, rng: select(x, n, method, rng)):
        with pytest.raises(DataError, match="no descriptor vectors"):
            call(np.zeros((0, 4)), 3, 0)


@each_method
def test_n_of_zero_is_an_error(method: str) -> None:
    with pytest.raises(ConfigError, match="n=0"):
        METHODS[method](np.eye(4), 0, 0)


def test_leverage_takes_the_rows_that_alone_span_a_direction() -> None:
    rng = np.random.default_rng(0)
    x = np.zeros((2000, 12))
    x[:, :8] = rng.uniform(0.5, 1, (2000, 1)) * rng.standard_normal((2000, 8))
    rare = np.array([5, 700, 1500, 1999])
    x[rare] = 0
    x[rare, [8, 9, 10, 11]] = 0.7
    for seed in range(10):
        assert set(rare) <= set(leverage(x, 60, seed))
    assert any(not set(rare) & set(uniform(x, 60, seed)) for seed in range(10))


def test_leverage_draws_with_its_probabilities() -> None:
    """Frequencies against min(1, cπ) from a full decomposition, c found by bisection; four standard errors."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((40, 5)) * rng.uniform(0.2, 3, (40, 1)) ** 2
    score = np.square(np.linalg.svd(x, full_matrices=False)[0]).sum(axis=1)
    low, high = 0.0, 1e6
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if np.minimum(1, middle * score).sum() < 12 else (low, middle)
    chance = np.minimum(1, low * score)
    assert (chance == 1).any()
    draws, generator = 600, np.random.default_rng(2)
    count = np.zeros(40)
    for _ in range(draws):
        count[leverage(x, 12, generator)] += 1
    assert count.sum() == 12 * draws
    np.testing.assert_array_less(np.abs(count / draws - chance), 4 * np.sqrt(chance * (1 - chance) / draws) + 1e-6)


def test_kmeans_takes_the_member_nearest_to_each_centre() -> None:
    x, which = blobs([80, 5, 40, 13, 60, 3])
    expected = []
    for cluster in range(6):
        rows = np.flatnonzero(which == cluster)
        expected.append(rows[np.argmin(np.linalg.norm(x[rows] - x[rows].mean(axis=0), axis=1))])
    np.testing.assert_array_equal(kmeans(x, 6, 0), sorted(expected))


def test_kmeans_fills_up_where_clusters_coincide() -> None:
    """Rows that differ only below the rounding of the leading directions."""
    rows = np.arange(30)
    x = np.column_stack([1.0 + rows % 3, 1e-11 * rows])
    found = kmeans(x, 9, 0, tolerance=0.0)
    assert len(np.unique(found)) == 9
    assert set(found % 3) == {0, 1, 2}


def test_uniform_gives_each_distinct_row_the_same_chance() -> None:
    x = np.array([[1.0], [1.0], [1.0], [2.0], [3.0], [4.0]])
    draws, generator = 2000, np.random.default_rng(0)
    count = np.zeros(6)
    for _ in range(draws):
        count[uniform(x, 2, generator)] += 1
    assert count[1] == count[2] == 0
    np.testing.assert_allclose(count[[0, 3, 4, 5]] / draws, 0.5, atol=4 * np.sqrt(0.25 / draws))


GROUPS = ["bulk"] * 60 + ["liquid"] * 30 + ["surface"] * 10


@pytest.mark.parametrize(
    ("fractions", "n", "expected"),
    [
        (None, 50, {"*": 50}),
        ({}, 50, {"bulk": 30, "liquid": 15, "surface": 5}),
        ({"surface": 8}, 50, {"bulk": 28, "liquid": 14, "surface": 8}),
        ({"surface": 0.5}, 50, {"bulk": 17, "liquid": 8, "surface": 25}),
        ({"surface": 0.2, "liquid": 5}, 50, {"bulk": 35, "liquid": 5, "surface": 10}),
        ({"bulk": 1 / 3, "liquid": 1 / 3, "surface": 1 / 3}, 100, {"bulk": 34, "liquid": 33, "surface": 33}),
        ({"bulk": 0}, 40, {"bulk": 0, "liquid": 30, "surface": 10}),
        ({"bulk": 1.0}, 40, {"bulk": 40, "liquid": 0, "surface": 0}),
        ({"bulk": 1}, 41, {"bulk": 1, "liquid": 30, "surface": 10}),
        ({"bulk": 3, "liquid": 4, "surface": np.int64(5)}, 50, {"bulk": 3, "liquid": 4, "surface": 5}),
        ({"bulk": np.float64(0.1)}, 10, {"bulk": 1, "liquid": 7, "surface": 2}),
    ],
)
def test_quotas(fractions: dict[str, float] | None, n: int, expected: dict[str, int]) -> None:
    assert quotas(GROUPS, n, fractions) == expected


def test_quotas_always_add_up() -> None:
    rng = np.random.default_rng(0)
    for n in range(1, 60):
        names = rng.choice(["a", "b", "c", "d", "e"], 37)
        fractions = {names[0]: float(rng.uniform(0, 1))}
        found = quotas(names, n, fractions)
        assert sum(found.values()) == n or len(found) == 1
        assert found[names[0]] == round(fractions[names[0]] * n)


@pytest.mark.parametrize(
    ("fractions", "message"),
    [
        ({"surfaces": 3}, r"unknown group 'surfaces'.*did you mean 'surface'"),
        ({"bulk": 0.7, "liquid": 0.4}, "sum to 1.1"),
        ({"bulk": 40, "liquid": 11}, r"sum to 51 points of n=50"),
        ({"bulk": 0.9, "liquid": 6}, r"sum to 51 points of n=50"),
        ({"bulk": -1}, "quota of group 'bulk'=-1"),
        ({"bulk": 1.5}, "1.5 of group 'bulk'"),
        ({"bulk": float("nan")}, "nan of group 'bulk'"),
        ({"bulk": True}, "quota of group 'bulk'=True"),
        ({"bulk": "many"}, "quota of group 'bulk'='many'"),
    ],
)
def test_wrong_quotas(fractions: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        quotas(GROUPS, 50, fractions)


@each_method
def test_select_keeps_the_quotas(method: str) -> None:
    x, which = blobs([300, 100, 20])
    names = np.array(["bulk", "liquid", "surface"])[which]
    found = select(x, 60, method, 0, groups=names, quotas={"surface": 15, "liquid": 0.5})
    assert [int((names[found] == name).sum()) for name in ("bulk", "liquid", "surface")] == [15, 30, 15]
    assert list(names[found]) == sorted(names[found])
    np.testing.assert_array_equal(
        found, select(x, 60, method, 0, groups=list(names), quotas={"liquid": 0.5, "surface": 15})
    )


@each_method
def test_select_without_quotas_is_the_method_itself(method: str) -> None:
    x, _ = blobs([50, 40])
    np.testing.assert_array_equal(select(x, 20, method, 5, groups=["a"] * 90), METHODS[method](x, 20, 5))


@each_method
def test_more_than_there_are_takes_all_and_warns(method: str) -> None:
    x, _ = blobs([30, 10])
    x[20:30] = x[0]
    with pytest.warns(GapkitWarning, match="100 sparse points wanted, but only 30 environments are distinct"):
        found = select(x, 100, method, 0)
    assert sorted(found) == [*range(20), *range(30, 40)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(select(x, 30, method, 0)) == 30


def test_a_group_that_is_too_small_warns_with_its_name() -> None:
    x, which = blobs([30, 10])
    names = np.array(["bulk", "tip"])[which]
    with pytest.warns(GapkitWarning, match="15 sparse points wanted in group 'tip', but only 10"):
        found = select(x, 20, "uniform", 0, groups=names, quotas={"tip": 15})
    assert len(found) == 15


def test_size_of_a_group_is_its_number_of_distinct_rows() -> None:
    """A crystal of a thousand atoms on four sites needs few points, not most of them."""
    x, which = blobs([1000, 40, 36])
    x[:1000] = x[np.arange(1000) % 4]
    names = np.array(["crystal", "liquid", "surface"])[which]
    found = select(x, 20, rng=0, groups=names, quotas={})
    assert [int((names[found] == name).sum()) for name in ("crystal", "liquid", "surface")] == [1, 10, 9]


def test_a_row_in_two_groups_is_chosen_once() -> None:
    x, _ = blobs([20])
    found = select(np.vstack([x, x, x + 1]), 30, rng=0, groups=["a"] * 20 + ["b"] * 40, quotas={"a": 20})
    assert len(np.unique(found)) == 30
    assert not ((found >= 20) & (found < 40)).any()


def test_select_errors() -> None:
    x = np.eye(6)
    with pytest.raises(ConfigError, match=r"'fartest'.*did you mean 'farthest_point'"):
        select(x, 3, "fartest")
    with pytest.raises(ConfigError, match="quotas need the group"):
        select(x, 3, quotas={"a": 1})
    with pytest.raises(DataError, match="groups have shape"):
        select(x, 3, groups=["a"] * 5, quotas={"a": 1})
    with pytest.raises(ConfigError, match="n=0"):
        select(x, 0)
    x[2, 2] = np.inf
    with pytest.raises(DataError, match="row 2"):
        select(x, 3)
