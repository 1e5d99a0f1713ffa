"""Law 21: molecular dynamics conserves the energy."""

from __future__ import annotations

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.md.verlet import VelocityVerlet

from gapkit.testing.tolerances import require
from gapkit.typing import FloatArray


def thermalised(atoms: Atoms, temperature: float, rng: np.random.Generator) -> Atoms:
    """A copy with Maxwell-Boltzmann velocities at a temperature in K, without net momentum."""
    hot = atoms.copy()
    momenta_ec = rng.normal(size=(len(hot), 3)) * np.sqrt(hot.get_masses() * units.kB * temperature)[:, None]
    hot.set_momenta(momenta_ec - momenta_ec.mean(axis=0))
    return hot


def total_energies(atoms: Atoms, calculator: Calculator, timestep: float, n_steps: int) -> FloatArray:
    """Total energy per atom after each step of velocity Verlet, shape (n_steps + 1,), eV; timestep in fs."""
    moving = atoms.copy()
    moving.calc = calculator
    found: list[float] = []
    with VelocityVerlet(moving, timestep * units.fs) as dynamics:
        dynamics.attach(lambda: found.append(moving.get_total_energy() / len(moving)))
        dynamics.run(n_steps)
    return np.array(found)


def energy_fluctuation(energies_t: FloatArray) -> float:
    """Root mean square distance of the energies from the first one; no drift is removed."""
    return float(np.sqrt(np.mean((energies_t - energies_t[0]) ** 2)))


def energy_is_conserved(atoms: Atoms, calculator: Calculator, timestep: float = 1.0, n_steps: int = 200) -> None:
    """AssertionError unless energy errors are of second order in the timestep, as they are for exact gradients.

    Half the step must have a quarter of the fluctuation, a third at most: a force that is not the slope of the energy
    leaves an error that does not depend on the step.
    """
    whole = energy_fluctuation(total_energies(atoms, calculator, timestep, n_steps))
    half = energy_fluctuation(total_energies(atoms, calculator, 0.5 * timestep, 2 * n_steps))
    require(half <= whole / 3.0, f"energy fluctuates by {whole:.2e} eV/atom, and by {half:.2e} at half the timestep")
