"""Energies of isolated atoms and baselines of a training set, together."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, ClassVar

import numpy as np
import pytest
from ase import Atoms

from gapkit import GAP, ConfigError, GapkitWarning
from gapkit.atoms.frame import Frame
from gapkit.atoms.labels import to_frames
from gapkit.atoms.neighbours import NeighbourList, Pairs
from gapkit.baselines.base import Contribution
from gapkit.baselines.zbl import ZBL
from gapkit.model.known import atom_energies, is_open, known_of, named, parts, total, with_scale
from gapkit.typing import Kind
from tests.samples import atom, cluster, frames, two_species


class Constant:
    """An energy for each atom of an element but for isolated ones, and unit forces."""

    kind: ClassVar[str] = "constant"
    reach = 0.0

    def __init__(self, energy: dict[int, float], scale: Any = 1.0) -> None:
        self.energy, self.scale = energy, scale

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        return {"energy": self.energy, "scale": self.scale}

    def prepared(self, frames: Sequence[Frame]) -> Constant:
        return self

    def scaled(self, factor: float) -> Constant:
        return Constant(self.energy, factor)

    def evaluate(self, frame: Frame, kinds: Collection[Kind], pairs: Pairs | None = None) -> Contribution:
        factor = 1.0 if self.scale == "fit" else self.scale
        energies_e = factor * np.array([self.energy[int(z)] for z in frame.numbers_e])
        self.pairs = pairs
        forces = np.full((frame.n_atoms, 3), factor) if "forces" in kinds else None
        return Contribution(energies_e, forces, factor * np.eye(3) if "stress" in kinds else None)


BOTH = {14: 2.0, 6: 0.5}


def test_names_count_where_there_are_several() -> None:
    a, b, c = Constant(BOTH), ZBL(), Constant(BOTH)
    assert [(name, one) for name, one in named([a, b, c])] == [("constant0", a), ("zbl", b), ("constant1", c)]
    assert named([b]) == [("zbl", b)]
    assert named([]) == []


def test_open_scales() -> None:
    assert is_open(Constant(BOTH, "fit"))
    assert not is_open(Constant(BOTH, 0.5))
    assert not is_open(ZBL())
    assert with_scale(Constant(BOTH, "fit"), 0.3).get_params() == {"energy": BOTH, "scale": 0.3}


def test_atom_energies() -> None:
    assert atom_energies(np.array([6, 14, 14]), {14: -2.0, 6: -1.0}).tolist() == [-1.0, -2.0, -2.0]


def test_total_is_the_sum_of_all_parts() -> None:
    (frame,) = to_frames([two_species()[2]])
    baselines = [Constant(BOTH), Constant(BOTH, 0.5)]
    found = parts(baselines, frame, {"forces", "stress"})
    assert list(found) == ["constant0", "constant1"]
    whole = total(baselines, {14: -2.5, 6: -1.25}, frame, {"forces", "stress"})
    expected = np.where(frame.numbers_e == 14, -2.5 + 3.0, -1.25 + 0.75)
    assert whole.energies_e == pytest.approx(expected, abs=1e-14)
    assert whole.forces_ec == pytest.approx(np.full((frame.n_atoms, 3), 1.5))
    assert whole.virial_cc == pytest.approx(1.5 * np.eye(3))
    bare = total([], {14: -2.5, 6: -1.25}, frame, ())
    assert bare.forces_ec is None
    assert bare.virial_cc is None


def test_pairs_reach_baselines_that_need_no_more() -> None:
    (frame,) = to_frames([frames()[1]])
    pairs = NeighbourList(3.0).pairs(frame)
    near, far = Constant(BOTH), Constant(BOTH)
    near.reach, far.reach = 3.0, 3.1
    parts([near, far], frame, (), pairs, 3.0)
    assert near.pairs is pairs
    assert far.pairs is None


def lone(structures: list[Atoms]) -> list[Frame]:
    """Without isolated atoms."""
    return [f for f in to_frames(structures) if f.n_atoms > 1]


def test_least_squares_of_e0_sees_what_the_baseline_leaves() -> None:
    """A baseline that is all composition is taken by e0; the labels minus both do not depend on it."""
    data = lone([*two_species(), cluster(7, "Si3C"), cluster(8, "SiC4")])
    with pytest.warns(GapkitWarning, match="least squares"):
        plain, none, known = known_of(data, [], None)
    with pytest.warns(GapkitWarning, match="least squares"):
        moved, _, seen = known_of(data, [Constant(BOTH)], None)
    assert none == []
    for z, energy in BOTH.items():
        assert moved.e0[z] == pytest.approx(plain.e0[z] - energy, abs=1e-10)
    for one, other in zip(known, seen, strict=True):
        assert one.fixed.energies_e == pytest.approx(other.fixed.energies_e, abs=1e-10)
        assert other.fixed.forces_ec == pytest.approx(np.ones((len(other.fixed.energies_e), 3)))


def test_an_open_baseline_brings_what_it_takes_from_e0() -> None:
    """Σ e0 + s (baseline - Σ e0_b) for any s is the known part with e0 fitted to what is left."""
    data = lone([*two_species(), cluster(7, "Si3C"), cluster(8, "SiC4")])
    uneven = Constant({14: 2.0, 6: 0.5})
    uneven.evaluate = lambda frame, kinds, pairs=None: Contribution(  # type: ignore[method-assign]
        0.1 * frame.positions_ec.sum(axis=1) ** 2 + BOTH[6], np.zeros((frame.n_atoms, 3)), np.zeros((3, 3))
    )
    uneven.scale = "fit"
    with pytest.warns(GapkitWarning, match="least squares"):
        found, found_b, known = known_of(data, [uneven], None)
    assert set(found_b[0].e0) == {6, 14}
    for scale in (0.0, 0.7, 2.0):
        rest = [f.energy - scale * float(uneven.evaluate(f, ()).energies_e.sum()) for f in data if f.energy is not None]
        counts = np.array([[(f.numbers_e == z).sum() for z in (6, 14)] for f in data])
        weight = 1.0 / np.sqrt(counts.sum(axis=1))
        expected = np.linalg.lstsq(counts * weight[:, None], rest * weight, rcond=None)[0]
        now = found.minus(found_b[0], scale).e0
        assert [now[z] for z in (6, 14)] == pytest.approx(expected.tolist(), abs=1e-9)
        for frame, own in zip(data, known, strict=True):
            whole = float(own.fixed.energies_e.sum() + scale * own.open_b[0].energies_e.sum())
            direct = float(scale * uneven.evaluate(frame, ()).energies_e.sum() + counts_of(frame) @ expected)
            assert whole == pytest.approx(direct, abs=1e-8)


def counts_of(frame: Frame) -> np.ndarray:
    return np.array([(frame.numbers_e == z).sum() for z in (6, 14)])


def test_isolated_atoms_have_no_baseline_and_fix_e0() -> None:
    structures = to_frames(two_species())
    found, found_b, known = known_of(structures, [Constant(BOTH, "fit")], None)
    assert found.e0 == {6: -1.25, 14: -2.5}
    assert [own.e0 for own in found_b] == [{6: 0.0, 14: 0.0}]
    assert found.cohesion == {}
    assert known[0].open_b[0].energies_e.tolist() == [0.0]
    assert known[0].fixed.energies_e.tolist() == [-2.5]
    given, _, _ = known_of(structures[2:], [], {"Si": -3.0, "C": -1.0})
    assert given.e0 == {6: -1.0, 14: -3.0}


@pytest.mark.parametrize("wrong", [ZBL, "zbl", [ZBL], ["zbl"], [None], ZBL(), {"zbl": 1}])
def test_baselines_that_are_no_list_of_baselines(wrong: Any) -> None:
    with pytest.raises(ConfigError, match=r"baselines=.* are no list of baselines.*\[ZBL\(\)"):
        GAP(baselines=wrong).fit([atom(), *frames()])
