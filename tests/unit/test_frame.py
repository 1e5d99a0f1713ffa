"""A Frame cannot be made of bad numbers, and its arrays cannot be changed from either side."""

from __future__ import annotations

import hashlib
import itertools
import pickle
from typing import Any

import numpy as np
import pytest

from gapkit.atoms.frame import COINCIDENT, Frame, _coincident_pair
from gapkit.errors import DataError, SpeciesError

CUBE = 5.0 * np.eye(3)


def make(**changes: Any) -> Frame:
    """A valid silicon-oxygen crystal of two atoms with `changes`."""
    fields: dict[str, Any] = {
        "numbers_e": np.array([14, 8]),
        "positions_ec": np.array([[0.0, 0, 0], [1.6, 0, 0]]),
        "cell_cc": CUBE,
        "pbc_c": np.array([True, True, True]),
        "where": "train.xyz, frame 12",
    }
    return Frame(**(fields | changes))


def test_arrays_are_read_only_copies_of_what_was_given() -> None:
    positions = np.array([[0, 0, 0], [1, 0, 0]])
    frame = make(positions_ec=positions, forces_ec=[[0, 0, 1], [0, 0, -1]])
    positions[0, 0] = 7
    assert frame.positions_ec[0, 0] == 0.0
    assert frame.positions_ec.dtype == np.float64
    assert frame.numbers_e.dtype == np.int64
    for array in (frame.numbers_e, frame.positions_ec, frame.cell_cc, frame.pbc_c, frame.forces_ec):
        assert array is not None
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_sigma_is_a_copy_too_and_frames_travel_to_workers() -> None:
    sigma = {"energy": 1e-3}
    frame = make(sigma=sigma, energy=-3)
    sigma["energy"] = 1.0
    twin = pickle.loads(pickle.dumps(frame))
    assert frame.sigma == twin.sigma == {"energy": 1e-3}
    assert twin.energy == -3.0
    assert np.array_equal(twin.positions_ec, frame.positions_ec)


def test_properties() -> None:
    frame = make(cell_cc=[[0, 2.0, 2.0], [2.0, 0, 2.0], [2.0, 2.0, 0]], energy=0.0, stress_v=np.zeros(6))
    assert frame.n_atoms == 2
    assert frame.volume == pytest.approx(16.0, rel=1e-14)
    assert frame.kinds == ("energy", "stress")
    assert make().kinds == ()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["positions_ec", "forces_ec", "force_sigma_e"])
def test_non_finite_entries_name_frame_and_atom(name: str, bad: float) -> None:
    array = np.ones(2) if name == "force_sigma_e" else np.array([[0.0, 0, 0], [1.6, 0, 0]])
    array[1] = bad
    with pytest.raises(DataError, match=r"\(train.xyz, frame 12, atom 1 \(O\)\).*Fix: "):
        make(**{name: array})


def test_many_bad_atoms_are_counted() -> None:
    with pytest.raises(DataError, match=r"atoms 0 \(H\), 1 \(H\), 2 \(H\), 3 \(H\) and 5 more"):
        make(numbers_e=np.ones(9), positions_ec=np.full((9, 3), np.nan))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("numbers_e", [], "has no atoms"),
        ("positions_ec", np.zeros((3, 3)), r"positions array has shape \(3, 3\) where \(2, 3\)"),
        ("positions_ec", [["a", 0, 0], [0, 0, 0]], "positions cannot be read as numbers"),
        ("cell_cc", np.diag([5.0, np.nan, 5.0]), "cell array has NaN"),
        ("cell_cc", [5.0, 5.0, 5.0], "cell array has shape"),
        ("pbc_c", True, "pbc array has shape"),
        ("energy", np.nan, "energy is NaN"),
        ("energy", np.inf, "energy is NaN or infinite"),
        ("forces_ec", np.zeros((2, 2)), r"forces array has shape \(2, 2\)"),
        ("forces_ec", np.zeros((3, 3)), r"forces array has shape \(3, 3\) where \(2, 3\)"),
        ("stress_v", np.zeros((3, 3)), "stress array has shape"),
        ("stress_v", [0, 0, np.nan, 0, 0, 0], "stress array has NaN"),
        ("force_mask_e", [True], "force mask array has shape"),
        ("force_sigma_e", [0.1], "force sigma array has shape"),
        ("force_sigma_e", [0.1, 0.0], r"not positive.*atom 1 \(O\)"),
        ("sigma", {"energy": 0.0}, "not a positive number"),
        ("sigma", {"stress": np.nan}, "not a positive number"),
        ("sigma", {"virial": 0.1}, "'virial' is not"),
    ],
)
def test_bad_fields_are_refused(field: str, value: object, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        make(**{field: value})
    assert caught.value.where.startswith("train.xyz, frame 12")
    assert caught.value.fix


@pytest.mark.parametrize(("number", "name"), [(0, "dummy species X"), (119, "Atomic number 119"), (-1, "number -1")])
def test_only_elements_are_atoms(number: int, name: str) -> None:
    with pytest.raises(SpeciesError, match=rf"{name}.*frame 12, atom 1"):
        make(numbers_e=[14, number])


@pytest.mark.parametrize(
    ("cell", "pbc", "message"),
    [
        (np.zeros((3, 3)), [True] * 3, "zero volume"),
        (np.diag([5.0, 5.0, 0.0]), [True] * 3, "zero volume"),
        (np.array([[5.0, 0, 0], [0, 5.0, 0], [5.0, 5.0, 0]]), [True] * 3, "zero volume"),
        (np.diag([5.0, 5.0, 1e-9]), [True] * 3, "zero volume"),
        (np.array([[5.0, 0, 0], [10.0, 0, 0], [0, 0, 0]]), [True, True, False], "vanish or are parallel"),
        (np.zeros((3, 3)), [False, False, True], "vanish or are parallel"),
    ],
)
def test_periodic_directions_need_independent_lattice_vectors(cell: Any, pbc: list[bool], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make(cell_cc=cell, pbc_c=pbc)


@pytest.mark.parametrize(
    ("cell", "pbc"),
    [
        (np.zeros((3, 3)), [False] * 3),
        (np.diag([5.0, 5.0, 0.0]), [True, True, False]),
        (np.array([[5.0, 0, 0], [10.0, 0, 0], [0, 0, 5.0]]), [True, False, True]),
    ],
)
def test_directions_that_are_not_periodic_need_no_lattice_vector(cell: Any, pbc: list[bool]) -> None:
    assert np.array_equal(make(cell_cc=cell, pbc_c=pbc).cell_cc, cell)


@pytest.mark.parametrize("pbc", [[False] * 3, [True, True, False]])
def test_stress_needs_a_crystal(pbc: list[bool]) -> None:
    with pytest.raises(DataError, match=r"three periodic directions.*frame 12.*Fix: delete the stress"):
        make(pbc_c=pbc, stress_v=np.zeros(6))


def brute_force_coincident(positions: np.ndarray, periodic: np.ndarray) -> set[tuple[int, int]]:
    """All pairs within COINCIDENT, over explicit images."""
    shifts = [np.array(n) @ periodic for n in itertools.product(range(-4, 5), repeat=len(periodic))]
    found = set()
    for i, j in itertools.permutations(range(len(positions)), 2):
        if min(np.linalg.norm(positions[j] + shift - positions[i]) for shift in shifts) < COINCIDENT:
            found.add((i, j))
    return found


@pytest.mark.parametrize("n_periodic", [0, 1, 2, 3])
def test_coincident_atoms_are_found_where_a_loop_over_images_finds_them(n_periodic: int) -> None:
    rng = np.random.default_rng(n_periodic)
    for gap in (0.0, 0.5 * COINCIDENT, 0.99 * COINCIDENT, 1.01 * COINCIDENT, 3 * COINCIDENT):
        periodic = rng.normal(size=(3, 3))[:n_periodic] + 3 * np.eye(3)[:n_periodic]
        positions = rng.uniform(-4, 4, size=(6, 3))
        direction = rng.normal(size=3)
        image = rng.integers(-2, 3, size=n_periodic) @ periodic if n_periodic else 0.0
        positions[4] = positions[1] + image + gap * direction / np.linalg.norm(direction)
        expected = brute_force_coincident(positions, periodic)
        assert bool(expected) == (gap < COINCIDENT)
        assert _coincident_pair(positions, periodic) in (expected or {None})


def test_coincident_atoms_are_named() -> None:
    atoms = r"one spot.*train.xyz, frame 12, atoms 0 \(Si\), 1 \(O\)\).*Fix: remove one"
    with pytest.raises(DataError, match=atoms):
        make(positions_ec=[[1e-3, 2.0, 0], [5.0 - 1e-3, 2.0, 15.0]])
    make(positions_ec=[[1e-3, 2.0, 0], [5.0 - 1e-3, 2.0, 15.0]], pbc_c=[False] * 3)


def test_all_atoms_at_the_origin_is_quick_to_find() -> None:
    with pytest.raises(DataError, match="one spot"):
        make(numbers_e=np.ones(500), positions_ec=np.zeros((500, 3)))


def test_charges_belong_to_the_structure() -> None:
    frame = make(charges_e=[2, -1])
    assert frame.charges_e is not None
    assert frame.charges_e.dtype == np.float64
    with pytest.raises(ValueError, match="read-only"):
        frame.charges_e[0] = 0.0
    assert make().charges_e is None
    with pytest.raises(DataError, match=r"charges array has shape \(3,\) where \(2,\)"):
        make(charges_e=np.zeros(3))
    with pytest.raises(DataError, match=r"charges array has NaN.*train.xyz, frame 12, atom 1 \(O\)"):
        make(charges_e=[1.0, np.nan])


def test_the_hash_is_that_of_files_written_before_frames_had_charges() -> None:
    frame = make(energy=-1.5, forces_ec=np.ones((2, 3)))
    arrays = [frame.numbers_e, frame.positions_ec, frame.cell_cc, frame.pbc_c, np.array([-1.5]), np.ones((2, 3))]
    digest = hashlib.sha256(b"".join(array.tobytes() for array in arrays)).digest()
    assert frame.hash == int.from_bytes(digest[:8], "big")
    others = [make(energy=-1.5, forces_ec=np.ones((2, 3)), charges_e=charges) for charges in ([1, -1], [1, -2])]
    assert len({frame.hash, *(other.hash for other in others)}) == 3
