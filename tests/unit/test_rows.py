"""Rows of several structures: together as one by one, and which structures are done together."""

from __future__ import annotations

import numpy as np
import pytest

from gapkit import GAP, ACSFTerm, Noise, PairTerm, SoapTerm, TripletTerm
from gapkit.atoms.labels import to_frames
from gapkit.atoms.neighbours import NeighbourList, side_by_side
from gapkit.gp import design
from gapkit.gp.design import frame_rows, rows_of_each
from gapkit.model import rows
from gapkit.model.rows import Work, rows_of_all
from gapkit.model.state import ModelState
from tests.samples import E0, R_CUT, atom, cluster, crystal, soap_arguments

FRAMES = to_frames([cluster(1, "SiC3"), crystal(2, symbols="SiC"), atom("C"), cluster(3, "Si5"), crystal(4)])


@pytest.fixture(scope="module")
def state() -> ModelState:
    """Terms with weights of sites and without, one and many sites per atom, two kernels on the same points."""
    soap = SoapTerm(soap_arguments(), zeta=2, n_sparse=12)
    functions = ACSFTerm({"r_cut": R_CUT, "g2_params": [[0.5, 1.0]]}, n_sparse=6, theta=1.0)
    terms = [PairTerm(3.4, n_sparse=6), TripletTerm(2.8, n_sparse=8), soap, functions]
    data = [atom("Si"), atom("C"), *(cluster(k, "Si2C2") for k in range(3)), crystal(9, symbols="SiC")]
    return GAP(terms, Noise(0.01, 0.1, 0.1), e0=E0, baselines=[]).fit(data, rng=0).state_


@pytest.mark.parametrize("kinds", [{"energy"}, {"energy", "forces"}, {"stress"}, {"energy", "forces", "stress"}])
@pytest.mark.parametrize("block_bytes", [1.0, 16e6])
def test_together_as_one_by_one(state: ModelState, kinds: set[str], block_bytes: float) -> None:
    """Structures of several sizes, periodic or not, one without neighbours and one that lacks an element."""
    pairs = [NeighbourList(state.reach).pairs(frame) for frame in FRAMES]
    found = rows_of_each(state.terms, pairs, kinds, block_bytes)  # type: ignore[arg-type]
    assert len(found) == len(pairs)
    for own, together in zip(pairs, found, strict=True):
        alone = frame_rows(state.terms, own, kinds)  # type: ignore[arg-type]
        assert together.energy_m == pytest.approx(alone.energy_m, abs=1e-12)
        assert (together.virial_vm is None) == ("stress" not in kinds)
        for name in ("forces_nm", "virial_vm"):
            one, other = getattr(alone, name), getattr(together, name)
            assert (one is None) == (other is None)
            if one is not None:
                assert other.shape == one.shape
                assert other == pytest.approx(one, abs=1e-12 * max(1.0, np.abs(one).max(initial=0.0)))
    assert max(np.abs(own.energy_m).max() for own in found) > 1.0


def test_pairs_side_by_side_keep_their_atoms() -> None:
    parts = [NeighbourList(R_CUT).pairs(frame) for frame in FRAMES]
    whole = side_by_side(parts)
    first = np.cumsum([0, *(len(part.numbers_e) for part in parts)])
    assert whole.numbers_e.tolist() == [z for part in parts for z in part.numbers_e]
    assert whole.centres_e.tolist() == list(range(first[-1]))
    assert whole.i_p.tolist() == [i + n for part, n in zip(parts, first, strict=False) for i in part.i_p]
    assert whole.j_p.tolist() == [j + n for part, n in zip(parts, first, strict=False) for j in part.j_p]
    assert whole.origin_p.tolist() == list(range(len(whole.i_p)))
    assert side_by_side(parts[:1]) is parts[0]


@pytest.mark.parametrize(
    ("together", "sizes"),
    [(1, [1, 1, 1, 1, 1]), (45, [2, 1, 1, 1]), (10_000, [2, 1, 1, 1]), (30, [1, 1, 1, 1, 1])],
)
def test_runs_of_the_same_kinds(
    state: ModelState, monkeypatch: pytest.MonkeyPatch, together: int, sizes: list[int]
) -> None:
    """Structures are taken in order; kinds that differ part them, and so does the number of rows."""
    seen = []

    def watched(terms: object, parts: list, *others: object) -> list:
        seen.append(len(parts))
        return rows_of_each(terms, parts, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(rows, "rows_of_each", watched)
    kinds = [{"energy", "forces"}, {"forces", "energy"}, {"energy"}, {"energy", "forces"}, {"stress"}]
    found = list(rows_of_all(state.terms, FRAMES, kinds, Work(1, design.BLOCK_BYTES, together)))  # type: ignore[arg-type]
    assert seen == sizes
    assert [own.forces_nm is None for own in found] == [False, False, True, False, False]
    assert [own.forces_nm.shape[0] for own in found if own.forces_nm is not None] == [12, 6, 15, 6]
    assert [own.virial_vm is None for own in found] == [True, True, True, True, False]


def test_bits_do_not_depend_on_threads(state: ModelState) -> None:
    kinds = [("energy", "forces")] * len(FRAMES)
    one, two = (list(rows_of_all(state.terms, FRAMES, kinds, Work(n, design.BLOCK_BYTES, 45))) for n in (1, 2))  # type: ignore[arg-type]
    for a, b in zip(one, two, strict=True):
        assert np.array_equal(a.energy_m, b.energy_m)
        assert np.array_equal(a.forces_nm, b.forces_nm)
