"""Laws of a descriptor beyond those of the models it makes: its two directions agree, and blocks mean nothing."""

from __future__ import annotations

from typing import Final

import numpy as np
from ase import Atoms

from gapkit.descriptors.base import Sites
from gapkit.gp.design import frame_rows
from gapkit.gp.term import SparseTerm
from gapkit.testing.law import Law, has_volume
from gapkit.testing.sampled import TermModel
from gapkit.testing.tolerances import ALGEBRA, EXACT, near, require
from gapkit.typing import FloatArray
from gapkit.units import to_voigt


def jacobian_is_pullback(model: TermModel, atoms: Atoms) -> None:
    """Law 10: training rows (from the Jacobian) times weights are the prediction (from the pullback)."""
    pairs = model.pairs(atoms)
    rows = frame_rows(model.terms, pairs, {"energy", "forces", "stress"})
    energies_e, by_term, gradient_pc = model.evaluate(pairs)
    near(rows.energy_m @ model.weights_m, energies_e.sum() - by_term["e0"], ALGEBRA, "the energy row is another")
    if rows.forces_nm is None or rows.virial_vm is None:
        raise AssertionError("rows that were asked for are missing")
    accuracy = ALGEBRA + model.derivative_accuracy
    near(rows.forces_nm @ model.weights_m, pairs.forces(gradient_pc).ravel(), accuracy, "force rows are others")
    near(rows.virial_vm @ model.weights_m, to_voigt(pairs.virial(gradient_pc)), accuracy, "virial rows are others")


def virial_is_symmetric(model: TermModel, atoms: Atoms) -> None:
    """Law 2: Σ_p r_p ⊗ ∂E/∂r_p is symmetric before anything makes it so."""
    pairs = model.pairs(atoms)
    virial_cc = pairs.virial(model.evaluate(pairs)[2])
    near(virial_cc, virial_cc.T, ALGEBRA + model.derivative_accuracy, "the virial is not symmetric")


def blocks_change_nothing(model: TermModel, atoms: Atoms) -> None:
    """Law 17: features and gradients of single centres are those of all centres at once."""
    pairs = model.pairs(atoms)
    for term in model.terms:
        whole, single = (_through_blocks(term, model, atoms, size) for size in (len(atoms), 1))
        for before, after in zip(whole, single, strict=True):
            near(after, before, ALGEBRA, f"block size changes {term.name}")
    require(len(pairs.centres_e) == len(atoms), "an atom is lost")


def projection_keeps_features(model: TermModel, atoms: Atoms) -> None:
    """Sites that know their sparse points still give the features that are compared without them."""
    pairs = model.pairs(atoms)
    for term in model.terms:
        for channel, block, sites in term.blocks(pairs, len(atoms)):
            bare: Sites = term.descriptor.sites(block, channel)
            near(sites.full_sd, bare.x_sd, EXACT, "the sparse points change the full features")
            near(sites.centre_s, bare.centre_s, EXACT, "the sparse points change the owner of a site")


def _through_blocks(term: SparseTerm, model: TermModel, atoms: Atoms, size: int) -> tuple[FloatArray, FloatArray]:
    """Sum over features of each atom and channel, and the gradient of one random function of the features."""
    pairs = model.pairs(atoms)
    features_ec, gradient_pc = np.zeros((len(atoms), len(term.points))), np.zeros_like(pairs.r_pc)
    index = {channel: k for k, channel in enumerate(term.points)}
    for channel, block, sites in term.blocks(pairs, size):
        way_d = np.random.default_rng(index[channel]).normal(size=sites.x_sd.shape[1])
        np.add.at(features_ec[:, index[channel]], sites.centre_s, sites.x_sd @ way_d)
        weights = None if sites.weight_s is None else np.ones(len(sites.x_sd))
        gradient_pc[block.origin_p] += sites.pullback(np.tile(way_d, (len(sites.x_sd), 1)), weights)
    return features_ec, gradient_pc


DESCRIPTOR_LAWS: Final = (
    Law(2, virial_is_symmetric, has_volume),
    Law(10, jacobian_is_pullback),
    Law(17, blocks_change_nothing),
    Law(17, projection_keeps_features),
)
"""Laws of a `TermModel` that look inside it."""
