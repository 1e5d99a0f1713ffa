"""The QR that leaves other threads alone, against scipy's own call of the same routine."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import cython_lapack, lapack

from gapkit.numerics import lapack as module
from gapkit.numerics.lapack import geqrt

SHAPES = [(60, 7), (7, 7), (5, 9), (300, 120), (1, 1)]


@pytest.fixture(autouse=True)
def fresh() -> None:
    module._pointer.cache_clear()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("block", [1, 32])
def test_factor_is_that_of_scipy(rng: np.random.Generator, shape: tuple[int, int], block: int) -> None:
    a, block = np.asfortranarray(rng.normal(size=shape)), min(block, *shape)
    expected, t, _ = lapack.dgeqrt(block, a)
    assert module._pointer() is not None
    found, t_found = geqrt(a, block)
    assert found is a
    assert np.array_equal(found, expected)
    assert t_found.shape == t.shape
    for start in range(0, t.shape[1], block):  # below the diagonal LAPACK says nothing
        own = slice(start, start + block)
        assert np.array_equal(np.triu(t_found[:, own]), np.triu(t[:, own]))


def test_other_threads_go_on(rng: np.random.Generator) -> None:
    """ctypes lets go of Python's lock for functions of this kind, and keeps it for those of `PyDLL`."""
    pointer = module._pointer()
    assert pointer is not None
    assert not type(pointer)._flags_ & 0x4  # FUNCFLAG_PYTHONAPI


@pytest.mark.parametrize("capsules", [{}, {"dgeqrt": cython_lapack.__pyx_capi__["sgeqrt"]}])
def test_scipy_is_called_where_the_routine_is_not_as_known(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, capsules: dict[str, object]
) -> None:
    a = np.asfortranarray(rng.normal(size=(20, 5)))
    expected, t, _ = lapack.dgeqrt(5, a)
    monkeypatch.setattr(module, "cython_lapack", type("other", (), {"__pyx_capi__": capsules}))
    assert module._pointer() is None
    found, t_found = geqrt(a, 5)
    assert found is a
    assert np.array_equal(found, expected)
    assert np.array_equal(t_found, t)


@pytest.mark.parametrize("a", [np.ones((4, 3)), np.ones((4, 3), np.float32, order="F")])
def test_a_matrix_that_cannot_be_worked_on_in_place_is_refused(a: np.ndarray) -> None:
    with pytest.raises(ValueError, match="Fortran"):
        geqrt(a, 2)


def test_a_matrix_that_is_only_to_be_read_is_left_alone() -> None:
    a = np.ones((4, 3), order="F")
    a.flags.writeable = False
    with pytest.raises(ValueError, match="writable"):
        geqrt(a, 2)
    assert (a == 1.0).all()


def test_a_refused_argument_is_told() -> None:
    with pytest.raises(np.linalg.LinAlgError, match="argument 3"):
        geqrt(np.ones((4, 3), order="F"), 9)
