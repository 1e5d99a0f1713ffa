"""Guard of the speed that trusts no clock: what a prediction and a fit do, counted.

Figures are those of the code when this was written, and a little more; more work than that is a
step back, to be mended or to be argued for.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from gapkit import GAP, Noise, SoapTerm
from gapkit.atoms.labels import to_frame
from gapkit.atoms.neighbours import NeighbourList
from gapkit.descriptors.expansion import Expansion
from gapkit.descriptors.soap_jacobian import SoapJacobian
from gapkit.gp.design import frame_rows
from gapkit.gp.term import BLOCK
from tests.conftest import Silicon

pytestmark = pytest.mark.filterwarnings("ignore::gapkit.GapkitWarning")  # no isolated atom
N, L = 8, 8
SOAP = {"r_cut": 5.4, "n_max": N, "l_max": L, "sigma": 0.5}
SOAP |= {"weighting": {"function": "poly", "r0": 5.4, "c": 1.0, "m": 1.0}}


@pytest.fixture(scope="module")
def model(silicon: Silicon) -> GAP:
    """Of the size of a real one in all but the number of sparse points."""
    return GAP([SoapTerm(SOAP, n_sparse=200)], Noise(0.001, 0.1, None)).fit(list(silicon.train[::40]), rng=0)


def rattled(*repeat: int) -> Atoms:
    atoms = bulk("Si", cubic=True) * repeat
    atoms.rattle(0.05, seed=0)
    return atoms


def calls(action: Callable[[], Any]) -> int:
    """Calls of functions, Python's and C's, in this thread."""
    count = 0

    def profile(_: Any, event: str, __: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        action()
    finally:
        sys.setprofile(before)
    return count


def test_calls_of_a_prediction_grow_with_blocks_not_with_atoms(model: GAP) -> None:
    want = {"energy", "forces"}
    counted = {}
    for size in (2, 3, 4):
        atoms = rattled(size, 4, 4)
        model.predict(atoms, want)  # what is made once and kept
        counted[len(atoms)] = calls(lambda atoms=atoms: model.predict(atoms, want))
    n_blocks = {n: 2 * -(-n // (2 * BLOCK)) for n in counted}
    assert list(n_blocks.values()) == [2, 4, 4]
    per_block = (counted[512] - counted[256]) / (n_blocks[512] - n_blocks[256])
    assert counted[512] == pytest.approx(counted[384], rel=0.05)  # as many blocks, more atoms
    assert per_block < 1100


def test_several_elements_share_their_expansion(monkeypatch: pytest.MonkeyPatch) -> None:
    """One block of a molecule of three elements is expanded once, not once for each element."""
    made = []
    real = Expansion.__init__

    def counting(self: Expansion, *args: Any, **kwargs: Any) -> None:
        made.append(1)
        real(self, *args, **kwargs)

    rng = np.random.default_rng(0)
    frames = []
    for _ in range(6):
        atoms = Atoms("C3H4O2", rng.uniform(0, 4, (9, 3)))
        atoms.info["energy"], atoms.arrays["forces"] = float(rng.normal()), rng.normal(size=(9, 3))
        frames.append(atoms)
    term = SoapTerm({**SOAP, "r_cut": 4.0, "n_max": 3, "l_max": 3}, n_sparse={"C": 5, "H": 5, "O": 5})
    organic = GAP([term], Noise(0.01, 0.1, None)).fit(frames)
    monkeypatch.setattr(Expansion, "__init__", counting)
    organic.predict(frames[0], {"energy", "forces"})
    assert len(made) == 1


def test_rows_meet_the_points_once_per_pair(model: GAP, monkeypatch: pytest.MonkeyPatch) -> None:
    """The product that a fit consists of has three rows for each pair and centre, none for padding."""
    met = []
    real = SoapJacobian.meet

    def counting(self: SoapJacobian, rows_qcx: np.ndarray) -> np.ndarray:
        met.append(len(rows_qcx))
        return real(self, rows_qcx)

    monkeypatch.setattr(SoapJacobian, "meet", counting)
    atoms = rattled(3, 2, 2)
    pairs = NeighbourList(5.4).pairs(to_frame(atoms, labels=False))
    frame_rows(model.state_.terms, pairs, {"energy", "forces"})
    # images of an atom in a small cell are added before; a centre has one row in each block
    assert len(pairs.e_p) * 0.8 <= sum(met) <= len(pairs.e_p) + len(atoms)
    met.clear()
    frame_rows(model.state_.terms, pairs, {"energy", "forces", "stress"})
    assert sum(met) <= len(pairs.e_p) + 4 * len(atoms)
    met.clear()
    frame_rows(model.state_.terms, pairs, {"energy"})
    assert not met


def test_padding_of_a_block_is_small(model: GAP) -> None:
    """Centres of a block have similar numbers of neighbours, so that few slots are empty."""
    atoms = rattled(4, 4, 4)
    pairs = NeighbourList(5.4).pairs(to_frame(atoms, labels=False)).grouped()
    basis = model.state_.terms[0].descriptor.basis
    buckets = [bucket for block in pairs.blocks(BLOCK) for bucket in Expansion(basis, block).buckets]
    assert sum(len(bucket.pair_g) for bucket in buckets) < 1.06 * len(pairs.e_p)
    assert len(buckets) <= 2 * -(-len(atoms) // BLOCK)


def test_the_space_of_the_points_is_small(model: GAP) -> None:
    """The products are done in the space that the sparse points span, not in that of all features."""
    (points,) = model.state_.terms[0].points.values()
    assert points.x_md.shape[1] < 0.5 * points.basis.n_features
