"""Compressed rows against the rows themselves: nothing is lost, nothing is mixed up."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from gapkit.atoms.frame import Frame
from gapkit.baselines.base import Contribution
from gapkit.gp.compress import CompressedRows, DataFold, RowKey
from gapkit.gp.design import FrameRows
from gapkit.typing import KINDS, Kind

M = 4


def frame(seed: int, n_atoms: int, group: str = "a", kinds: Iterable[Kind] = KINDS, **changes: Any) -> Frame:
    rng = np.random.default_rng(seed)
    labels: dict[str, Any] = {}
    labels |= {"energy": rng.normal()} if "energy" in kinds else {}
    labels |= {"forces_ec": rng.normal(size=(n_atoms, 3))} if "forces" in kinds else {}
    labels |= {"stress_v": rng.normal(size=6)} if "stress" in kinds else {}
    positions = 2.0 * np.arange(n_atoms)[:, None] * np.eye(1, 3)
    cell = np.diag([2.0 * n_atoms, 3.0, 5.0])
    return Frame(np.full(n_atoms, 14), positions, cell, np.ones(3, bool), group=group, **labels, **changes)


def rows_of(seed: int, n_atoms: int) -> FrameRows:
    rng = np.random.default_rng(100 + seed)
    return FrameRows(rng.normal(size=M), rng.normal(size=(3 * n_atoms, M)), rng.normal(size=(6, M)))


def known(one: Frame, energy: float) -> Contribution:
    """A baseline of constant energy."""
    return Contribution.zero(one.n_atoms, KINDS).plus(Contribution(np.full(one.n_atoms, energy / one.n_atoms)))


def compressed(frames: list[Frame], reference: float = 0.5) -> dict[RowKey, CompressedRows]:
    fold = DataFold(M)
    for seed, one in enumerate(frames):
        fold.add(one, rows_of(seed, one.n_atoms), known(one, reference), KINDS)
    found = fold.finish()
    assert [part.key for part in found] == sorted(part.key for part in found)
    return {part.key: part for part in found}


def matches(part: CompressedRows, rows: np.ndarray, y: np.ndarray, divisor: np.ndarray | float) -> bool:
    """Whether the factor holds these rows: same Gram matrix, same count, same logarithm of the divisors."""
    stacked = np.column_stack([rows, y]) / np.broadcast_to(divisor, len(y))[:, None]
    gram = part.factor_nm.T @ part.factor_nm
    return (
        part.n_rows == len(y)
        and np.allclose(gram, stacked.T @ stacked, rtol=1e-12, atol=1e-12)
        and bool(np.isclose(part.log_scale, np.log(np.broadcast_to(divisor, len(y))).sum(), rtol=1e-13, atol=1e-13))
    )


def test_rows_of_every_group_and_kind() -> None:
    frames = [frame(0, 2), frame(1, 3, "b"), frame(2, 4), frame(3, 1)]
    parts = compressed(frames)
    assert set(parts) == {RowKey(g, k) for g in "ab" for k in KINDS}
    mine = [0, 2, 3]
    rows = [rows_of(k, frames[k].n_atoms) for k in mine]
    root_n = np.sqrt([frames[k].n_atoms for k in mine])
    energies = np.array([frames[k].energy for k in mine]) - 0.5
    assert matches(parts[RowKey("a", "energy")], np.array([r.energy_m for r in rows]), energies, root_n)
    forces = np.concatenate([frames[k].forces_ec.ravel() for k in mine])
    assert matches(parts[RowKey("a", "forces")], np.concatenate([r.forces_nm for r in rows]), forces, 1.0)
    virials = np.concatenate([frames[k].stress_v * 30.0 * frames[k].n_atoms for k in mine])  # V = 30 N
    divisor = np.repeat(root_n, 6)
    assert matches(parts[RowKey("a", "stress")], np.concatenate([r.virial_vm for r in rows]), virials, divisor)


def test_one_atom_in_a_cell_has_six_stresses_and_three_forces() -> None:
    parts = compressed([frame(0, 1)])
    assert [parts[RowKey("a", kind)].n_rows for kind in KINDS] == [1, 3, 6]


def test_missing_labels_are_missing_rows() -> None:
    parts = compressed([frame(0, 2, kinds=("energy",)), frame(1, 2, kinds=("forces",)), frame(2, 2, kinds=())])
    assert {key: part.n_rows for key, part in parts.items()} == {RowKey("a", "energy"): 1, RowKey("a", "forces"): 6}


def test_kinds_that_are_not_asked_for_are_left_out() -> None:
    fold = DataFold(M)
    fold.add(frame(0, 2), rows_of(0, 2), known(frame(0, 2), 0.0), {"forces"})
    assert [part.key.kind for part in fold.finish()] == ["forces"]


def test_masked_forces_are_left_out() -> None:
    mask = np.array([True, False, True, False])
    one = frame(0, 4, force_mask_e=mask)
    part = compressed([one])[RowKey("a", "forces")]
    use = np.repeat(mask, 3)
    assert matches(part, rows_of(0, 4).forces_nm[use], one.forces_ec.ravel()[use], 1.0)
    assert RowKey("a", "forces") not in compressed([frame(0, 4, force_mask_e=np.zeros(4, bool))])


def test_frames_with_their_own_sigma_are_kept_apart_and_divided_by_it() -> None:
    own = frame(1, 4, sigma={"energy": 0.1, "stress": 0.3}, force_sigma_e=np.array([0.1, 0.2, 0.3, 0.4]))
    parts = compressed([frame(0, 4), own])
    assert set(parts) == {RowKey("a", k, o) for k in KINDS for o in (False, True)}
    rows = rows_of(1, 4)
    assert matches(parts[RowKey("a", "energy", True)], rows.energy_m[None], np.array([own.energy - 0.5]), 0.2)
    sigma = np.repeat([0.1, 0.2, 0.3, 0.4], 3)
    assert matches(parts[RowKey("a", "forces", True)], rows.forces_nm, own.forces_ec.ravel(), sigma)
    assert matches(parts[RowKey("a", "stress", True)], rows.virial_vm, own.stress_v * 120.0, 0.6)


def test_size_does_not_grow_with_the_frames() -> None:
    parts = compressed([frame(k, 3) for k in range(60)])
    assert [part.factor_nm.shape for part in parts.values()] == [(M + 1, M + 1)] * 3
    assert parts[RowKey("a", "forces")].n_rows == 540


@pytest.mark.parametrize("kind", KINDS)
def test_order_of_the_frames_does_not_matter(kind: Kind) -> None:
    frames = [frame(k, 1 + k % 3) for k in range(9)]
    forward = compressed(frames)[RowKey("a", kind)]
    fold = DataFold(M)
    for seed in reversed(range(9)):
        fold.add(frames[seed], rows_of(seed, frames[seed].n_atoms), known(frames[seed], 0.5), KINDS)
    backward = {part.key: part for part in fold.finish()}[RowKey("a", kind)]
    assert np.abs(np.diagonal(forward.factor_nm)) == pytest.approx(np.abs(np.diagonal(backward.factor_nm)), rel=1e-10)
