"""Law 21: molecular dynamics with a fitted model conserves the energy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase.build import bulk

from gapkit import GAP, GAPCalculator, Noise, PairTerm, SoapTerm
from gapkit.testing import energy_fluctuation, energy_is_conserved, thermalised, total_energies
from tests.physics.conftest import Fitted, soap
from tests.physics.test_limits import stress_is_strain_derivative


@pytest.mark.parametrize("skin", [0.0, 0.7])
def test_energy_error_is_of_second_order_in_the_timestep(silicon_sum: Fitted, skin: float) -> None:
    atoms = thermalised(bulk("Si", a=5.5, cubic=True), 600.0, np.random.default_rng(1))
    energy_is_conserved(atoms, GAPCalculator(silicon_sum.model, skin=skin), timestep=1.0, n_steps=100)


def test_a_force_that_is_slightly_wrong_is_noticed(silicon_sum: Fitted) -> None:
    class Wrong(GAPCalculator):
        def calculate(self, *args: Any, **kwargs: Any) -> None:
            super().calculate(*args, **kwargs)
            self.results["forces"] *= 1.002

    atoms = thermalised(bulk("Si", a=5.5, cubic=True), 600.0, np.random.default_rng(1))
    with pytest.raises(AssertionError, match="half the timestep"):
        energy_is_conserved(atoms, Wrong(silicon_sum.model), timestep=1.0, n_steps=100)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:e0 of Si comes from least squares")
def test_216_atoms_at_1000_kelvin_for_5_picoseconds(silicon: Any) -> None:
    """0.1 meV/atom at 1 fs, no drift removed, with a potential fitted to real E, F and stress."""
    terms = [PairTerm(r_cut=5.0), SoapTerm(soap(5.0, 8, 6), n_sparse=500)]
    model = GAP(terms, Noise(0.002, 0.05, 0.02)).fit(silicon.train, rng=0)
    crystal = next(atoms for atoms in silicon.test if atoms.pbc.all() and 1 < len(atoms) < 70)
    stress_is_strain_derivative(model, crystal, 121)
    hot = thermalised(bulk("Si", a=5.46, cubic=True) * (3, 3, 3), 2000.0, np.random.default_rng(0))
    energies_t = total_energies(hot, GAPCalculator(model), 1.0, 5200)[200:]  # half of the heat goes into the lattice
    assert energy_fluctuation(energies_t) < 1e-4
