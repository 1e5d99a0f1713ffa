"""When to compute an exact σ along a trajectory, at as small a cost as can be."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from gapkit import GAP, Prediction
from gapkit.typing import FloatArray
from gapkit.uncertainty.estimate import Estimate, Weights, first_guess, given, rms
from gapkit.uncertainty.guards import Reading, name

RELEASE = 0.7
"""Share of a limit below which an excursion is over."""

NEAR = 0.8
"""Share of the limit from which on the estimate asks for an exact σ, every `WAIT` calculations at most; it must also be
half-way from the last exact one to the limit."""

PASSED = 1.2
"""The same, at once."""

BURST = 3.0
"""The same for one sample by itself, which exceeds it once in 10⁵ times where σ is at the limit."""

WAIT, SHORT_WAIT = 50, 5
"""Calculations between two exact σ near the limit, which also tell the end of an excursion, and beyond it."""

NOVEL = 1.2
"""An atom less like the training data by this factor than any at an exact σ asks for one: samples do not see it."""

FIRST_REFRESH, SLOWER, LAST_REFRESH = 25, 8, 1000
"""Calculations from the first exact σ to the next without any reason, growth of this distance, and its end."""

EXACT = ("forces", "forces_std", "extrapolation")
"""What is asked of the model where σ counts."""

SAMPLE_GAP = 2
"""Calculations from one posterior sample to the next: σ changes slower than that, and a sample costs half a call."""


class Schedule:
    """When an exact σ is due, whatever the estimate says."""

    def __init__(self) -> None:
        self._at, self._spacing, self._novelty = -1, 0, 0.0

    def waited(self, clock: int) -> int:
        """Calculations since the last; very many before the first."""
        return clock - self._at if self._spacing else LAST_REFRESH

    def due(self, clock: int, novelty: float) -> bool:
        """Whether it is time, or something new."""
        return self.waited(clock) >= (self._spacing or 1) or novelty > NOVEL * self._novelty

    def done(self, clock: int, novelty: float) -> None:
        """An exact σ was computed."""
        if self.waited(clock) >= (self._spacing or 1):
            self._spacing = min(SLOWER * self._spacing, LAST_REFRESH) if self._spacing else FIRST_REFRESH
        self._at, self._novelty = clock, max(self._novelty, novelty)


class ForceWatch:
    """σ of the forces against a limit, eV/Å.

    Attributes
    ----------
    count
        Exact evaluations so far.
    """

    kind = "forces_std"

    def __init__(self, model: GAP, limit: float, memory: float, rng: np.random.Generator) -> None:
        self._model, self._limit, self._memory, self._rng = model, limit, memory, rng
        self.count = 0
        self._exact: tuple[int, Prediction] | None = None
        self._restart()

    def _restart(self) -> None:
        self._state, self._weights, self._drawn = self._model.state_, Weights(self._model, self._rng), -SAMPLE_GAP
        self._estimate: Estimate | None = None
        self._exact_hot = 0.0
        self._numbers_e, self._schedule = np.empty(0, dtype=np.int64), Schedule()

    def weights(self, clock: int) -> FloatArray | None:
        """Weights for the calculation that is about to be done; None if the last sample is recent."""
        if self._state is not self._model.state_:  # refitted or calibrated meanwhile
            self._restart()
        if clock - self._drawn < SAMPLE_GAP:
            return None
        self._drawn = clock
        return self._weights.draw()

    def read(self, atoms: Atoms, p: Prediction, clock: int, above: bool) -> Reading:
        """The atom nearest the limit: by the estimate, by the exact σ if the estimate came near."""
        forces_ec = given(p.forces)
        novelty = 0.0 if p.extrapolation is None else float(p.extrapolation.max())
        if self._estimate is None or not np.array_equal(self._numbers_e, atoms.numbers):
            self._numbers_e, self._schedule = atoms.numbers.copy(), Schedule()
            guess_e = first_guess(self._model, atoms, forces_ec, self._rng)
            self._estimate = Estimate(self._model, self._numbers_e, guess_e, self._memory)
        alone = 0.0
        if p.forces_sample is not None:
            alone = float(self._estimate.sample(p.forces_sample - forces_ec).max()) / self._limit
        std_e = self._estimate.std_e
        hot, waited = float(std_e.max()) / self._limit, self._schedule.waited(clock)
        near = hot > max(NEAR, 0.5 * (1.0 + self._exact_hot)) and waited >= WAIT
        beyond = (hot > PASSED or alone > BURST) and waited >= SHORT_WAIT
        asked = waited >= WAIT if above else near or beyond or self._schedule.due(clock, novelty)
        if asked:
            std_e = rms(self.exact(atoms, clock).forces_std)
            self._schedule.done(clock, novelty)
            self._exact_hot = min(float(std_e.max()) / self._limit, 1.0)
        elif above:
            std_e = self._estimate.falling_e
        else:  # an estimate is no reason for a flag
            std_e = np.minimum(std_e, np.nextafter(self._limit, 0.0))
        return self._reading(atoms, std_e)

    def exact(self, atoms: Atoms, clock: int) -> Prediction:
        """Exact σ of all force components, computed once per calculation; the estimate learns from it."""
        if self._exact is None or self._exact[0] != clock:
            p: Prediction = self._model.predict(atoms, EXACT)
            if self._estimate is not None:
                self._estimate.learn(p)
            self.count += 1
            self._exact = clock, p
        return self._exact[1]

    def _reading(self, atoms: Atoms, std_e: FloatArray) -> Reading:
        atom = int(std_e.argmax())
        std = float(std_e[atom])
        text = f"σ of the force on {name(atoms, atom)} is {std:.3g} eV/Å"
        return Reading(self.kind, std / self._limit, atom, std, self._limit, "eV/Å", text)


class EnergyWatch:
    """σ of the energy per atom against a limit, eV/atom: exact, every `WAIT` calculations at most.

    Attributes
    ----------
    count
        Exact evaluations so far.
    """

    kind = "energy_std"

    def __init__(self, model: GAP, limit: float) -> None:
        self._model, self._limit = model, limit
        self.count, self._std = 0, 0.0
        self._at = -WAIT

    def read(self, atoms: Atoms, clock: int) -> Reading:
        """The last exact σ, which may be of now."""
        if clock - self._at >= WAIT:
            self._std = self._model.predict(atoms, {"energy_std"}).energy_std / len(atoms)
            self._at = clock
            self.count += 1
        text = f"σ of the energy is {self._std:.3g} eV/atom"
        return Reading(self.kind, self._std / self._limit, -1, self._std, self._limit, "eV/atom", text)
