"""The scale of σ that the data ask for, against a search for the largest evidence."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize

from gapkit.gp.compress import CompressedRows, RowKey
from gapkit.gp.evidence import learn_scale
from gapkit.gp.noise import Noise
from gapkit.gp.posterior import solve
from gapkit.numerics.factor import jittered_cholesky
from gapkit.typing import Kind
from tests.samples import frames, model

M = 5


def part(kind: Kind, sigma: float, n: int = 200, own: bool = False, seed: int = 0) -> CompressedRows:
    """Rows whose targets are a function of the model plus noise of σ; divided by σ where it is their own."""
    rng = np.random.default_rng(seed)
    k_nm, divisor = rng.normal(size=(n, M)), sigma if own else 1.0
    y_n = k_nm @ np.linspace(-1.0, 1.0, M) + sigma * rng.normal(size=n)
    factor = np.column_stack([k_nm, y_n]) / divisor
    return CompressedRows(RowKey("a", kind, own), factor, n, n * float(np.log(divisor)))


def prior() -> np.ndarray:
    return jittered_cholesky(np.eye(M) + 0.3)[0]


@pytest.mark.parametrize("kind", ["forces", "energy", "stress"])
@pytest.mark.parametrize("true", [0.005, 0.02, 0.3])
def test_one_kind_gets_the_sigma_of_the_largest_evidence(kind: Kind, true: float) -> None:
    start = Noise()
    for n in (12, 200):
        rows = [part(kind, true, n)]

        def loss(log_sigma: float, rows: list[CompressedRows] = rows) -> float:
            return -solve(prior(), rows, [float(np.exp(log_sigma))]).log_evidence

        best = np.exp(scipy.optimize.minimize_scalar(loss, bracket=(np.log(true) - 1, np.log(true) + 1)).x)
        learned = learn_scale(prior(), rows, start)
        assert getattr(learned, kind) == pytest.approx(best, rel=0.03)  # where it stops
    assert getattr(learned, kind) == pytest.approx(true, rel=0.15)  # three standard errors of 200 labels
    ratios = [getattr(learned, k) / getattr(start, k) for k in ("energy", "forces", "stress")]
    assert ratios == pytest.approx([ratios[0]] * 3, rel=1e-12)


def test_forces_are_the_guide() -> None:
    """Energies follow in the ratio of `Noise`, here 1 to 100, whatever their own scatter."""
    learned = learn_scale(prior(), [part("energy", 0.01, 20, seed=1), part("forces", 0.3)], Noise())
    assert learned.forces == pytest.approx(0.3, rel=0.15)
    assert learned.energy == pytest.approx(learned.forces / 100, rel=1e-12)


def test_kinds_that_are_left_out_stay_out() -> None:
    learned = learn_scale(prior(), [part("forces", 0.3)], Noise(energy=None))
    assert learned.energy is None
    assert learned.forces == pytest.approx(0.3, rel=0.15)


def test_rows_with_their_own_sigma_keep_it() -> None:
    own = part("forces", 0.3, own=True)
    assert learn_scale(prior(), [own], Noise()).get_params() == Noise().get_params()
    learned = learn_scale(prior(), [own, part("energy", 0.05, seed=2)], Noise())
    assert learned.energy == pytest.approx(0.05, rel=0.15)


def test_labels_are_neither_exact_nor_worthless() -> None:
    exact = part("forces", 1e-12)
    assert learn_scale(prior(), [exact], Noise()).forces == pytest.approx(1e-3 * Noise().forces)
    worthless = part("forces", 1e9)
    assert learn_scale(prior(), [worthless], Noise()).forces == pytest.approx(1e3 * Noise().forces)


def test_a_model_without_noise_learns_it_and_leaves_its_setting_alone() -> None:
    made = model(noise=None).fit(frames())
    assert made.noise is None
    learned = made.state_.noise
    assert learned.energy / learned.forces == pytest.approx(Noise().energy / Noise().forces)
    given = model(noise=Noise(learned.energy, learned.forces, learned.stress)).fit(frames())
    assert given.log_evidence_ == pytest.approx(made.log_evidence_, rel=1e-10)
    assert made.refit().log_evidence_ == pytest.approx(given.log_evidence_, rel=1e-10)
