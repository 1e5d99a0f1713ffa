"""Units of what this wing reports and draws."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gapkit.typing import Kind
from gapkit.units import GPA

UNITS: Final[Mapping[Kind, tuple[str, float]]] = {
    "energy": ("meV/atom", 1e3),
    "forces": ("eV/Å", 1.0),
    "stress": ("GPa", 1.0 / GPA),
}
"""Unit of the errors of each kind, and its number per eV/atom, eV/Å or eV/Å³."""

OF_EVALUATION: Final[Mapping[Kind, tuple[str, float]]] = {**UNITS, "stress": ("GPa", 1.0)}
"""The same per eV/atom, eV/Å or GPa, the units of `gapkit.Evaluation`."""

SIGMA_UNITS: Final[Mapping[Kind, str]] = {"energy": "eV/atom", "forces": "eV/Å", "stress": "eV/atom (virial)"}
"""Units of the σ in `gapkit.Noise`."""


def in_a_name(unit: str) -> str:
    """A unit as part of a name in JSON: meV_per_atom."""
    return unit.replace("/", "_per_").replace("Å", "A")
