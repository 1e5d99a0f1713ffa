"""Every descriptor is held to every law, by a random function of its features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ase import Atoms
from ase.data import atomic_numbers

import gapkit.descriptors
from gapkit.descriptors.acsf import Acsf
from gapkit.descriptors.base import Descriptor
from gapkit.descriptors.basis import soap_basis
from gapkit.descriptors.dscribe import DscribeSoap
from gapkit.descriptors.pair import PairDistances
from gapkit.descriptors.soap import Soap
from gapkit.descriptors.symmetry import SymmetryFunctions
from gapkit.descriptors.triplet import Triplets
from gapkit.kernels.gaussian import Gaussian
from gapkit.kernels.polynomial import DotProduct
from gapkit.testing import DescriptorLaws, implementations, zoo

SALT, ORGANIC = ("Na", "Cl"), ("H", "C", "O")


def poly(r_cut: float, m: float = 1.0, **more: float) -> dict[str, Any]:
    return {"function": "poly", "r0": r_cut, "c": 1.0, "m": m, **more}


def soap(species: tuple[str, ...], r_cut: float, weighting: Any, n_max: int = 3, l_max: int = 3, **more: Any) -> Soap:
    arguments = {"species": list(species), "r_cut": r_cut, "n_max": n_max, "l_max": l_max, "sigma": 0.5, **more}
    return Soap(soap_basis({**arguments, "weighting": weighting}))


def compression(mode: str, *weights: float, species: tuple[str, ...] = ORGANIC) -> dict[str, Any]:
    return {"mode": mode, "species_weighting": dict(zip(species, weights, strict=True)) if weights else None}


class TestSoap(DescriptorLaws):
    def descriptors(self) -> dict[str, Descriptor]:
        return {
            "plain": soap(("Si",), 5.0, poly(5.0), 4, 4),
            "w0": soap(("Si",), 4.5, poly(4.2, 2.5, w0=0.3)),
            "smallest": soap(("Si",), 4.0, poly(4.0, 2.0), 1, 0),
            "off": soap(ORGANIC, 2.7, poly(2.7), 2, 3, compression=compression("off", 0.6, 1.3, 0.8)),
            "crossover": soap(SALT, 4.5, poly(4.5), 2, 3, compression=compression("crossover")),
            "mu1nu1": soap(SALT, 4.5, poly(4.5), 2, 3, compression=compression("mu1nu1", 0.6, 1.3, species=SALT)),
            "mu2": soap(ORGANIC, 2.7, poly(2.7), 2, 3, compression=compression("mu2", 0.6, 1.3, 0.8)),
        }


class TestSoapWithManyPoints(DescriptorLaws):
    """So many that their space is smaller than that of the features, and the Jacobian is projected."""

    n_points = 60

    def descriptors(self) -> dict[str, Descriptor]:
        return {"salt": soap(SALT, 4.5, poly(4.5))}


class TestSoapThatDoesNotVanishAtItsCutoff(DescriptorLaws):
    """dscribe counts atoms until their Gaussian has decayed to a thousandth: all laws but one hold."""

    exempt = frozenset({"nothing_jumps"})

    def structures(self, species: Sequence[str]) -> dict[str, Atoms]:
        """Few: what is new is the weighting of one pair."""
        return {name: zoo(species)[name] for name in ("primitive", "skewed", "slab", "wire", "ethanol", "dimer")}

    def descriptors(self) -> dict[str, Descriptor]:
        return {
            "none": soap(SALT, 2.5, None, 2, 2),
            "pow": soap(SALT, 2.5, {"function": "pow", "r0": 2.0, "c": 1.1, "d": 0.9, "m": 3.0}, 2, 2),
            "exp": soap(SALT, 2.5, {"function": "exp", "r0": 2.0, "c": 1.0, "d": 1.2, "w0": 0.5}, 2, 2),
        }


class TestPairDistances(DescriptorLaws):
    kernel = Gaussian(0.8)

    def descriptors(self) -> dict[str, Descriptor]:
        return {"salt": PairDistances([atomic_numbers[s] for s in SALT], 5.0, 1.2)}


class TestTriplets(DescriptorLaws):
    kernel = Gaussian(1.0)

    def structures(self, species: Sequence[str]) -> dict[str, Atoms]:
        """Those that differ in what triangles they have: none, in a plane, of images of one atom."""
        return {name: zoo(species)[name] for name in ("tiny", "perovskite", "slab", "wire", "ethanol", "dimer", "atom")}

    def descriptors(self) -> dict[str, Descriptor]:
        return {"organic": Triplets([atomic_numbers[s] for s in ORGANIC], 2.3, 0.8, (0.5, 0.4, 0.6))}


class TestAcsf(DescriptorLaws):
    kernel = Gaussian(3.0)

    def structures(self, species: Sequence[str]) -> dict[str, Atoms]:
        """As for triangles."""
        return TestTriplets().structures(species)

    def descriptors(self) -> dict[str, Descriptor]:
        g2, g3 = [[0.3, 0.0], [2.0, 1.5]], [1.0]
        g4, g5 = [[0.01, 1, 1], [0.05, 4, -1], [0.02, 2.5, 0.5]], [[0.03, 3, -1]]
        functions = {"g2_params": g2, "g3_params": g3, "g4_params": g4, "g5_params": g5, "species": SALT}
        return {"salt": Acsf(SymmetryFunctions.of({"r_cut": 4.2, **functions}, ()))}


class TestDscribeSoap(DescriptorLaws):
    """dscribe's own engine, here with the basis that the native one lacks."""

    kernel = DotProduct(2)
    n_points = 4
    derivative_accuracy = 1e-7  # steps of 0.001 Å, across the kink of the weighting too

    def structures(self, species: Sequence[str]) -> dict[str, Atoms]:
        """Few: numerical derivatives are slow."""
        return {name: zoo(species)[name] for name in ("primitive", "water", "dimer")}

    def descriptors(self) -> dict[str, Descriptor]:
        arguments = {"species": list(SALT), "r_cut": 3.5, "n_max": 2, "l_max": 1, "sigma": 0.5, "rbf": "polynomial"}
        return {"polynomial": DscribeSoap(soap_basis({**arguments, "weighting": poly(3.5)}))}


def test_no_descriptor_is_forgotten() -> None:
    cases = [c for c in globals().values() if isinstance(c, type) and issubclass(c, DescriptorLaws)]
    held = {type(d) for case in cases if case is not DescriptorLaws for d in case().descriptors().values()}
    assert implementations(gapkit.descriptors, Descriptor) == held
