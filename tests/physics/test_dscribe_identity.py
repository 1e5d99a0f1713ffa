"""Law 11: native SOAP is dscribe's SOAP, and its gradient is the slope of dscribe's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase import Atoms
from dscribe.descriptors import SOAP

from gapkit.atoms.labels import to_frame
from gapkit.atoms.neighbours import NeighbourList, Pairs
from gapkit.descriptors.basis import soap_basis
from gapkit.descriptors.soap import Soap
from gapkit.testing import Slope, agrees, slope, zoo

SPECIES = ("H", "C", "O")
WEIGHTINGS: dict[str, Any] = {
    "none": None,
    "w0": {"w0": 0.4},
    "poly": {"function": "poly", "r0": 2.6, "c": 1.3, "m": 1.0},
    "poly-w0": {"function": "poly", "r0": 2.4, "c": 1.0, "m": 2.5, "w0": 0.3},
    "poly-beyond": {"function": "poly", "r0": 9.0, "c": 1.0, "m": 2.0},
    "pow": {"function": "pow", "r0": 2.0, "c": 1.1, "d": 0.9, "m": 3.0},
    "pow-linear": {"function": "pow", "r0": 1.7, "c": 1.0, "d": 0.5, "m": 1.0, "w0": 0.0},
    "exp": {"function": "exp", "r0": 2.0, "c": 1.0, "d": 1.2},
    "exp-w0": {"function": "exp", "r0": 1.5, "c": 1.0, "d": 0.0, "w0": 2.0},
}
MODES = ("off", "crossover", "mu1nu1", "mu2")
WEIGHTS = {"H": 0.5, "C": 1.4, "O": -0.8}
ZOO = zoo(SPECIES, seed=3)


def dscribe_soap(
    weighting: str,
    mode: str = "off",
    weights: dict[str, float] | None = None,
    n_max: int = 3,
    l_max: int = 3,
    r_cut: float = 2.6,
) -> SOAP:
    return SOAP(
        species=SPECIES,
        r_cut=r_cut,
        n_max=n_max,
        l_max=l_max,
        sigma=0.4,
        periodic=True,
        weighting=dict(WEIGHTINGS[weighting] or {}) or None,
        compression={"mode": mode, "species_weighting": weights},
    )


def oracle(soap: SOAP, atoms: Atoms) -> np.ndarray:
    """dscribe on a structure; it asks for a full cell, and ignores the directions that are not periodic."""
    system = atoms.copy()
    system.cell = atoms.cell.complete()
    return np.asarray(soap.create(system))


def pairs_of(atoms: Atoms, reach: float) -> Pairs:
    return NeighbourList(reach).pairs(to_frame(atoms, labels=False))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_values_are_those_of_dscribe(weighting: str, mode: str) -> None:
    for weights in (None, WEIGHTS):
        soap = dscribe_soap(weighting, mode, weights)
        native = Soap(soap_basis(soap))
        for name, atoms in ZOO.items():
            theirs = oracle(soap, atoms)
            error = np.abs(native.values(pairs_of(atoms, native.reach)) - theirs).max()
            assert error <= 1e-11 * np.abs(theirs).max(), name


@pytest.mark.parametrize(("n_max", "l_max", "r_cut"), [(8, 8, 4.0), (1, 0, 2.6), (2, 12, 2.6)])
def test_values_at_other_sizes(n_max: int, l_max: int, r_cut: float) -> None:
    """Eight functions within 2.6 Å are so alike that β reaches 10⁵: dscribe itself is 1.1e-11 off (long double)."""
    soap = dscribe_soap("poly", n_max=n_max, l_max=l_max, r_cut=r_cut)
    native = Soap(soap_basis(soap))
    for name in ("skewed", "slab", "ethanol"):
        theirs = oracle(soap, ZOO[name])
        error = np.abs(native.values(pairs_of(ZOO[name], native.reach)) - theirs).max()
        assert error <= 1e-11 * np.abs(theirs).max(), name


GRADIENTS = [(weighting, "off", None) for weighting in WEIGHTINGS] + [("poly", mode, WEIGHTS) for mode in MODES]


@pytest.mark.parametrize(("weighting", "mode", "weights"), GRADIENTS, ids=[f"{w}-{m}" for w, m, _ in GRADIENTS])
@pytest.mark.parametrize("name", ["skewed", "slab", "ethanol"])
def test_jacobian_is_the_slope_of_dscribe(name: str, weighting: str, mode: str, weights: Any) -> None:
    """Each component of q = p/|p| along a random motion of all atoms and, in crystals, a random strain."""
    soap, atoms, rng = dscribe_soap(weighting, mode, weights, 2, 2), ZOO[name], np.random.default_rng(5)
    native = Soap(soap_basis(soap))
    pairs = pairs_of(atoms, native.reach)
    move_ec, strain_cc = rng.normal(size=(len(atoms), 3)), rng.normal(size=(3, 3)) * atoms.pbc.any()

    def along(h: float) -> np.ndarray:
        moved = atoms.copy()
        moved.set_cell(atoms.cell.array @ (np.eye(3) + h * strain_cc), scale_atoms=False)
        moved.positions[:] = (atoms.positions + h * move_ec) @ (np.eye(3) + h * strain_cc)
        p_ef = oracle(soap, moved)
        return p_ef / np.linalg.norm(p_ef, axis=1, keepdims=True)

    numeric = slope(along, 0.004)
    move_pc = move_ec[pairs.j_p] - move_ec[pairs.i_p] + pairs.r_pc @ strain_cc
    for channel in native.channels:
        part = native.pairs_of(pairs, channel)
        if not len(part.centres_e):
            continue
        sites = native.sites(part, channel, native.points(np.eye(native.basis.n_features)))
        jacobian = sites.jacobian()
        rows_qcf = jacobian.meet(jacobian.rows_qcx)
        slope_ef = np.zeros((len(part.centres_e), native.basis.n_features))
        np.add.at(slope_ef, jacobian.site_q, np.einsum("qcf,qc->qf", rows_qcf, move_pc[part.origin_p][jacobian.pair_q]))
        mine = Slope(numeric.value[part.centres_e], numeric.error)
        agrees(slope_ef, mine, f"the Jacobian of {channel} is not the slope of dscribe")
        for e in range(len(part.centres_e)):
            one_hot = np.zeros((len(part.centres_e), native.basis.n_features))
            one_hot[e] = way_f = rng.normal(size=native.basis.n_features)
            pulled = np.sum(native.sites(part, channel).pullback(one_hot, None) * move_pc[part.origin_p])
            assert abs(pulled - slope_ef[e] @ way_f) <= 1e-11 * np.abs(slope_ef).max() * np.abs(way_f).sum()
