"""Rows that start on cache lines."""

from __future__ import annotations

import numpy as np
import pytest

from gapkit.numerics.memory import aligned


@pytest.mark.parametrize("shape", [(1,), (7,), (8,), (3, 5), (2, 3, 9), (4, 0), (0, 4)])
@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_every_row_starts_on_a_cache_line(shape: tuple[int, ...], dtype: type) -> None:
    for _ in range(5):  # wherever the memory happens to lie
        array = aligned(*shape, dtype=dtype)
        assert array.shape == shape
        assert array.dtype == dtype
        array[:] = 1.0
        if array.size:
            rows = array.reshape(-1, shape[-1]) if array.ndim == 1 else array
            starts = {row.__array_interface__["data"][0] % 64 for row in rows.reshape(-1, *rows.shape[-1:])}
            assert starts == {0}


def test_splitting_the_last_axis_makes_no_copy() -> None:
    array = aligned(3, 10)
    assert np.shares_memory(array, array.reshape(3, 2, 5))
