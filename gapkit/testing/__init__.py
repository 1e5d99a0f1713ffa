"""The laws of physics as a harness: inherit a class in a test, or call a law on a model and a structure.

A new descriptor is held to all of them by

    class TestTriplets(DescriptorLaws):
        def descriptors(self):
            return {"small": Triplets(species=(11, 17), r_cut=4.0)}

and a fitted model by ``for atoms in zoo(["Si"]).values(): obeys(model, atoms)``. Laws raise AssertionError.
"""

from __future__ import annotations

from gapkit.testing.continuity import largest_jump
from gapkit.testing.descriptor_laws import DESCRIPTOR_LAWS
from gapkit.testing.differences import Slope, agrees, rounding, slope
from gapkit.testing.dynamics import energy_fluctuation, energy_is_conserved, thermalised, total_energies
from gapkit.testing.gap_laws import GAP_LAWS, alike, same_evidence
from gapkit.testing.harness import DescriptorLaws, GAPLaws, KernelLaws, ModelLaws, implementations, sampled
from gapkit.testing.kernel_laws import KERNEL_LAWS
from gapkit.testing.law import Law, Model
from gapkit.testing.model_laws import MODEL_LAWS, obeys
from gapkit.testing.sampled import CalculatorModel, TermModel, sample_model, sample_term
from gapkit.testing.tolerances import ALGEBRA, EXACT, STATISTICS, near, require
from gapkit.testing.zoo import PROTOTYPES, environments, zoo

__all__ = [
    "ALGEBRA",
    "DESCRIPTOR_LAWS",
    "EXACT",
    "GAP_LAWS",
    "KERNEL_LAWS",
    "MODEL_LAWS",
    "PROTOTYPES",
    "STATISTICS",
    "CalculatorModel",
    "DescriptorLaws",
    "GAPLaws",
    "KernelLaws",
    "Law",
    "Model",
    "ModelLaws",
    "Slope",
    "TermModel",
    "agrees",
    "alike",
    "energy_fluctuation",
    "energy_is_conserved",
    "environments",
    "implementations",
    "largest_jump",
    "near",
    "obeys",
    "require",
    "rounding",
    "same_evidence",
    "sample_model",
    "sample_term",
    "sampled",
    "slope",
    "thermalised",
    "total_energies",
    "zoo",
]
