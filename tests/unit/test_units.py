"""Units and the order of Voigt components, against ASE."""

from __future__ import annotations

import ase.stress
import ase.units
import numpy as np
import pytest

from gapkit.units import GPA, REPORTED, VOIGT, from_voigt, to_voigt


def test_gpa_is_that_of_the_codata_charge() -> None:
    """1 GPa = 1e9 N/m² in eV/Å³."""
    assert pytest.approx(1e9 * 1e-30 / 1.602176634e-19, rel=1e-6) == GPA
    assert ase.units.GPa == GPA


def test_order_is_that_of_ase() -> None:
    tensor = np.array([[1.0, 6.0, 5.0], [6.0, 2.0, 4.0], [5.0, 4.0, 3.0]])
    assert to_voigt(tensor).tolist() == [1, 2, 3, 4, 5, 6]
    assert to_voigt(tensor) == pytest.approx(ase.stress.full_3x3_to_voigt_6_stress(tensor))
    assert np.array_equal(from_voigt(np.arange(1.0, 7.0)), tensor)
    assert [tensor[a, b] for a, b in VOIGT] == [1, 2, 3, 4, 5, 6]


def test_round_trip_of_stacks(rng: np.random.Generator) -> None:
    voigt = rng.normal(size=(4, 2, 6))
    assert from_voigt(voigt).shape == (4, 2, 3, 3)
    assert np.array_equal(to_voigt(from_voigt(voigt)), voigt)


def test_symmetric_part_is_taken() -> None:
    skew = np.array([[0.0, 2.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    assert to_voigt(skew).tolist() == [0, 0, 0, 0, 0, 1]


def test_units_of_reports_and_their_names_in_json() -> None:
    assert REPORTED["stress"].scale * GPA == REPORTED["stress"].of_evaluation == 1.0
    assert all(unit.scale == unit.of_evaluation for kind, unit in REPORTED.items() if kind != "stress")
    assert [unit.text.replace("/", "_per_").replace("Å", "A") for unit in REPORTED.values()] == [
        unit.name for unit in REPORTED.values()
    ]
