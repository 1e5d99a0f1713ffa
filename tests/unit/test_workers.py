"""Predictions on several processes: the same numbers, errors that come home, nothing left behind."""

from __future__ import annotations

import gc
import multiprocessing
import os
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from gapkit import GAP, ConfigError, DataError, evaluate
from gapkit.model import workers
from gapkit.model.state import ModelState
from gapkit.model.workers import shared_map
from tests.samples import EVERYTHING, crystal, fitted, frames

STATE = deepcopy(fitted().state_)


def process(state: ModelState, item: int) -> tuple[int, int, int]:
    """Item, process, and something of the model."""
    if item == 13:
        raise DataError("thirteen", where="item 13", fix="leave it out")
    if item == 99:
        os._exit(1)
    return item, os.getpid(), len(state.terms)


def test_order_processes_and_model() -> None:
    results = list(shared_map(process, STATE, range(10), 2))
    assert [item for item, _, _ in results] == list(range(10))
    assert len({pid for _, pid, _ in results} - {os.getpid()}) == 2
    assert {n for _, _, n in results} == {len(STATE.terms)}
    assert {pid for _, pid, _ in shared_map(process, STATE, range(10), 1)} == {os.getpid()}
    assert {pid for _, pid, _ in shared_map(process, STATE, [5], 2)} == {os.getpid()}
    assert list(shared_map(process, STATE, [], 2)) == []


def test_errors_come_home() -> None:
    with pytest.raises(DataError, match=r"thirteen \(item 13\).*leave it out"):
        list(shared_map(process, STATE, range(10, 20), 2))
    assert len(list(shared_map(process, STATE, range(4), 2))) == 4


@pytest.mark.filterwarnings("ignore:A worker stopped:UserWarning")
def test_a_lost_process_is_an_error_and_the_next_call_works() -> None:
    with pytest.raises(ConfigError, match=r"memory.*n_jobs=1"):
        list(shared_map(process, STATE, [1, 99], 2))
    assert len(list(shared_map(process, STATE, range(4), 2))) == 4


def test_the_file_of_a_model_goes_with_it() -> None:
    state = deepcopy(STATE)
    list(shared_map(process, state, range(2), 2))
    path = Path(workers._files[state])
    before = path.stat().st_mtime_ns
    list(shared_map(process, state, range(2), 2))
    assert path.stat().st_mtime_ns == before  # written once
    del state
    gc.collect()
    assert not path.exists()


def test_another_model_is_not_mistaken_for_the_last_one() -> None:
    one, other = deepcopy(fitted()), deepcopy(fitted())
    other.refit(other.noise.__class__(0.5, 5.0, None))
    for model in (one, other):
        model.n_jobs = 2
    atoms = [crystal(k) for k in range(4)]
    for _ in range(2):
        for model in (one, other):
            expected = [fit.predict(a).energy for a in atoms for fit in [_serial(model)]]
            assert [p.energy for p in model.predict(atoms)] == expected


def _serial(model: object) -> object:
    twin = deepcopy(model)
    twin.n_jobs = 1  # type: ignore[attr-defined]
    return twin


@pytest.mark.parametrize("size", [(6, 5, 5), (1, 1, 1)])
def test_predictions_do_not_depend_on_processes(size: tuple[int, int, int]) -> None:
    atoms = crystal(9) * size
    atoms.rattle(0.05, seed=3)
    one, two = deepcopy(fitted()), deepcopy(fitted())
    two.n_jobs = 2
    first, second = one.predict(atoms, EVERYTHING), two.predict(atoms, EVERYTHING)
    for name in EVERYTHING:
        assert np.array_equal(getattr(first, name), getattr(second, name)), name


def test_evaluation_and_score_use_them() -> None:
    one, two = deepcopy(fitted()), deepcopy(fitted())
    two.n_jobs = 2
    assert evaluate(one, frames()).as_dict() == evaluate(two, frames()).as_dict()
    assert one.score(frames()) == two.score(frames())
    assert [p.energy for p in two.predict([Atoms("Si"), crystal(1)])] == [
        p.energy for p in one.predict([Atoms("Si"), crystal(1)])
    ]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_processes_that_were_forked() -> None:
    """They have no pool, and make none where they may not."""
    model, structures = deepcopy(fitted()), [crystal(k) for k in range(4)]
    model.n_jobs = 2
    expected = [p.energy for p in model.predict(structures)]  # the pool of this process
    with multiprocessing.get_context("fork").Pool(1) as pool:
        found = pool.apply_async(energies, (model, structures)).get(60)
    assert found == expected


def energies(model: GAP, structures: list[Atoms]) -> list[float]:
    return [p.energy for p in model.predict(structures)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_ends_and_leaves_the_files_of_its_parent() -> None:
    model, structures = deepcopy(fitted()), [crystal(k) for k in range(4)]
    model.n_jobs = 2
    expected = [p.energy for p in model.predict(structures)]
    path = workers._files[model.state_]
    child = multiprocessing.get_context("fork").Process(target=forgetful, args=([model], structures, expected))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert Path(path).exists()


def forgetful(only: list[GAP], structures: list[Atoms], expected: list[float]) -> None:
    """Predict, then drop the model: in a process that a person made, which may have children."""
    assert energies(only[0], structures) == expected
    only.clear()
    gc.collect()
