"""Sabotage: what is broken on purpose makes the law that it breaks fail. (A wrong √N: see test_exact_gp.)"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import pytest
from ase import Atoms

from gapkit import GAP, Prediction
from gapkit.atoms.neighbours import Pairs
from gapkit.descriptors.pair import PairDistances, PairSites
from gapkit.kernels.gaussian import Gaussian
from gapkit.kernels.polynomial import DotProduct
from gapkit.testing import (
    DESCRIPTOR_LAWS,
    GAP_LAWS,
    KERNEL_LAWS,
    MODEL_LAWS,
    KernelLaws,
    Model,
    TermModel,
    sampled,
    zoo,
)
from gapkit.typing import FloatArray
from tests.physics.conftest import Fitted
from tests.physics.test_descriptors import poly, soap

LAWS = {law.name: law for law in (*MODEL_LAWS, *DESCRIPTOR_LAWS)}
CRYSTAL, DIMER = zoo(["Si"])["primitive"], zoo(["Si"])["dimer"]


def breaks(law: str, model: Model, atoms: Atoms = CRYSTAL) -> None:
    """The law that is named fails, and says so."""
    with pytest.raises(AssertionError):
        LAWS[law].check(model, atoms)


def soap_model() -> TermModel:
    return sampled(soap(("Si",), 4.5, poly(4.5)), DotProduct(2))


def pair_model() -> TermModel:
    return sampled(PairDistances([14], 5.0, 1.0), Gaussian(0.8))


class Changed:
    """A model whose predictions are tampered with."""

    def __init__(self, model: Model, change: Callable[[Prediction, Atoms], dict[str, Any]]) -> None:
        self.model, self.change, self.reach = model, change, model.reach

    def predict(self, atoms: Atoms, want: Collection[str]) -> Prediction:
        p = self.model.predict(atoms, want)
        return dataclasses.replace(p, **self.change(p, atoms))


def test_dropped_sign_of_forces() -> None:
    model = Changed(soap_model(), lambda p, atoms: {} if p.forces is None else {"forces": -p.forces})
    breaks("forces_are_slopes", model)
    breaks("stress_is_virial_sum", model, DIMER)


def test_missing_slope_of_the_weighting(monkeypatch: pytest.MonkeyPatch) -> None:
    import gapkit.descriptors.expansion as expansion

    true = expansion.radial_weight
    monkeypatch.setattr(expansion, "radial_weight", lambda w, r: (true(w, r)[0], np.zeros_like(r)))
    breaks("forces_are_slopes", soap_model())
    breaks("stress_is_strain_slope", soap_model())


def test_missing_slope_of_the_pair_cutoff_in_training_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gapkit.descriptors.pair.PairJacobian.weight_slope_qc", None, raising=False)
    true = PairSites.jacobian

    def without(self: PairSites) -> Any:
        jacobian = true(self)
        jacobian.weight_slope_qc = None
        return jacobian

    monkeypatch.setattr(PairSites, "jacobian", without)
    breaks("jacobian_is_pullback", pair_model())


def test_voigt_order() -> None:
    model = Changed(soap_model(), lambda p, _: {} if p.stress is None else {"stress": p.stress[[0, 1, 2, 5, 4, 3]]})
    for law in ("stress_is_strain_slope", "rotation_turns_vectors"):
        breaks(law, model)
    breaks("stress_is_virial_sum", model, DIMER)


def test_stress_of_the_wrong_volume() -> None:
    model = Changed(soap_model(), lambda p, a: {} if p.stress is None else {"stress": p.stress * a.get_volume() / 40.0})
    breaks("supercell_repeats", model)
    breaks("stress_is_strain_slope", model)


def test_forces_from_half_the_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    def half(self: Pairs, gradient_pc: FloatArray) -> FloatArray:
        forces_ec = np.zeros((len(self.numbers_e), 3))
        np.add.at(forces_ec, self.i_p, gradient_pc)
        return forces_ec

    monkeypatch.setattr(Pairs, "forces", half)
    for law in ("forces_are_slopes", "no_net_force", "jacobian_is_pullback"):
        breaks(law, soap_model(), zoo(["Si"])["supercell"])  # two atoms see mirror images of each other


class TiltedDistances(PairDistances):
    """Space has a grain along z."""

    def sites(self, pairs: Pairs, channel: tuple[int, ...], points: Any = None) -> PairSites:
        return PairSites(self, dataclasses.replace(pairs, r_pc=pairs.r_pc * [1.0, 1.0, 1.02]), points)


def test_descriptor_that_is_not_invariant_to_rotation() -> None:
    model = sampled(TiltedDistances([14], 5.0, 1.0), Gaussian(0.8))
    breaks("rotation_turns_vectors", model)
    breaks("reflection_turns_vectors", model)
    breaks("stress_is_strain_slope", model)
    breaks("no_net_torque", model, DIMER)
    breaks("virial_is_symmetric", model)


def test_energy_that_depends_on_the_order_of_atoms() -> None:
    def change(p: Prediction, atoms: Atoms) -> dict[str, Any]:
        return {"energies": p.energies * (1.0 + 1e-6 * np.arange(len(atoms)))}

    breaks("permutation_changes_nothing", Changed(soap_model(), change))
    breaks("terms_add_up", Changed(soap_model(), change))


def test_energy_that_is_not_extensive() -> None:
    model = Changed(soap_model(), lambda p, atoms: {"energy": p.energy + 1e-6 * len(atoms) ** 2})
    breaks("supercell_repeats", model)
    breaks("distant_fragments_add", model, DIMER)


def test_energy_that_depends_on_the_origin() -> None:
    model = Changed(soap_model(), lambda p, atoms: {"energy": p.energy + 1e-6 * atoms.positions.sum()})
    breaks("translation_changes_nothing", model)


def test_descriptor_that_jumps_at_its_cutoff() -> None:
    """Each weighting of dscribe but `poly`, whose jump is at the end of the padding."""
    for weighting in (None, {"function": "pow", "r0": 2.0, "c": 1.1, "d": 0.9, "m": 3.0}, poly(9.0)):
        model = sampled(soap(("Si",), 3.0, weighting), DotProduct(2))
        breaks("nothing_jumps", model, DIMER)


def test_pair_term_that_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gapkit.descriptors.pair.smooth_step", lambda r, *_: (np.ones_like(r), np.zeros_like(r)))
    breaks("nothing_jumps", pair_model(), DIMER)


def test_jump_in_the_middle_of_nowhere() -> None:
    """Not at a cutoff that the model admits."""

    def change(p: Prediction, atoms: Atoms) -> dict[str, Any]:
        return {"energy": p.energy + 0.01 * (atoms.positions[:, 0].max() - atoms.positions[0, 0] > 4.1234)}

    LAWS["nothing_jumps"].check(soap_model(), DIMER)
    breaks("nothing_jumps", Changed(soap_model(), change), DIMER)


def test_blocks_that_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    model, true = soap_model(), type(soap_model().terms[0].descriptor).sites

    def leaking(self: Any, pairs: Pairs, channel: Any, points: Any = None) -> Any:
        sites = true(self, pairs, channel, points)
        sites.x_sd = sites.x_sd + 1e-6 * len(sites.x_sd)
        return sites

    monkeypatch.setattr(type(model.terms[0].descriptor), "sites", leaking)
    breaks("blocks_change_nothing", model)


def test_model_that_changes_its_argument() -> None:
    def change(p: Prediction, atoms: Atoms) -> dict[str, Any]:
        atoms.wrap()
        return {}

    atoms = CRYSTAL.copy()
    atoms.positions -= 9.0
    breaks("structure_is_left_alone", Changed(soap_model(), change), atoms)


class Shifted(DotProduct):
    """x·y - 1/2 has a negative eigenvalue."""

    def values(self, x_sd: FloatArray, y_md: FloatArray) -> FloatArray:
        return super().values(x_sd, y_md) - 0.5


class Lopsided(Gaussian):
    def values(self, x_sd: FloatArray, y_md: FloatArray) -> FloatArray:
        return super().values(x_sd + 0.01, y_md)


class Relative(DotProduct):
    """Depends on what else is in the batch."""

    def values(self, x_sd: FloatArray, y_md: FloatArray) -> FloatArray:
        k_sm = super().values(x_sd, y_md)
        return k_sm / np.abs(k_sm).mean()


class Steep(DotProduct):
    """Forgets the ζ of its slope."""

    def values_and_slopes(self, x_sd: FloatArray, y_md: FloatArray) -> tuple[FloatArray, FloatArray]:
        k, slopes = super().values_and_slopes(x_sd, y_md)
        return k, slopes / self.zeta


class Unshifted(Gaussian):
    """Forgets that x moves too."""

    def contract(self, dot_qcm: FloatArray, along_qc: FloatArray | None) -> FloatArray:
        return super().contract(dot_qcm, None)

    def weighted_sum(self, x_sd: FloatArray, y_md: FloatArray, alpha_km: FloatArray, gradient: bool) -> Any:
        total, gradient_sd = super().weighted_sum(x_sd, y_md, alpha_km, gradient)
        return total, None if gradient_sd is None else -gradient_sd


@pytest.mark.parametrize(
    ("kernel", "broken"),
    [
        (Shifted(1), {"kernel_is_positive", "kernel_values_agree", "kernel_sum_has_slope"}),
        (Lopsided(0.8), {"kernel_is_symmetric"}),
        (Relative(2), {"kernel_diagonal_agrees"}),
        (Steep(3), {"kernel_contraction_is_slope"}),
        (Unshifted(0.8), {"kernel_contraction_is_slope", "kernel_sum_has_slope"}),
    ],
    ids=lambda case: type(case).__name__,
)
def test_kernels_that_are_none(kernel: Any, broken: set[str]) -> None:
    found = set()
    for law in KERNEL_LAWS:
        try:
            KernelLaws().test_kernel(law, kernel)
        except AssertionError:
            found.add(law.__name__)
    assert broken <= found
    assert len(found) < len(KERNEL_LAWS)


def test_laws_of_a_fit(silicon_sum: Fitted, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not saved exactly, a wrong e0, a variance that data make larger."""
    laws = {law.__name__: law for law in GAP_LAWS}
    others = [CRYSTAL]

    def broken(name: str) -> None:
        with pytest.raises(AssertionError):
            laws[name](silicon_sum.model, silicon_sum.frames, others)

    true = GAP.predict
    with monkeypatch.context() as patch:

        def shifted(self: GAP, atoms: Any, want: Any = None) -> Any:
            p = true(self, atoms, want)
            return dataclasses.replace(p, energy=p.energy + 2e-6)

        patch.setattr(GAP, "predict", shifted)
        broken("isolated_atom_has_e0")
        broken("infinite_noise_gives_baseline")
    with monkeypatch.context() as patch:

        def inverse(self: GAP, atoms: Any, want: Any = None) -> Any:
            p = true(self, atoms, want)
            local = 1.0 / p.energies_epistemic_std
            return dataclasses.replace(
                p, energy_epistemic_std=1.0 / p.energy_epistemic_std, energies_epistemic_std=local
            )

        patch.setattr(GAP, "predict", inverse)
        broken("removing_data_never_lowers_variance")
    with monkeypatch.context() as patch:
        load = GAP.load

        def rounded(path: Any) -> GAP:
            model = load(path)
            posterior = model.state_.posterior
            weights_m = posterior.weights_m.astype(np.float32).astype(float)
            state = dataclasses.replace(model.state_, posterior=dataclasses.replace(posterior, weights_m=weights_m))
            model.state_ = state
            return model

        patch.setattr("gapkit.testing.gap_laws.load", rounded)
        broken("file_keeps_everything")
    for law in GAP_LAWS:
        law(silicon_sum.model, silicon_sum.frames, others)
