"""Trajectories are found from structures alone, and a split keeps each on one side; on made and on real frames."""

from __future__ import annotations

import itertools
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.geometry import find_mic

import gapkit
from gapkit import ConfigError, DataError, GapkitWarning, Keys, TrajectoryKFold, split, trajectories
from gapkit.atoms import related
from gapkit.atoms.labels import to_frames
from gapkit.atoms.trajectories import split_indices
from tests.conftest import Silicon

DATA = Path(__file__).parents[2] / "data"
BOX = 9.0


def crystal_run(n: int, seed: int = 0, *, sigma: float = 0.12, wrap: bool = True, **info: Any) -> list[Atoms]:
    """n thermal snapshots of a crystal of 64 atoms that drifts, and whose cell and wrapping change from one to next."""
    rng, found = np.random.default_rng(seed), []
    for k in range(n):
        atoms = bulk("Si", "diamond", a=5.43, cubic=True).repeat(2)
        atoms.set_cell(atoms.cell.array * (1 + rng.normal(0, 0.01, 3))[:, None], scale_atoms=True)
        atoms.positions += rng.normal(0, sigma, (64, 3)) + k * np.array([0.7, -0.4, 0.3])
        atoms.positions += wrap * rng.integers(-1, 2, (64, 3)) @ atoms.cell.array
        atoms.info.update(info)
        found.append(atoms)
    return found


def liquid_run(n: int, seed: int = 0, *, step: float = 0.7, n_atoms: int = 54, **info: Any) -> list[Atoms]:
    """n frames of atoms that walk at random from random places; `step` is the rms step of each coordinate, Å."""
    rng, found = np.random.default_rng(seed), []
    places = np.array(list(itertools.product(range(4), repeat=3))) * BOX / 4
    positions = places[rng.permutation(64)[:n_atoms]] + rng.uniform(-0.5, 0.5, (n_atoms, 3))
    for _ in range(n):
        atoms = Atoms(["Mo"] * n_atoms, positions, cell=np.eye(3) * BOX, pbc=True, info=dict(info))
        atoms.wrap()
        found.append(atoms)
        moved = positions + rng.normal(0, step, (n_atoms, 3))
        while atoms_touch(moved):
            moved = positions + rng.normal(0, step, (n_atoms, 3))
        positions = moved
    return found


def atoms_touch(positions: np.ndarray) -> bool:
    step = positions[:, None] - positions
    step -= BOX * np.round(step / BOX)
    return bool((np.linalg.norm(step, axis=2) + np.eye(len(positions)) < 0.02).any())


def molecule_run(n: int, seed: int = 0, *, memory: float = 0.97) -> list[Atoms]:
    """n frames in order of time of a soft molecule that tumbles; `memory` is the correlation from one to the next."""
    rng, found = np.random.default_rng(seed), []
    start = molecule("CH3CH2OH")
    bend = rng.normal(0, 0.35, (9, 3))
    for _ in range(n):
        atoms = start.copy()
        atoms.positions += bend
        atoms.rotate(rng.uniform(0, 360), rng.normal(size=3))
        atoms.positions += rng.normal(0, 5, 3)
        found.append(atoms)
        bend = memory * bend + np.sqrt(1 - memory**2) * rng.normal(0, 0.35, (9, 3))
    return found


def shuffled(frames: list[Atoms], seed: int = 0) -> list[Atoms]:
    return [frames[k] for k in np.random.default_rng(seed).permutation(len(frames))]


def sizes(labels: np.ndarray) -> list[int]:
    return sorted(np.bincount(labels).tolist(), reverse=True)


def hot(n: int) -> list[Atoms]:
    """Near melting: an atom is 0.13 nearest-neighbour distances from its site."""
    return crystal_run(n, sigma=0.13 * 2.35 / np.sqrt(3))


WHOLE: dict[str, Callable[[], list[Atoms]]] = {
    "crystal": lambda: crystal_run(12),
    "hot crystal": lambda: hot(12),
    "shuffled crystal": lambda: shuffled(crystal_run(12)),
    "liquid": lambda: liquid_run(12),
    "small liquid": lambda: liquid_run(12, n_atoms=16, step=0.5),
    "molecule": lambda: molecule_run(60),
}


def interrupted() -> list[Atoms]:
    """Snapshots of a crystal between frames of a liquid of the same atoms in the same cell."""
    frames = crystal_run(8)
    for k, atoms in enumerate(crystal_run(8, 1)):
        random = np.random.default_rng(k)
        atoms.positions = atoms.positions[random.permutation(64)] + random.normal(0, 0.4, (64, 3))
        frames.insert(2 * k + 1, atoms)
    return frames


def test_snapshots_of_one_crystal_are_found_among_others() -> None:
    labels = trajectories(interrupted())
    assert set(labels[::2]) == {0}
    assert sizes(labels) == [8] + [1] * 8


@pytest.mark.parametrize("make", WHOLE.values(), ids=WHOLE)
def test_a_run_is_one_trajectory(make: Callable[[], list[Atoms]]) -> None:
    assert sizes(trajectories(make())) == [len(make())]


APART: dict[str, Callable[[], list[Atoms]]] = {
    "liquid without memory": lambda: [liquid_run(1, seed)[0] for seed in range(12)],
    "shuffled molecule": lambda: molecule_run(60, memory=0.0),
    "small cells": lambda: [liquid_run(1, seed, n_atoms=16)[0] for seed in range(12)],
}


@pytest.mark.parametrize("make", APART.values(), ids=APART)
def test_independent_frames_are_trajectories_of_their_own(make: Callable[[], list[Atoms]]) -> None:
    assert sizes(trajectories(make())) == [1] * len(make())


def test_two_runs_are_two_trajectories() -> None:
    labels = trajectories(liquid_run(9, 1) + liquid_run(7, 2) + molecule_run(60, 1) + molecule_run(50, 2))
    assert labels.tolist() == [0] * 9 + [1] * 7 + [2] * 60 + [3] * 50


def test_labels_count_from_0_in_order_of_appearance() -> None:
    frames = [f for pair in zip(liquid_run(4, config_type="hot"), crystal_run(4), strict=True) for f in pair]
    assert trajectories(frames).tolist() == [0, 1] * 4
    assert trajectories(frames).dtype == np.int64


def test_a_hop_does_not_end_a_run_of_a_crystal() -> None:
    frames = crystal_run(10, sigma=0.08)
    for atoms in frames[5:]:
        atoms.positions[:3] += [1.36, 1.36, 1.36]  # three atoms are in interstices from now on
    assert sizes(trajectories(shuffled(frames))) == [10]


def alloy(seed: int) -> Atoms:
    """A random alloy of 128 sites whose atoms are sorted by element, as VASP writes them."""
    rng = np.random.default_rng(seed)
    atoms = bulk("Mo", "bcc", a=3.2, cubic=True).repeat(4)
    atoms.numbers[rng.permutation(128)[:64]] = 73
    atoms = atoms[np.argsort(atoms.numbers, kind="stable")]
    atoms.positions += rng.normal(0, 0.05, (128, 3))
    return atoms


def test_alloys_that_differ_in_order_are_no_run() -> None:
    assert sizes(trajectories([alloy(seed) for seed in range(20)])) == [1] * 20


def test_strains_of_one_crystal_are_one_trajectory() -> None:
    strained = []
    for strain in np.linspace(-0.1, 0.1, 9):
        atoms = bulk("Si", a=5.43)
        atoms.set_cell(atoms.cell.array @ np.diag([1 + strain, 1, 1]), scale_atoms=True)
        atoms.rotate(70 * strain, "z", rotate_cell=True)
        strained.append(atoms)
    assert sizes(trajectories(shuffled(strained))) == [9]
    far = bulk("Si", a=5.43 * 1.3)
    assert sizes(trajectories([*strained, far])) == [9, 1]


@pytest.mark.parametrize("change", ["config_type", "pbc", "element", "order"])
def test_other_families_are_never_related(change: str) -> None:
    frames = crystal_run(8, wrap=False)
    for atoms in frames[4:]:
        if change == "config_type":
            atoms.info["config_type"] = "other"
        elif change == "pbc":
            atoms.pbc = (True, True, False)
        elif change == "element":
            atoms.numbers[0] = 32
        else:
            atoms.numbers[:] = np.where(np.arange(64) < 32, 14, 6)
    assert trajectories(frames).tolist() == [0] * 4 + [1] * 4
    if change == "config_type":
        assert trajectories(frames, keys=Keys(group="origin")).max() == 0


def test_slabs_and_wires_are_compared_along_their_periodic_directions() -> None:
    for pbc in ((True, True, False), (True, False, False)):
        frames = crystal_run(6, sigma=0.08, wrap=False)
        for k, atoms in enumerate(frames):
            atoms.positions[k::6] += (np.array([1, -1, 2]) * pbc) @ atoms.cell.array
            atoms.pbc = pbc
        assert sizes(trajectories(shuffled(frames))) == [6]
        frames[0].positions[::2] += (~np.array(pbc)) @ frames[0].cell.array
        assert sizes(trajectories(shuffled(frames))) == [5, 1]


def test_atoms_and_frames_of_gapkit_agree_and_stay_as_they_are() -> None:
    frames = crystal_run(4, config_type="a") + liquid_run(4, config_type="b")
    before = [(a.positions.copy(), a.cell.array.copy(), dict(a.info)) for a in frames]
    expected = [0] * 4 + [1] * 4
    assert trajectories(frames).tolist() == trajectories(to_frames(frames)).tolist() == expected
    for atoms, (positions, cell, info) in zip(frames, before, strict=True):
        assert np.array_equal(atoms.positions, positions)
        assert np.array_equal(atoms.cell.array, cell)
        assert atoms.info == info


def test_one_frame_and_isolated_atoms() -> None:
    assert trajectories([Atoms("Si")]).tolist() == [0]
    assert len(trajectories([Atoms("Si"), Atoms("C"), molecule("H2O"), molecule("H2O")])) == 4
    with pytest.raises(DataError, match="no structures"):
        trajectories([])


SABOTAGE: dict[str, tuple[str, Any, str]] = {
    "sites too small": ("SITE", 0.05, "shuffled crystal"),
    "memory is not asked for": ("MEMORY", 100.0, "liquid"),
    "cells have to be equal": ("STRAIN", 1e-6, "crystal"),
    "nearest ones are not looked at": ("_nearest_outside", lambda x, k: np.full(len(k), -1), "interrupted"),
}


@pytest.mark.parametrize(("name", "value", "case"), SABOTAGE.values(), ids=SABOTAGE)
def test_the_tests_bite(name: str, value: Any, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(related, name, value)
    frames = interrupted() if case == "interrupted" else WHOLE[case]()
    assert sizes(trajectories(frames))[0] < (8 if case == "interrupted" else len(frames))


def test_too_generous_limits_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(related, "NEAR", 0.5)
    monkeypatch.setattr(related, "MEMORY", -9.0)
    monkeypatch.setattr(related, "_CHANCE", -9.0)
    for make in APART.values():
        assert sizes(trajectories(make())) != [1] * len(make())


def test_thousands_of_frames_in_seconds() -> None:
    frames = to_frames(crystal_run(1000) + [liquid_run(1, seed)[0] for seed in range(1000)], labels=False)
    start = time.perf_counter()
    assert sizes(trajectories(frames))[:2] == [1000, 1]
    assert time.perf_counter() - start < 20.0  # 1.5 s on a quiet core


# ---------------------------------------------------------------------------------------------------- split


def several() -> list[Atoms]:
    """Runs of several sizes, of two config_types, with an isolated atom."""
    found = [Atoms("Si", info={"config_type": "isolated_atom"})]
    for seed in range(8):
        found += liquid_run(3 + seed % 4, seed, config_type="liquid")
    for a in (5.43, 6.2, 7.1, 8.1, 9.2, 10.5):
        for atoms in crystal_run(4, config_type="crystal"):
            atoms.set_cell(atoms.cell.array * a / 5.43, scale_atoms=True)
            found.append(atoms)
    return found


@pytest.mark.parametrize("rng", range(5))
@pytest.mark.parametrize("fraction", [0.2, 0.35])
def test_a_run_is_on_one_side_and_every_config_type_on_both(fraction: float, rng: int) -> None:
    frames = several()
    labels = trajectories(frames)
    train, validation = split_indices(frames, fraction, rng=rng)
    assert sorted([*train, *validation]) == list(range(len(frames)))
    assert not set(labels[train]) & set(labels[validation])
    assert 0 in train
    for name in ("liquid", "crystal"):
        total = sum(a.info["config_type"] == name for a in frames)
        held = sum(frames[s].info["config_type"] == name for s in validation)
        assert abs(held - fraction * total) <= 4


def test_a_random_split_would_be_noticed() -> None:
    labels = trajectories(several())
    held = np.random.default_rng(0).permutation(len(labels)) < 0.2 * len(labels)
    assert set(labels[held]) & set(labels[~held])


def test_split_gives_the_objects_themselves_and_is_deterministic() -> None:
    frames = several()
    train, validation = split(frames)
    assert {id(a) for a in train} | {id(a) for a in validation} == {id(a) for a in frames}
    again = split(frames, rng=np.random.default_rng(0))
    assert [id(a) for a in again[1]] == [id(a) for a in validation]
    draws = {tuple(split_indices(frames, rng=seed)[1].tolist()) for seed in range(6)}
    assert len(draws) > 1
    packed = to_frames(frames)
    assert [id(f) for f in split(packed)[1]] == [id(packed[s]) for s in split_indices(frames)[1]]


def test_one_long_run_is_cut_into_blocks_with_a_warning() -> None:
    frames = crystal_run(100, config_type="hot")
    with pytest.warns(GapkitWarning, match="100 frames of 'hot' from frame 0 on"):
        _, validation = split_indices(frames, 0.2)
    assert len(validation) == 20
    starts = np.flatnonzero(np.diff(validation, prepend=-2) > 1)
    assert len(starts) == 2  # two blocks of ten
    with pytest.warns(GapkitWarning, match="cut into blocks"):
        train, validation = split(frames[:5], 0.2)
    assert (len(train), len(validation)) == (4, 1)


def test_a_run_of_the_smallest_kind_is_not_cut() -> None:
    frames = liquid_run(3, 1) + liquid_run(3, 2) + liquid_run(4, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train, validation = split_indices(frames, 0.2)
    labels = trajectories(frames)
    assert not set(labels[train]) & set(labels[validation])
    assert len(validation) == 3


def test_elements_of_validation_are_in_training() -> None:
    frames = [molecule("H2O"), molecule("CH4"), molecule("NH3"), molecule("CH3OH"), molecule("H2O2"), molecule("LiF")]
    for rng in range(20):
        train, validation = split(frames, 0.4, rng=rng)
        known = {z for atoms in train for z in atoms.numbers}
        assert validation
        assert {z for atoms in validation for z in atoms.numbers} <= known


def test_known_runs_are_used_instead() -> None:
    frames = [liquid_run(1, seed)[0] for seed in range(20)]
    names = [f"run{k // 4}" for k in range(20)]
    train, validation = split_indices(frames, 0.2, groups=names)
    assert not {names[s] for s in train} & {names[s] for s in validation}
    assert len(validation) == 4
    with pytest.raises(ConfigError, match="groups has 3 entries for 20 frames"):
        split(frames, groups=names[:3])


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, True, "a fifth", float("nan")])
def test_a_fraction_outside_its_range(fraction: Any) -> None:
    with pytest.raises(ConfigError, match="fraction"):
        split(several(), fraction)


def test_what_cannot_be_split() -> None:
    for frames in ([Atoms("Si")], [Atoms("Si"), Atoms("C")], liquid_run(1)):
        with pytest.raises(DataError, match="cannot be split") as error:
            split(frames)
        assert "groups" in error.value.fix


def test_many_config_types_of_one_frame_are_split_as_one() -> None:
    frames = [liquid_run(1, seed, config_type=f"made {seed}")[0] for seed in range(10)]
    assert [len(part) for part in split(frames)] == [8, 2]


# ------------------------------------------------------------------------------------------------ real frames


def nearest_displacement(atoms: Atoms, others: list[Atoms]) -> float:
    """Smallest rms displacement, Å, to one of `others` of the same atoms and nearly the same cell; by ASE."""
    found = [np.inf]
    for other in others:
        if len(other) == len(atoms) and np.abs(other.cell.array - atoms.cell.array).max() < 0.05:
            step = atoms.positions - other.positions
            step -= step[0]
            step = find_mic(step, atoms.cell)[0]
            found.append(float(np.sqrt(np.square(step - step.mean(axis=0)).sum(axis=1).mean())))
    return min(found)


def test_silicon(silicon: Silicon) -> None:
    labels, groups = trajectories(silicon.train), [a.info["config_type"] for a in silicon.train]
    by_group = {g: sizes(labels[[s for s, h in enumerate(groups) if h == g]])[0] for g in set(groups)}
    assert by_group == {"AIMD-NVT": 54, "Vacancy": 30, "Elastic": 55, "Surface": 1}
    cool = [s for s, a in enumerate(silicon.train) if " 300 K" in a.info["description"] and groups[s] == "AIMD-NVT"]
    assert len(set(labels[cool])) == 1
    with pytest.warns(GapkitWarning, match="cut into blocks"):
        train, validation = split_indices(silicon.train, 0.2)
    held = Counter(groups[s] for s in validation)
    assert held == {"AIMD-NVT": 18, "Vacancy": 11, "Elastic": 11, "Surface": 2}
    cut = {label for label in set(labels) if (labels == label).sum() >= 30}
    assert set(labels[train]) & set(labels[validation]) <= cut


def test_molybdenum_in_which_a_liquid_remembers_its_run() -> None:
    frames = ase.io.read(DATA / "molybdenum" / "train.xyz", ":")
    labels = trajectories(frames)
    dynamics = [s for s, a in enumerate(frames) if a.info["config_type"] == "AIMD-NVT"]
    hot = [s for s in dynamics if " 6000 K" in frames[s].info["description"]]
    assert sizes(labels[dynamics])[:2] == [72, 36]  # the crystal at 300 K and 3000 K, the liquid at 6000 K
    assert len(set(labels[hot])) == 1
    with pytest.warns(GapkitWarning, match="cut into blocks"):
        train, validation = split_indices(frames)
    cut = {label for label in set(labels) if (labels == label).sum() > 9}
    whole = [s for s in validation if labels[s] not in cut]
    kept = [frames[s] for s in train]
    assert all(nearest_displacement(frames[s], kept) > 0.6 for s in whole if len(frames[s]) > 50)


# ------------------------------------------------------------------------------------------------ folds


def test_folds_hold_whole_runs_and_isolated_atoms_always_train() -> None:
    frames = several()
    labels, folds = trajectories(frames), TrajectoryKFold(4)
    seen = []
    for train, test in folds.split(frames):
        assert not set(labels[train]) & set(labels[test])
        assert 0 in train
        assert sorted([*train, *test]) == list(range(len(frames)))
        assert {frames[s].info["config_type"] for s in test} == {"liquid", "crystal"}
        seen += test.tolist()
    assert sorted(seen) == list(range(1, len(frames)))
    assert folds.get_n_splits() == 4
    again = list(TrajectoryKFold(4).split(frames))
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(folds.split(frames), again, strict=True))


def test_a_trajectory_with_an_element_of_its_own_trains_in_every_fold() -> None:
    frames = [molecule(name) for name in ("H2O", "H2O2", "CH3OH", "CH4", "CO2", "C2H6", "LiF")]
    for train, test in TrajectoryKFold(3).split(frames):
        assert 6 in train
        known = {z for s in train for z in frames[s].numbers}
        assert {z for s in test for z in frames[s].numbers} <= known


def test_one_run_is_dealt_in_blocks() -> None:
    with pytest.warns(GapkitWarning, match="'default' from frame 0"):
        tests = [test for _, test in TrajectoryKFold(4).split(crystal_run(20))]
    assert sorted(tuple(test) for test in tests) == [tuple(range(k, k + 5)) for k in (0, 5, 10, 15)]


def test_a_long_run_is_dealt_in_blocks_of_ten_or_more() -> None:
    """As the 54 frames of one crystal in silicon: every frame is tested once, and every fold has some."""
    with pytest.warns(GapkitWarning, match="54 frames of 'default' from frame 0"):
        tests = [test for _, test in TrajectoryKFold(4).split(crystal_run(54))]
    assert sorted(np.concatenate(tests).tolist()) == list(range(54))
    for test in tests:
        edges = np.flatnonzero(np.diff(test, prepend=-2, append=99) != 1)
        assert np.diff(edges).min() >= 10


def test_folds_of_known_runs_and_errors() -> None:
    frames = [liquid_run(1, seed)[0] for seed in range(6)]
    for train, test in TrajectoryKFold(3).split(frames, groups=list("aabbcc")):
        assert (len(train), len(test)) == (4, 2)
        assert test[1] == test[0] + 1
    with pytest.raises(DataError, match="do not fill 7 folds"):
        next(iter(TrajectoryKFold(7).split(frames)))
    with pytest.raises(ConfigError, match="n_splits"):
        TrajectoryKFold(1)
    assert repr(TrajectoryKFold(3)) == "TrajectoryKFold(n_splits=3, rng=0)"


def test_the_names_are_public() -> None:
    assert {"trajectories", "split", "TrajectoryKFold"} <= set(gapkit.__all__)
