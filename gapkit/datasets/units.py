"""Factors by which labels are off when their unit is another one."""

from __future__ import annotations

from typing import Final

from ase import units as ase_units

HARTREE: Final = float(ase_units.Hartree)
BOHR: Final = float(ase_units.Bohr)
KCAL: Final = float(ase_units.kcal / ase_units.mol)
KJ: Final = float(ase_units.kJ / ase_units.mol)

ENERGIES: Final = {
    "Hartree": 1.0 / HARTREE,
    "Rydberg": 2.0 / HARTREE,
    "kcal/mol": 1.0 / KCAL,
    "kJ/mol": 1.0 / KJ,
    "meV": 1e3,
}
"""What 1 eV reads in other units."""

FORCES: Final = {
    "Hartree/Bohr": BOHR / HARTREE,
    "Rydberg/Bohr": 2.0 * BOHR / HARTREE,
    "kcal/mol/Å": 1.0 / KCAL,
    "kJ/mol/Å": 1.0 / KJ,
    "kJ/mol/nm": 10.0 / KJ,
    "Hartree/Å": 1.0 / HARTREE,
    "eV/Bohr": BOHR,
    "meV/Å": 1e3,
}
"""What 1 eV/Å reads in other units."""

STRESSES: Final = {
    "GPa": 1.0 / float(ase_units.GPa),
    "kbar": 10.0 / float(ase_units.GPa),
    "bar": 1e4 / float(ase_units.GPa),
    "Hartree/Bohr³": BOHR**3 / HARTREE,
    "Rydberg/Bohr³": 2.0 * BOHR**3 / HARTREE,
}
"""What 1 eV/Å³ reads in other units."""

CLOSE: Final = 0.15
"""Share by which a factor may be off that of a unit."""


def named(factor: float, names: dict[str, float]) -> str | None:
    """The unit in which a label is `factor` times what it should be; None if no unit is that near."""
    near = min(names, key=lambda name: abs(factor / names[name] - 1.0))
    return near if abs(factor / names[near] - 1.0) < CLOSE else None
