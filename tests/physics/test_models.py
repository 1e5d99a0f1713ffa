"""Fitted models are held to every law of predictions and of fits."""

from __future__ import annotations

import pytest
from ase import Atoms

from gapkit import GAP
from gapkit.testing import GAPLaws, ModelLaws, zoo
from tests.physics.conftest import Fitted


class TestSumOfTerms(GAPLaws, ModelLaws):
    species = ("Si",)

    @pytest.fixture
    def model(self, silicon_sum: Fitted) -> GAP:
        return silicon_sum.model

    @pytest.fixture
    def frames(self, silicon_sum: Fitted) -> list[Atoms]:
        return silicon_sum.frames


class TestTwoSpecies(GAPLaws, ModelLaws):
    species = ("Na", "Cl")

    @pytest.fixture
    def model(self, salt: Fitted) -> GAP:
        return salt.model

    @pytest.fixture
    def frames(self, salt: Fitted) -> list[Atoms]:
        return salt.frames


class TestThreeSpecies(GAPLaws, ModelLaws):
    species = ("H", "C", "O")

    def structures(self) -> dict[str, Atoms]:
        return {name: zoo(self.species)[name] for name in ("skewed", "slab", "wire", "ethanol", "dimer")}

    @pytest.fixture
    def model(self, organic: Fitted) -> GAP:
        return organic.model

    @pytest.fixture
    def frames(self, organic: Fitted) -> list[Atoms]:
        return organic.frames


class TestDscribeEngine(GAPLaws):
    """The laws of its predictions are in test_descriptors."""

    @pytest.fixture
    def model(self, polynomial: Fitted) -> GAP:
        return polynomial.model

    @pytest.fixture
    def frames(self, polynomial: Fitted) -> list[Atoms]:
        return polynomial.frames

    def others(self) -> list[Atoms]:
        return [zoo(["Si"], seed=7)[name] for name in ("primitive", "water", "dimer")]
