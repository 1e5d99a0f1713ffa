"""An analytic many-body potential with exact derivatives, to label structures of any species."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import vesin
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import covalent_radii
from ase.geometry import complete_cell
from ase.stress import full_3x3_to_voigt_6_stress


class ToyPotential(Calculator):
    """E_i = e0 + ½ Σ_j φ(r) - B sqrt(1 + Σ_j ρ(r)) + B in the manner of Finnis and Sinclair; φ and ρ are exponentials
    times (1 - r²/r_cut²)³. e0 = -Z/10 eV."""

    implemented_properties: ClassVar[list[str]] = ["energy", "energies", "forces", "stress"]

    def __init__(self, r_cut: float = 4.0, repulsion: float = 1.5, cohesion: float = 2.0) -> None:
        super().__init__()
        self.r_cut, self.repulsion, self.cohesion = r_cut, repulsion, cohesion
        self._list = vesin.NeighborList(cutoff=r_cut, full_list=True)

    def calculate(
        self, atoms: Atoms | None = None, properties: Any = ("energy",), system_changes: Any = tuple(all_changes)
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        z, n = self.atoms.numbers, len(self.atoms)
        i_p, j_p, r_p, r_pc = self._list.compute(
            self.atoms.positions, complete_cell(self.atoms.cell), self.atoms.pbc, "ijdD"
        )
        i_p, j_p = i_p.astype(int), j_p.astype(int)
        r0_p = covalent_radii[z[i_p]] + covalent_radii[z[j_p]]
        inside = 1 - (r_p / self.r_cut) ** 2
        window, d_window = inside**3, -6 * r_p / self.r_cut**2 * inside**2
        phi, d_phi = self._decay(self.repulsion, 6.0, r_p, r0_p, window, d_window)
        rho, d_rho = self._decay(1.0 + 0.02 * np.abs(z[i_p] - z[j_p]), 3.0, r_p, r0_p, window, d_window)
        root_e = np.sqrt(1.0 + np.bincount(i_p, rho, n))
        energies_e = -0.1 * z + 0.5 * np.bincount(i_p, phi, n) + self.cohesion * (1.0 - root_e)
        slope_p = 0.5 * d_phi - 0.5 * self.cohesion * d_rho / root_e[i_p]
        g_pc = slope_p[:, None] * r_pc / r_p[:, None]
        forces_ec = np.zeros((n, 3))
        np.add.at(forces_ec, i_p, g_pc)
        np.subtract.at(forces_ec, j_p, g_pc)
        self.results = {"energy": float(energies_e.sum()), "energies": energies_e, "forces": forces_ec}
        if self.atoms.cell.rank == 3:
            self.results["stress"] = full_3x3_to_voigt_6_stress(r_pc.T @ g_pc) / self.atoms.get_volume()

    @staticmethod
    def _decay(size: Any, rate: float, r_p: Any, r0_p: Any, window: Any, d_window: Any) -> tuple[Any, Any]:
        """size·exp(-rate(r/r0 - 1))·window and its slope."""
        bare = size * np.exp(-rate * (r_p / r0_p - 1.0))
        return bare * window, bare * (d_window - rate / r0_p * window)


def labelled(atoms: Atoms, group: str = "default", stress: bool = True, **settings: float) -> Atoms:
    """A copy with energy, forces and (where there is one) stress of the toy potential, as plain results."""
    copy = atoms.copy()
    calculator = ToyPotential(**settings)
    calculator.calculate(copy)
    results = {k: v for k, v in calculator.results.items() if k != "energies" and (stress or k != "stress")}
    copy.calc = SinglePointCalculator(copy, **results)
    copy.info["config_type"] = group
    return copy
