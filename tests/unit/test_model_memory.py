"""The memory that a fit is allowed, what it does with it, and the same result whatever it is."""

from __future__ import annotations

import logging
import re
import tracemalloc

import numpy as np
import pytest

from gapkit import GAP, ConfigError, Noise, SoapTerm
from gapkit._check import memory
from gapkit.atoms.labels import to_frames
from gapkit.model.memory import PREDICTION_BYTES, block_size, plan_fit, pool_bytes
from gapkit.testing.gap_laws import alike
from gapkit.typing import Kind
from tests.conftest import Silicon

pytestmark = pytest.mark.filterwarnings("ignore::gapkit.GapkitWarning")  # no isolated atom
M = 300
SOAP = {"r_cut": 4.0, "n_max": 6, "l_max": 6, "sigma": 0.5}
SOAP |= {"weighting": {"function": "poly", "r0": 4.0, "c": 1.0, "m": 1.0}}


def silicon_model(max_memory: str | None = None, n_jobs: int = 1) -> GAP:
    return GAP([SoapTerm(SOAP, n_sparse=M)], Noise(0.001, 0.1, None), max_memory=max_memory, n_jobs=n_jobs)


def test_a_fit_keeps_below_its_ceiling(silicon: Silicon) -> None:
    frames, test = list(silicon.train[::6]), silicon.test[0]
    silicon_model().fit(frames[:3])  # modules that are loaded once do not count
    peaks, predictions = {}, []
    for ceiling, n_jobs in ((None, 1), ("24MB", 1), ("24MB", 2)):
        tracemalloc.start()
        model = silicon_model(ceiling, n_jobs).fit(frames)
        peaks[ceiling, n_jobs] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        predictions.append(model.predict(test, {"energy", "forces", "energies_std"}))
    assert max(peaks["24MB", 1], peaks["24MB", 2]) < 24e6 < 0.8 * peaks[None, 1]
    for tight in predictions[1:]:
        alike(tight, predictions[0], "a ceiling changes the fit", 1e-7)  # rounding, times weights of thousands of eV


def test_too_little_is_an_error_that_says_what_is_needed(silicon: Silicon) -> None:
    frames = list(silicon.train[::20])
    with pytest.raises(ConfigError, match=r"at least [0-9.]+ GB.*300 sparse points.*raise max_memory") as error:
        silicon_model("1MB").fit(frames)
    needed = re.search(r"at least ([0-9.]+ GB)", str(error.value))
    assert needed
    silicon_model(f"{float(needed[1].split()[0]) + 0.006:.3f} GB").fit(frames)


def kinds(*names: Kind) -> set[Kind]:
    return set(names)


def test_plan_gives_up_speed_before_it_gives_up(silicon: Silicon) -> None:
    frames = to_frames(silicon.train)
    of = [kinds("energy", "forces")] * len(frames)
    free = plan_fit(frames, of, 1000, 4, np.inf)
    assert (free.fold_rows, free.work.n_jobs) == (4096, 4)
    smaller = plan_fit(frames, of, 1000, 4, 0.7 * free.n_bytes)
    assert smaller.fold_rows < 4096
    assert smaller.work.n_jobs == 4
    plans = [plan_fit(frames, of, 1000, 4, x * free.n_bytes) for x in (1.0, 0.9, 0.8, 0.7, 0.6)]
    for plan, x in zip(plans, (1.0, 0.9, 0.8, 0.7, 0.6), strict=True):
        assert plan.n_bytes <= x * free.n_bytes
    # more frames of the same groups cost nothing once their factors are full
    forces = [kinds("forces")] * len(frames)
    twice, thrice = (plan_fit(list(frames) * k, forces * k, 100, 1, np.inf).n_bytes for k in (20, 30))
    assert twice == thrice


def test_pool_and_blocks_shrink_with_the_ceiling() -> None:
    assert pool_bytes(np.inf) == pool_bytes(1e12)
    assert pool_bytes(60e6) == 10e6
    assert block_size(PREDICTION_BYTES, 40.0, [], 1) == 128
    sizes = [block_size(x, 40.0, [], 2) for x in (1e9, 1e7, 1e6, 1e5, 1.0)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 1


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [("2GB", 2e9), ("1.5 gb", 1.5e9), ("300MB", 3e8), ("7k", 7e3), (12345, 12345.0), ("1e9", 1e9), (None, np.inf)],
)
def test_amounts_of_memory(text: object, n_bytes: float) -> None:
    assert memory("max_memory", text) == n_bytes


def test_what_is_planned_is_logged(silicon: Silicon, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="gapkit")
    silicon_model(n_jobs=2).fit(list(silicon.train[::40]))
    assert any(re.search(r"about 0\.[01][0-9] GB .* 2 threads", record.getMessage()) for record in caplog.records)
