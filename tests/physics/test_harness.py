"""The harness itself: it passes what is right, its differences know their errors, its zoo has all kinds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ase.data import covalent_radii

import gapkit.descriptors
import gapkit.kernels
from gapkit import GAPCalculator
from gapkit.descriptors.acsf import Acsf
from gapkit.descriptors.base import Descriptor
from gapkit.descriptors.dscribe import DscribeSoap
from gapkit.descriptors.pair import PairDistances
from gapkit.descriptors.soap import Soap
from gapkit.descriptors.triplet import Triplets
from gapkit.kernels.base import Kernel
from gapkit.kernels.gaussian import Gaussian
from gapkit.kernels.polynomial import DotProduct
from gapkit.testing import CalculatorModel, implementations, largest_jump, near, obeys, rounding, slope, zoo
from tests.physics.conftest import Fitted
from tests.physics.toy import ToyPotential


@pytest.mark.parametrize("species", [("Si",), ("Na", "Cl"), ("H", "C", "O")])
def test_an_analytic_potential_obeys_all_laws(species: tuple[str, ...]) -> None:
    model = CalculatorModel(ToyPotential(r_cut=4.0), 4.0)
    for atoms in zoo(species).values():
        obeys(model, atoms)


def test_the_calculator_obeys_all_laws(silicon_sum: Fitted) -> None:
    """It keeps its neighbours from call to call."""
    model = CalculatorModel(GAPCalculator(silicon_sum.model, skin=0.8), silicon_sum.model.reach)
    for name in ("primitive", "skewed", "slab", "dimer"):
        obeys(model, zoo(["Si"])[name])


def test_a_new_descriptor_would_be_found() -> None:
    assert implementations(gapkit.descriptors, Descriptor) == {Acsf, DscribeSoap, PairDistances, Soap, Triplets}
    assert implementations(gapkit.kernels, Kernel) == {DotProduct, Gaussian}


@pytest.mark.parametrize(
    ("f", "derivative"),
    [
        (np.sin, 1.0),
        (lambda x: np.exp(3.0 * x), 3.0),
        (lambda x: 1e6 + np.sin(x), 1.0),
        (lambda x: 1.0 / (0.3 + x), -1.0 / 0.09),
        (lambda x: max(0.0, x - 1.3e-3) ** 2 + x, 1.0),
        (lambda x: max(0.0, x + 2.1e-4) ** 2 + 0.1 * x, 0.1 + 4.2e-4),
        (lambda x: np.array([np.cos(x), x**5, np.tan(x)]), np.array([0.0, 0.0, 1.0])),
    ],
)
def test_a_slope_is_known_to_its_error(f: Callable[[float], Any], derivative: Any) -> None:
    numeric = slope(f)
    assert np.abs(numeric.value - derivative).max() <= numeric.error
    assert numeric.error < 1e-6 * max(1.0, np.abs(derivative).max())


@pytest.mark.parametrize(
    "f", [lambda x: float(x > 0.0), lambda x: 1e-4 * (x > 0.0) + x, lambda x: np.nan * x], ids=["step", "small", "nan"]
)
def test_what_jumps_has_no_slope(f: Callable[[float], Any]) -> None:
    with pytest.raises(AssertionError):
        slope(f)


def test_rounding_is_measured() -> None:
    rng = np.random.default_rng(0)
    assert 0.2e-9 < rounding(lambda x: np.sin(x) + 1e-9 * rng.normal()) < 5e-9
    assert rounding(lambda x: 3.0) < 1e-15


def test_largest_jump_is_found() -> None:
    jump, x = largest_jump(lambda t: np.array([np.sin(t), 0.01 * (t > 1.2345)]), 0.0, 2.0, 1e-9)
    assert jump == pytest.approx(0.01, rel=1e-6)
    assert x == pytest.approx(1.2345, abs=1e-9)
    assert largest_jump(lambda t: np.array([np.sin(5 * t)]), 0.0, 2.0, 1e-9)[0] < 1e-9


@pytest.mark.parametrize(("a", "b"), [(1.0, 1.1), (np.nan, 1.0), (np.zeros(2), np.zeros(3)), ([0, np.nan], [0, 0])])
def test_near_is_not_fooled(a: Any, b: Any) -> None:
    with pytest.raises(AssertionError, match="thing"):
        near(a, b, 1e-3, "thing")


@pytest.mark.parametrize("species", [("Si",), ("Na", "Cl"), ("H", "C", "O")])
def test_the_zoo_has_all_kinds(species: tuple[str, ...]) -> None:
    animals, again = zoo(species), zoo(species)
    assert {int(a.pbc.sum()) for a in animals.values()} == {0, 1, 2, 3}
    assert {1, 2, 3} < {len(a) for a in animals.values()}
    assert any(a.cell.cellpar()[3:].min() < 45.0 for a in animals.values() if a.pbc.all()), "no skewed cell"
    assert set("".join(a.get_chemical_formula("all") for a in animals.values())) <= set("".join(species))
    assert {s for a in animals.values() for s in a.get_chemical_symbols()} == set(species)
    for name, atoms in animals.items():
        assert (atoms.positions == again[name].positions).all()
        images = atoms.repeat(np.where(atoms.pbc, 2, 1))
        radii = covalent_radii[images.numbers]
        ratio = images.get_all_distances(mic=bool(atoms.pbc.any())) / (radii[:, None] + radii)
        assert (ratio + 9.0 * np.eye(len(images))).min() > 0.6, name
    assert (zoo(species, seed=1)["slab"].positions != animals["slab"].positions).all()
