"""σ of every atom's force at every step, for the price of half a force call at every second one.

An exact σ costs about 30 force calls. Between two of them a committee of one, whose member changes, follows it: the
forces F' of one fresh posterior sample give d² = mean over components of (F' - F)², whose expectation is the data part
of the posterior variance. d² itself scatters by 80 %; the average over `memory` samples,

    s ← s + (d² - s)/memory,

by less than 20 % (10 % in σ). What the sparse points do not span is not sampled; along a trajectory it rises and falls
with the data part, so the last exact variance v₀ gives its ratio g for each atom:

    v = g s,     σ = c · calibration(data part v/g, prior part v - v/g),     g = v₀/s₀, from 1 to 10,

and c makes σ equal to the exact one at that moment. g is at least half of the last one, and s at most v₀/g then. This
average is quick to rise and slow to fall, since the largest d² dominate it; `falling_e` averages σ instead of variances
and tells the end of an excursion, as an exact σ does now and then.

An estimate tells when to look, never what is reported: it lags by `memory` samples, and where no sparse environment is
near it knows nothing, for there samples agree. That is what the extrapolation is watched for.
"""

from __future__ import annotations

import numpy as np
from ase import Atoms

from gapkit import GAP, DataError, Prediction
from gapkit.typing import FloatArray, IntArray, Rng

FIRST = 16
"""Samples that begin the average: together they cost a fifth of an exact σ."""

MOST_GAIN = 10.0
"""Largest ratio of total variance and its data part that is believed: symmetric structures have any."""

KEPT_GAIN = 0.5
"""Share of the last such ratio that stays at least: it falls with σ, and would be too small when σ rises again."""


CHI = float(np.sqrt(8.0 / (3.0 * np.pi)))
"""Mean of the rms of three standard normal numbers."""


def given(values: FloatArray | None) -> FloatArray:
    """What a prediction was asked for."""
    if values is None:
        raise DataError("the prediction lacks what was asked for", fix="let no other thread use the calculator")
    return values


def rms(std_ec: FloatArray | None) -> FloatArray:
    """Of the components of each atom, shape (N,)."""
    return np.sqrt(np.mean(given(std_ec) ** 2, axis=1))


class Estimate:
    """Running estimate of σ for the atoms of one structure.

    Parameters
    ----------
    model
        Whose σ, and whose calibration.
    numbers_e
        Atomic numbers, shape (N,).
    data_e
        First guess of the data part of the variance, (eV/Å)², shape (N,).
    memory
        Number of samples over which it averages.

    Attributes
    ----------
    falling_e
        An estimate of σ that is slow to rise and quick to fall, eV/Å, shape (N,).
    """

    def __init__(self, model: GAP, numbers_e: IntArray, data_e: FloatArray, memory: float) -> None:
        self._calibration, self._numbers_e, self._memory = model.calibration_, numbers_e, memory
        self._s_e = data_e
        self._gain_e = self._share_e = self._factor_e = np.ones(len(data_e))
        self._noise = 0.0
        self.falling_e = np.sqrt(data_e)

    def learn(self, exact: Prediction) -> None:
        """Take over an exact σ."""
        total_e = rms(exact.forces_epistemic_std) ** 2
        now_e = np.clip(total_e / np.maximum(self._s_e, 1e-30), 1.0, MOST_GAIN)
        self._gain_e = np.maximum(now_e, KEPT_GAIN * self._gain_e)
        s_e = np.minimum(np.maximum(self._s_e, 1e-30), total_e / self._gain_e)  # which lags where σ falls
        self._s_e, self._noise = s_e, exact.forces_aleatoric_std or 0.0
        self._share_e = 1.0 / self._gain_e
        self._factor_e = np.ones(len(s_e))
        self._factor_e = rms(exact.forces_std) / np.maximum(self._std(s_e), 1e-30)
        self.falling_e = rms(exact.forces_std)

    def sample(self, deviation_ec: FloatArray) -> FloatArray:
        """Take in the forces of a sample less those of the model; what σ this one alone would mean, shape (N,)."""
        square_e = np.einsum("ec,ec->e", deviation_ec, deviation_ec) / 3.0
        self._s_e = self._s_e + (square_e - self._s_e) / self._memory
        alone_e = self._std(square_e)
        self.falling_e = self.falling_e + (alone_e / CHI - self.falling_e) / self._memory
        return alone_e

    @property
    def std_e(self) -> FloatArray:
        """Estimated σ of each atom's force, rms over components, calibrated, eV/Å, shape (N,)."""
        return self._std(self._s_e)

    def _std(self, data_e: FloatArray) -> FloatArray:
        total_e = data_e * self._gain_e
        if self._calibration is not None:
            data_e1 = (total_e * self._share_e)[:, None]
            std_e1 = self._calibration.std("forces", self._numbers_e, data_e1, total_e[:, None] - data_e1)
            if std_e1 is not None:
                return self._factor_e * std_e1[:, 0]
        return self._factor_e * np.sqrt(total_e + self._noise**2)


class Weights:
    """Weights of posterior samples, one at a time."""

    def __init__(self, model: GAP, rng: np.random.Generator) -> None:
        self._posterior, self._rng, self._pool = model.state_.posterior, rng, np.empty((0, 0))

    def draw(self) -> FloatArray:
        """The next, shape (M,); they are solved for in batches, which costs little more than one."""
        if not len(self._pool):
            self._pool = self._posterior.sample(32, self._rng)
        weights_m, self._pool = self._pool[0], self._pool[1:]
        return weights_m


def first_guess(model: GAP, atoms: Atoms, forces_ec: FloatArray, rng: Rng) -> FloatArray:
    """Data part of the variance of each atom's force from a few samples in one pass, shape (N,), (eV/Å)²."""
    members = model.sample(FIRST, rng).predict(atoms, {"forces"})
    return np.asarray(np.mean([rms(given(p.forces) - forces_ec) ** 2 for p in members], axis=0))
